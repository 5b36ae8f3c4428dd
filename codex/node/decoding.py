"""Leaves of a protected dataset that are computed for whoever reads them, and not kept: for want of room.

Nothing may be handed out before it is proved, and a gap is proved as a whole (see `mending`). So it is gone
through twice: once for the digests of its leaves, 32 bytes each, which are all that is remembered; and then,
part by part as it is read, for the bytes, each block of which must have its digest. That takes twice the
work, and no more memory however large the gap is.

Only what is here counts: of others, K blocks of every column would have to come over the network, twice.
"""

from contextlib import aclosing

from attrs import frozen

from codex.codec.cid import DIGEST_SIZE
from codex.data import Block
from codex.data.runs import ProvenRun
from codex.errors import NotADataset
from codex.node.mending import Mender
from codex.node.restoring import READ_IN_PART


@frozen
class Decoded:
    """A gap, from a leaf that is not here to the last before one that is: its leaves are known by their
    digests, and computed when they are asked for.
    """

    gap: range
    _mender: Mender
    _proven: ProvenRun

    async def blocks(self, first: int, stop: int) -> list[Block]:
        """These leaves of the gap, in order. Takes as much memory as they have, and a column.

        Raises BlockNotFound when a column has fewer than K blocks by now, NotADataset when what is here has
        changed and gives others.
        """
        found: list[Block] = []
        async with aclosing(self._mender.rebuild(range(first, stop))) as parts:
            async for blocks in parts:
                found += [blocks[index] for index in sorted(blocks)]
        for index, block in enumerate(found, first):
            if block.cid.digest != self._proven.leaf(index):
                raise NotADataset(
                    f"leaf {index} of the dataset {self._mender.manifest.tree_cid} is not what other blocks"
                    " made of it a moment ago: its rows do not belong together",
                    remedy=READ_IN_PART,
                )
        return found


async def decode(mender: Mender, index: int) -> Decoded:
    """Compute and prove the gap that a leaf is in, which is not here. `mender` is for this alone from now on.

    Takes 32 bytes for each leaf of the gap, and 64 while it is proved. Raises BlockNotFound when a column has
    fewer than K blocks, NotADataset when what they give is not what the tree has.
    """
    gap = await mender.around(index)
    run, witnesses = await mender.provable(gap)
    digests = bytearray(len(run) * DIGEST_SIZE)
    async with aclosing(mender.rebuild(run)) as parts:
        async for blocks in parts:
            for leaf, block in blocks.items():
                at = (leaf - run.start) * DIGEST_SIZE
                digests[at : at + DIGEST_SIZE] = block.cid.digest
    return Decoded(gap, mender, await mender.prove(run, bytes(digests), witnesses))
