"""The flow *retrieve*: from a manifest to verified bytes, read ahead of whoever takes them.

A retrieval reads runs of consecutive blocks, each verified against its hash, and keeps a few megabytes
ahead of whoever takes them, fewer where many retrievals share the node's memory (see `reading`). Memory is
therefore bounded whatever the dataset's size, however slow the reader, and however many there are.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from codex.data import BLOCK_SIZE, Manifest
from codex.errors import InvalidInput
from codex.node.fetching import Leaves
from codex.node.job import Progress
from codex.node.reading import OWN_BLOCKS, Blocks, Reader, Rows
from codex.runtime import Budget, Feed
from codex.runtime.groups import unwrapped

TOGETHER = 32 * BLOCK_SIZE  # bytes of pieces handed out together: as much as a run of what is here


class Retrieval:
    """A dataset on its way to a reader: `size` bytes from `offset`, as an asynchronous iterator of buffers.

    `manifest` describes the whole dataset (None for a single block), `job_id` names the job that counts what
    is handed out, where there is one. Raises BlockNotFound (NotOnNetwork when the network was asked) and
    CorruptData where the bytes end, and NotADataset where blocks have not the size that the manifest says.

    When all of a protected dataset was read, and is not the original that its manifest names, NotADataset is
    raised instead of the last bytes. A part of one, and one that there was no room to keep, is proved to be
    of the protected dataset; that this is the original's is the word of who made the manifest, and is only
    checked where the same leaves of the original are here too.
    """

    def __init__(
        self,
        manifest: Manifest | None,
        offset: int,
        size: int,
        feed: Feed[memoryview],
        progress: Progress,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.manifest = manifest
        self.offset = offset
        self.size = size
        self.job_id: str | None = None
        self._feed = feed
        self._progress = progress
        # The feed has whole blocks: what lies before the first byte is dropped, and behind the last.
        self._skip = offset % manifest.block_size if manifest else 0
        self._left = size
        self._check = check

    def __aiter__(self) -> "Retrieval":
        return self

    async def __anext__(self) -> memoryview:
        parts = await self._some(0)
        if not parts:
            raise StopAsyncIteration
        return parts[0]

    async def some(self) -> list[memoryview]:
        """Wait for bytes, and return them in the buffers that they lie in, several where several are there;
        nothing at the end.
        """
        return await self._some(TOGETHER)

    async def _some(self, most: int) -> list[memoryview]:
        while pieces := await self._feed.some(most):
            size = sum(map(len, pieces))
            if not self._skip and 0 < size < self._left:  # whole blocks, and not the last
                self._left -= size
                self._progress.bytes_done += size
                return pieces
            parts: list[memoryview] = []
            for piece in pieces:
                part = piece[self._skip : self._skip + self._left]
                self._skip = max(0, self._skip - len(piece))
                if part:
                    if self._check is not None and self._left == len(part):
                        await self._check()
                    self._left -= len(part)
                    self._progress.bytes_done += len(part)
                    parts.append(part)
            if parts:
                return parts
        return []

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
    budget: Budget,
    network: Leaves | None = None,
    rows: Rows | None = None,
    progress: Progress | None = None,
) -> AsyncIterator[Retrieval]:
    """Retrieve `length` bytes (or all) of the dataset from `offset`; reading ahead starts at once.

    What is read ahead is held of the `budget`, and dropped when the block ends.
    With a `network` what is not here is fetched from it, and only that, and only where the range needs it;
    with `rows` what is not to be had is recovered.
    `progress` is told the bytes as they are handed to the reader, and how many there will be.
    Raises InvalidInput when the range does not lie within the dataset.
    """
    total = manifest.original_size
    size = total - offset if length is None else length
    if offset < 0 or size < 0 or offset + size > total:
        raise InvalidInput(f"bytes {offset} to {offset + size} do not lie within a dataset of {total} bytes")
    progress = _begun(progress, size)
    feed: Feed[memoryview] = Feed(1)
    check = None
    if rows is not None:
        block = manifest.block_size
        check = partial(rows.check, offset // block, -(-(offset + size) // block))
    async with budget.lend(OWN_BLOCKS * manifest.block_size) as share:
        with unwrapped():
            try:
                async with trio.open_nursery() as nursery:
                    reader = Reader(store, network, rows, manifest, offset, offset + size, feed, share)
                    nursery.start_soon(reader.read)
                    try:
                        yield Retrieval(manifest, offset, size, feed, progress, check)
                    finally:
                        # Before the nursery hears of an error: what it cancels then has its frames on the
                        # way, and they and the error would keep each other, and the last piece, until garbage
                        # is collected.
                        nursery.cancel_scope.cancel()
            finally:
                feed.close()


@asynccontextmanager
async def open_block(
    data: bytes | memoryview, *, progress: Progress | None = None
) -> AsyncIterator[Retrieval]:
    """A single block, already read and verified, in the form of a retrieval."""
    feed: Feed[memoryview] = Feed(len(data) + 1)
    feed.offer(memoryview(data))
    feed.end()
    yield Retrieval(None, 0, len(data), feed, _begun(progress, len(data)))


def _begun(progress: Progress | None, size: int) -> Progress:
    progress = progress or Progress()
    progress.phase, progress.bytes_total = "reading", size
    return progress
