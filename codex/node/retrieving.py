"""The flow *retrieve*: from a manifest to verified bytes, read ahead of whoever takes them.

A retrieval reads runs of consecutive blocks, each verified against its hash, and keeps at most a few runs
ahead of whoever takes them (see `reading`). Memory is therefore bounded whatever the dataset's size and
however slow the reader.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from codex.data import Manifest
from codex.errors import InvalidInput
from codex.node.fetching import Leaves
from codex.node.job import Progress
from codex.node.reading import READ_AHEAD, Blocks, Reader, Run
from codex.runtime.groups import unwrapped


class Retrieval:
    """A dataset on its way to a reader: `size` bytes from `offset`, as an asynchronous iterator of buffers.

    `manifest` describes the whole dataset (None for a single block), `job_id` names the job that counts what
    is handed out, where there is one. Raises BlockNotFound (NotOnNetwork when the network was asked) and
    CorruptData where the bytes end.
    """

    def __init__(
        self,
        manifest: Manifest | None,
        offset: int,
        size: int,
        runs: trio.MemoryReceiveChannel[Run],
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
    network: Leaves | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[Retrieval]:
    """Retrieve `length` bytes (or all) of the dataset from `offset`; reading ahead starts at once.

    With a `network` what is not here is fetched from it, and only that, and only where the range needs it.
    `progress` is told the bytes as they are handed to the reader, and how many there will be.
    Raises InvalidInput when the range does not lie within the dataset.
    """
    total = manifest.original_size
    size = total - offset if length is None else length
    if offset < 0 or size < 0 or offset + size > total:
        raise InvalidInput(f"bytes {offset} to {offset + size} do not lie within a dataset of {total} bytes")
    progress = _begun(progress, size)
    send, receive = trio.open_memory_channel[Run](READ_AHEAD)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            reader = Reader(store, network, manifest, offset, offset + size, send, nursery)
            nursery.start_soon(reader.read)
            yield Retrieval(manifest, offset, size, receive, progress)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_block(
    data: bytes | memoryview, *, progress: Progress | None = None
) -> AsyncIterator[Retrieval]:
    """A single block, already read and verified, in the form of a retrieval."""
    send, receive = trio.open_memory_channel[Run](1)
    send.send_nowait(Run.of(*[memoryview(data)] if data else []))
    send.close()
    yield Retrieval(None, 0, len(data), receive, _begun(progress, len(data)))


def _begun(progress: Progress | None, size: int) -> Progress:
    progress = progress or Progress()
    progress.phase, progress.bytes_total = "reading", size
    return progress
