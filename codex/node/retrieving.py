"""The flow *retrieve*: from a manifest to verified bytes, read ahead of whoever takes them.

A retrieval reads runs of consecutive blocks through the store, which verifies each against its hash, and
keeps at most a few runs ahead of the reader; these are read side by side. Memory is therefore bounded
whatever the dataset's size and however slow the reader.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from attrs import define, field

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import CodexError, InvalidInput
from codex.node.job import Progress
from codex.runtime.groups import unwrapped

RUN_BLOCKS = 32  # blocks asked of the store at once: 2 MiB, so that the hop to a thread costs next to nothing
FIRST_RUN = 4  # the first ask is small, so that the first byte leaves early
READ_AHEAD = 3  # runs being read, or waiting, ahead of the reader, so that two processors have work


class Blocks(Protocol):
    """What a retrieval needs of the store."""

    async def read_run(self, tree: Cid, first: int, count: int) -> list[memoryview]:
        """The verified bytes of `count` consecutive leaves, in order, as few buffers as may be."""


@define(eq=False)
class _Run:
    """A run of blocks that was asked for: its buffers once `done`, or the error that ended it."""

    done: trio.Event = field(factory=trio.Event)
    buffers: list[memoryview] = field(factory=list)
    error: CodexError | None = None


class Retrieval:
    """A dataset on its way to a reader: `size` bytes from `offset`, as an asynchronous iterator of buffers.

    `manifest` describes the whole dataset (None for a single block), `job_id` names the job that counts what
    is handed out, where there is one. Raises what the store raises
    (BlockNotFound, CorruptData) where the bytes end.
    """

    def __init__(
        self,
        manifest: Manifest | None,
        offset: int,
        size: int,
        runs: trio.MemoryReceiveChannel[_Run],
        progress: Progress,
    ) -> None:
        self.manifest = manifest
        self.offset = offset
        self.size = size
        self.job_id: str | None = None
        self._runs = runs
        self._progress = progress
        self._buffers: deque[memoryview] = deque()

    def __aiter__(self) -> "Retrieval":
        return self

    async def __anext__(self) -> memoryview:
        while not self._buffers:
            try:
                run = await self._runs.receive()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            await run.done.wait()
            if run.error is not None:
                raise run.error
            self._buffers.extend(run.buffers)
        buffer = self._buffers.popleft()
        self._progress.bytes_done += len(buffer)
        return buffer

    async def read(self) -> bytes:
        """Everything that is left, in one piece; for datasets known to be small."""
        return b"".join([bytes(piece) async for piece in self])


@asynccontextmanager
async def open_dataset(
    store: Blocks,
    manifest: Manifest,
    offset: int = 0,
    length: int | None = None,
    *,
    progress: Progress | None = None,
) -> AsyncIterator[Retrieval]:
    """Retrieve `length` bytes (or all) of the dataset from `offset`; reading ahead starts at once.

    `progress` is told the bytes as they are handed to the reader, and how many there will be.
    Raises InvalidInput when the range does not lie within the dataset.
    """
    total = manifest.original_size
    size = total - offset if length is None else length
    if offset < 0 or size < 0 or offset + size > total:
        raise InvalidInput(f"bytes {offset} to {offset + size} do not lie within a dataset of {total} bytes")
    progress = _begun(progress, size)
    send, receive = trio.open_memory_channel[_Run](READ_AHEAD)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_ahead, store, manifest, offset, size, send, nursery)
            yield Retrieval(manifest, offset, size, receive, progress)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_block(
    data: bytes | memoryview, *, progress: Progress | None = None
) -> AsyncIterator[Retrieval]:
    """A single block, already read and verified, in the form of a retrieval."""
    send, receive = trio.open_memory_channel[_Run](1)
    run = _Run(buffers=[memoryview(data)] if data else [])
    run.done.set()
    send.send_nowait(run)
    send.close()
    yield Retrieval(None, 0, len(data), receive, _begun(progress, len(data)))


def _begun(progress: Progress | None, size: int) -> Progress:
    progress = progress or Progress()
    progress.phase, progress.bytes_total = "reading", size
    return progress


async def _read_ahead(
    store: Blocks,
    manifest: Manifest,
    offset: int,
    size: int,
    out: trio.MemorySendChannel[_Run],
    nursery: trio.Nursery,
) -> None:
    """Ask for run after run, in order; the channel's bound is what keeps it near the reader."""
    start, end = offset, offset + size
    count = FIRST_RUN
    async with out:
        while start < end:
            first = start // manifest.block_size
            stop = min(end, (first + count) * manifest.block_size)
            run = _Run()
            await out.send(run)
            nursery.start_soon(_fill, run, store, manifest, start, stop)
            start = stop
            count = RUN_BLOCKS


async def _fill(run: _Run, store: Blocks, manifest: Manifest, start: int, stop: int) -> None:
    """Read the bytes from `start` up to `stop` of a dataset."""
    first = start // manifest.block_size
    skip = start - first * manifest.block_size
    left = stop - start
    try:
        for piece in await store.read_run(manifest.tree_cid, first, -(-stop // manifest.block_size) - first):
            part = piece[skip : skip + left]
            skip = max(0, skip - len(piece))
            left -= len(part)
            if part:
                run.buffers.append(part)
    except CodexError as error:
        run.error = error
    run.done.set()
