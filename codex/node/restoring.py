"""Leaves that were computed on their way into the store: hidden until they are proved, then part of the tree.

Their blocks are staged in an ingest as they come, so that memory holds 32 bytes a leaf, nothing of them is
seen, and whatever ends it early, a crash too, leaves none of them. When the run is complete, its digests and
the proofs of the leaves beside it show whether these are the leaves of the tree. Only then do they become
leaves, each with its own proof.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from codex.codec import Cid
from codex.codec.cid import DIGEST_SIZE, block_cid
from codex.data import Block
from codex.data.runs import ProvenRun, Witness, prove_run
from codex.errors import NotADataset
from codex.runtime.threads import Offload
from codex.store import Leaf

ADOPTED = 512  # leaves that are written at once
ABORT_WITHIN = 60.0  # seconds to give up what was staged: a flush that is in progress comes first
AT_ONCE = 1e-9
"""Seconds that leaves are wanted for their own sake: the next maintenance takes away those whose dataset was
deleted meanwhile."""
READ_IN_PART = "ask whoever made the dataset for another manifest: this one can only be read in part"


class Staging(Protocol):
    """What is needed of the store; see BlockStore for the contracts."""

    async def begin(self) -> str: ...
    async def stage(
        self, ingest: str, first: int, blocks: Sequence[Block], *, reservation: str | None = None
    ) -> None: ...
    async def put_leaves(
        self,
        tree: Cid,
        leaves: Sequence[Leaf],
        *,
        ttl: float | None = None,
        ingest: str | None = None,
        hold: tuple[str, str] | None = None,
    ) -> None: ...
    async def abort(self, ingest: str) -> None: ...


class Restoration:
    """A run of consecutive leaves that is being made. Made by `open_restoration`; for one task at a time."""

    def __init__(
        self,
        store: Staging,
        offload: Offload,
        ingest: str,
        tree: Cid,
        leaf_count: int,
        run: range,
        reservation: str | None,
    ) -> None:
        self._store = store
        self._offload = offload
        self._ingest = ingest
        self._tree = tree
        self._leaf_count = leaf_count
        self._run = run
        self._reservation = reservation
        self._digests = bytearray(len(run) * DIGEST_SIZE)

    async def add(self, blocks: Mapping[int, Block]) -> None:
        """Stage leaves of the run, by index, each once; durable when it returns. Raises QuotaExceeded."""
        for first, part in consecutive(blocks):
            await self._store.stage(self._ingest, first, part, reservation=self._reservation)
            for index, block in enumerate(part, first):
                self.note(index, block.cid)

    def note(self, index: int, cid: Cid) -> None:
        """Tell of a leaf of the run that is not to be stored."""
        at = (index - self._run.start) * DIGEST_SIZE
        self._digests[at : at + DIGEST_SIZE] = cid.digest

    def widen(self, run: range) -> None:
        """Make the run longer, to one that this one is in; for a proof that takes more leaves."""
        digests = bytearray(len(run) * DIGEST_SIZE)
        at = (self._run.start - run.start) * DIGEST_SIZE
        digests[at : at + len(self._digests)] = self._digests
        self._run, self._digests = run, digests

    async def prove(self, witnesses: Iterable[Witness]) -> ProvenRun:
        """Prove all leaves of the run, which have come by now; see `prove_run` for what witnesses it takes.

        Raises NotADataset when they are not those of the tree.
        """
        return await prove(
            self._offload, self._tree, self._leaf_count, self._run, bytes(self._digests), list(witnesses)
        )

    async def adopt(
        self, proven: ProvenRun, indices: Sequence[int], *, hold: tuple[str, str] | None = None
    ) -> None:
        """Make leaves that were staged part of the tree; for the sake of a `hold`, its purpose and key, only.
        They do not outlive what wants them.

        Raises BlockNotFound when there is no such hold any more.
        """
        for at in range(0, len(indices), ADOPTED):
            leaves = await self._offload.run(_leaves, proven, indices[at : at + ADOPTED])
            await self._store.put_leaves(self._tree, leaves, ttl=AT_ONCE, ingest=self._ingest, hold=hold)


@asynccontextmanager
async def open_restoration(
    store: Staging,
    offload: Offload,
    tree: Cid,
    leaf_count: int,
    run: range,
    *,
    reservation: str | None = None,
) -> AsyncIterator[Restoration]:
    """Make the leaves `run` of a tree for the length of the block; what was not adopted then is given up.

    Room may come out of a `reservation`.
    """
    ingest = await store.begin()
    try:
        yield Restoration(store, offload, ingest, tree, leaf_count, run, reservation)
    finally:
        # Bounded, for a stopping node waits for this; what is not given up now is given up at the next start.
        with trio.move_on_after(ABORT_WITHIN, shield=True):
            await store.abort(ingest)


async def prove(
    offload: Offload, tree: Cid, leaf_count: int, run: range, digests: bytes, witnesses: Sequence[Witness]
) -> ProvenRun:
    """Prove the leaves of a run, whose `digests` have 32 bytes each; see `prove_run` for what witnesses it
    takes. Raises NotADataset when they are not those of the tree.
    """
    proven = await offload.run(prove_run, tree.digest, leaf_count, run.start, digests, witnesses)
    if proven is None:
        raise NotADataset(
            f"leaves {run.start} to {run.stop - 1} of the dataset {tree} are not what its other rows make of"
            " them: the rows do not belong together",
            remedy=READ_IN_PART,
        )
    return proven


def consecutive(blocks: Mapping[int, Block]) -> Iterator[tuple[int, list[Block]]]:
    """Blocks by index as runs: the first index, and the blocks from there on."""
    first, part = 0, list[Block]()
    for index in sorted(blocks):
        if part and index != first + len(part):
            yield first, part
            part = []
        if not part:
            first = index
        part.append(blocks[index])
    if part:
        yield first, part


def _leaves(proven: ProvenRun, indices: Sequence[int]) -> list[Leaf]:
    return [Leaf(index, block_cid(proven.leaf(index)), proven.proof(index)) for index in indices]
