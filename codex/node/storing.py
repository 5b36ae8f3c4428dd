"""The flow *store*: from a stream of bytes to a durable dataset and its manifest's CID.

Three stages run side by side, joined by channels without buffers: the source is cut into batches, a thread
joins, pads and hashes each batch, and the store makes it durable. So at most three batches are in memory, and
the source is read no faster than the disk takes it. Where the node's memory is short, batches are smaller:
what the budget does not lend is not gathered, and what is gathered goes on as it is. Nothing is visible
before the last step, which is one transaction; when any stage fails or is cancelled, what was staged is given
back.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from typing import Protocol

import trio

from codex.codec import Cid
from codex.data import (
    BATCH_BYTES,
    BLOCK_SIZE,
    Batch,
    Batcher,
    Block,
    Manifest,
    MerkleTree,
    TreeBuilder,
    hash_blocks,
)
from codex.errors import EmptyDataset
from codex.node.job import Progress
from codex.runtime import Budget, Share
from codex.runtime.groups import unwrapped
from codex.runtime.threads import Offload

Source = AsyncIterable[bytes]

PIECE = 262_144  # bytes of the source that are taken at once
OWN = PIECE + BLOCK_SIZE  # bytes that every upload may hold: a piece, and a block that has only begun

ABORT_WITHIN = 60.0  # seconds to give up what was staged: a flush that is in progress comes first


class Staging(Protocol):
    """What the flow needs of the store; see BlockStore for the contracts."""

    async def begin(self) -> str: ...
    async def stage(self, ingest: str, first: int, blocks: list[Block]) -> None: ...
    async def commit(self, ingest: str, tree: MerkleTree, manifest: Manifest) -> Cid: ...
    async def abort(self, ingest: str) -> None: ...


async def pieces(data: bytes) -> AsyncGenerator[bytes, None]:
    """A source of what is in memory already."""
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


async def store_dataset(
    store: Staging,
    offload: Offload,
    source: Source,
    *,
    budget: Budget,
    filename: str | None = None,
    mimetype: str | None = None,
    batch_bytes: int = BATCH_BYTES,
    progress: Progress | None = None,
) -> Cid:
    """Store what `source` yields as one dataset; the CID of its manifest is returned once everything is
    durable. What it holds until then, it has of the `budget`. `progress` is told the phase, and the bytes as
    they are taken from the source.

    Raises EmptyDataset, QuotaExceeded, DiskFull, DiskFailed, and what the source raises.
    Whatever ends it early, cancellation included, leaves nothing behind. A source that is an asynchronous
    generator is closed.
    """
    progress = progress or Progress()
    ingest = await store.begin()
    try:
        async with budget.lend(OWN) as share:
            pipeline = _Pipeline(store, offload, ingest, share, Batcher(BLOCK_SIZE, batch_bytes))
            builder, size = await pipeline.run(source, progress)
        if size == 0:
            raise EmptyDataset("Empty leaves", remedy="send at least one byte")
        progress.phase = "hashing"
        tree = await offload.run(builder.finish)
        manifest = Manifest.of_upload(tree.root_cid, size, filename=filename, mimetype=mimetype)
        progress.phase = "committing"
        return await store.commit(ingest, tree, manifest)
    except BaseException:
        # Bounded, for a stopping node waits for this; what is not given up now is given up at the next start.
        with trio.move_on_after(ABORT_WITHIN, shield=True):
            await store.abort(ingest)
        raise


class _Pipeline:
    """The three stages of one upload."""

    def __init__(self, store: Staging, offload: Offload, ingest: str, share: Share, batcher: Batcher) -> None:
        self._store = store
        self._offload = offload
        self._ingest = ingest
        self._share = share
        self._batcher = batcher
        self._builder = TreeBuilder()
        self._cut_in, self._cut_out = trio.open_memory_channel[Batch](0)
        self._hashed_in, self._hashed_out = trio.open_memory_channel[tuple[int, list[Block]]](0)

    async def run(self, source: Source, progress: Progress) -> tuple[TreeBuilder, int]:
        """Stage what the source yields; the tree over it, and its bytes."""
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hash_batches)
                nursery.start_soon(self._stage_batches)
                try:
                    async with self._cut_in:
                        await self._cut(source, progress)
                except BaseException:
                    # Before the nursery hears of it: what it cancels then has its frames on the way, and they
                    # and the error would keep each other, and the batches, until garbage is collected.
                    nursery.cancel_scope.cancel()
                    self._batcher.clear()
                    raise
        return self._builder, self._batcher.size

    async def _cut(self, source: Source, progress: Progress) -> None:
        progress.phase = "reading"
        try:
            async for piece in source:
                for part in _parts(piece):
                    await self._make_room(len(part))
                    await self._hand_on(self._batcher.feed(part))
                progress.bytes_done = self._batcher.size
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()  # often nobody else has it, and it may hold a file open
        progress.phase = "storing"
        last = self._batcher.finish()
        await self._hand_on([last] if last is not None else [])

    async def _hand_on(self, batches: list[Batch]) -> None:
        while batches:  # each is let go of here before the next is gathered
            await self._cut_in.send(batches.pop(0))

    async def _make_room(self, size: int) -> None:
        """Hold so many bytes more, as soon as may be."""
        while not self._share.hold(self._share.held + size):
            if self._share.held > self._batcher.held:
                await self._share.shrunk()  # some are under way to the disk, and come back
                continue
            # What is gathered is all that is held, and together with a piece more than an upload's own: there
            # is a block of it.
            batch = self._batcher.cut()
            assert batch is not None
            await self._hand_on([batch])
            del batch

    async def _hash_batches(self) -> None:
        async with self._hashed_in:
            async for batch in self._cut_out:
                size = batch.size
                handed_over = [batch]
                del batch
                await self._hashed_in.send((size, await self._offload.run(_hash, handed_over)))

    async def _stage_batches(self) -> None:
        first = 0
        async for size, blocks in self._hashed_out:
            await self._store.stage(self._ingest, first, blocks)
            self._builder.add([block.cid.digest for block in blocks])
            first += len(blocks)
            del blocks  # not to be kept while the next batch is on its way
            self._share.hold(self._share.held - size)


def _parts(piece: bytes) -> Iterator[bytes | memoryview]:
    """A piece, no more than `PIECE` bytes of it at once."""
    if len(piece) <= PIECE:
        yield piece
        return
    view = memoryview(piece)
    for start in range(0, len(piece), PIECE):
        yield view[start : start + PIECE]


def _hash(handed_over: list[Batch]) -> list[Block]:
    # Nobody else has the batch any more: its pieces are freed once they are joined, before the hashing.
    return hash_blocks(handed_over.pop().blocks())
