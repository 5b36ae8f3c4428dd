"""The flow *store*: from a stream of bytes to a durable dataset and its manifest's CID.

Three stages run side by side, joined by channels without buffers: the source is cut into batches, a thread
joins, pads and hashes each batch, and the store makes it durable. So at most three batches are in memory, and
the source is read no faster than the disk takes it. Nothing is visible before the last step, which is one
transaction; when any stage fails or is cancelled, what was staged is given back.
"""

from collections.abc import AsyncGenerator, AsyncIterable
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
from codex.runtime.groups import unwrapped
from codex.runtime.threads import Offload

Source = AsyncIterable[bytes]

ABORT_WITHIN = 60.0  # seconds to give up what was staged: a flush that is in progress comes first


class Staging(Protocol):
    """What the flow needs of the store; see BlockStore for the contracts."""

    async def begin(self) -> str: ...
    async def stage(self, ingest: str, first: int, blocks: list[Block]) -> None: ...
    async def commit(self, ingest: str, tree: MerkleTree, manifest: Manifest) -> Cid: ...
    async def abort(self, ingest: str) -> None: ...


async def store_dataset(
    store: Staging,
    offload: Offload,
    source: Source,
    *,
    filename: str | None = None,
    mimetype: str | None = None,
    batch_bytes: int = BATCH_BYTES,
    progress: Progress | None = None,
) -> Cid:
    """Store what `source` yields as one dataset; the CID of its manifest is returned once everything is
    durable. `progress` is told the phase, and the bytes as they are taken from the source.

    Raises EmptyDataset, QuotaExceeded, DiskFull, DiskFailed, and what the source raises.
    Whatever ends it early, cancellation included, leaves nothing behind. A source that is an asynchronous
    generator is closed.
    """
    progress = progress or Progress()
    ingest = await store.begin()
    try:
        builder, size = await _pipeline(store, offload, source, ingest, batch_bytes, progress)
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


async def _pipeline(
    store: Staging, offload: Offload, source: Source, ingest: str, batch_bytes: int, progress: Progress
) -> tuple[TreeBuilder, int]:
    builder = TreeBuilder()
    batcher = Batcher(BLOCK_SIZE, batch_bytes)
    cut_in, cut_out = trio.open_memory_channel[Batch](0)
    hashed_in, hashed_out = trio.open_memory_channel[list[Block]](0)

    async def hash_batches() -> None:
        async with hashed_in:
            async for batch in cut_out:
                handed_over = [batch]
                del batch
                await hashed_in.send(await offload.run(_hash, handed_over))

    async def stage_batches() -> None:
        first = 0
        async for blocks in hashed_out:
            await store.stage(ingest, first, blocks)
            builder.add([block.cid.digest for block in blocks])
            first += len(blocks)
            del blocks  # 16 MiB, not to be kept while the next batch is on its way

    size = 0
    with unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hash_batches)
            nursery.start_soon(stage_batches)
            async with cut_in:
                progress.phase = "reading"
                try:
                    async for piece in source:
                        size += len(piece)
                        progress.bytes_done = size
                        for batch in batcher.feed(piece):
                            await cut_in.send(batch)
                finally:
                    if isinstance(source, AsyncGenerator):
                        await source.aclose()  # often nobody else has it, and it may hold a file open
                progress.phase = "storing"
                last = batcher.finish()
                if last is not None:
                    await cut_in.send(last)
    return builder, size


def _hash(handed_over: list[Batch]) -> list[Block]:
    # Nobody else has the batch any more: its pieces are freed once they are joined, before the hashing.
    return hash_blocks(handed_over.pop().blocks())
