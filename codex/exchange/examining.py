"""Looking at a message that came: is it one, and do the leaves in it belong where they say? Off the loop,
where there is much to look at.
"""

from collections.abc import Mapping
from enum import Enum

from codex.codec import BLOCK_PREFIX, Cid
from codex.data import LeafAddress
from codex.exchange.messages import Delivery, Message, Part, TooManyFields, decode
from codex.exchange.proving import ProvenTree
from codex.runtime import Offload

SMALL = 1 << 16
"""Bytes up to which a message is looked at in place, whatever is in it: 10 ms of work at the very most."""
IN_PLACE = 5 << 20
"""Bytes up to which it is where it has few fields: that is, a message of up to 64 blocks. Hashing them takes
4 ms, or 15 where the processor has no instructions for it. A thread for that would take more from everything
else: it passes the interpreter's lock to and fro with every block."""
FEW_FIELDS = 1024
"""Fields of such a message: a delivery has seven."""


class Finding(Enum):
    """What there is to say about a delivery."""

    TRUE = "it belongs there"
    FALSE = "it does not belong there"
    UNFIT = "it belongs to a tree of another size than the one that is fetched, or to none that is"


Trees = Mapping[Cid, Mapping[int, tuple[ProvenTree, int]]]
"""The trees that are being fetched, by their root and their number of leaves."""


async def examine(data: Part, trees: Trees, offload: Offload) -> tuple[Message, list[Finding]]:
    """Read a message, and say of each delivery whether it is what its address asks for.

    Raises DecodeError.
    """
    if len(data) <= SMALL:
        return _examine(data, trees)
    if len(data) <= IN_PLACE:
        try:
            return _examine(data, trees, FEW_FIELDS)
        except TooManyFields:
            pass  # much that is small, which takes longer
    return await offload.run(_examine, data, trees)


def _examine(data: Part, trees: Trees, max_fields: int | None = None) -> tuple[Message, list[Finding]]:
    """May run in a thread: of `trees` it uses what is there."""
    message = decode(data, max_fields=max_fields)
    return message, [_find(delivery, trees) for delivery in message.deliveries]


def _find(delivery: Delivery, trees: Trees) -> Finding:
    address, cid, proof = delivery.address, delivery.block.cid, delivery.proof
    if not isinstance(address, LeafAddress):
        return Finding.TRUE if address == cid else Finding.FALSE
    if proof is None or not cid.raw.startswith(BLOCK_PREFIX):
        return Finding.FALSE
    tree, _ = trees.get(address.tree, {}).get(proof.leaf_count, (None, 0))
    if tree is None:
        true = proof.index == address.index and proof.verify(cid.digest, address.tree.digest)
        return Finding.UNFIT if true else Finding.FALSE
    return Finding.TRUE if tree.proves(address.index, cid.digest, proof) else Finding.FALSE
