"""The flow *retrieve*: from a manifest to verified bytes, read ahead of whoever takes them.

A retrieval reads runs of consecutive blocks through the store, which verifies each against its hash, and
keeps at most a few runs ahead of the reader. Memory is therefore bounded whatever the dataset's size and
however slow the reader.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import CodexError, InvalidInput
from codex.runtime.groups import unwrapped

RUN_BLOCKS = 32  # blocks asked of the store at once: 2 MiB, one hop to a thread
FIRST_RUN = 4  # the first ask is small, so that the first byte leaves early
READ_AHEAD = 2  # runs waiting for the reader


class Blocks(Protocol):
    """What a retrieval needs of the store."""

    async def read_run(self, tree: Cid, first: int, count: int) -> list[memoryview]:
        """The verified bytes of `count` consecutive leaves, in order, as few buffers as may be."""


class Retrieval:
    """A dataset on its way to a reader: `size` bytes from `offset`, as an asynchronous iterator of buffers.

    `manifest` describes the whole dataset (None for a single block). Raises what the store raises
    (BlockNotFound, CorruptData) where the bytes end.
    """

    def __init__(
        self,
        manifest: Manifest | None,
        offset: int,
        size: int,
        runs: trio.MemoryReceiveChannel[memoryview | CodexError],
    ) -> None:
        self.manifest = manifest
        self.offset = offset
        self.size = size
        self._runs = runs

    def __aiter__(self) -> "Retrieval":
        return self

    async def __anext__(self) -> memoryview:
        try:
            item = await self._runs.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if isinstance(item, CodexError):
            raise item
        return item

    async def read(self) -> bytes:
        """Everything that is left, in one piece; for datasets known to be small."""
        return b"".join([bytes(piece) async for piece in self])


@asynccontextmanager
async def open_dataset(
    store: Blocks, manifest: Manifest, offset: int = 0, length: int | None = None
) -> AsyncIterator[Retrieval]:
    """Retrieve `length` bytes (or all) of the dataset from `offset`; reading ahead starts at once.

    Raises InvalidInput when the range does not lie within the dataset.
    """
    total = manifest.original_size
    size = total - offset if length is None else length
    if offset < 0 or size < 0 or offset + size > total:
        raise InvalidInput(f"bytes {offset} to {offset + size} do not lie within a dataset of {total} bytes")
    send, receive = trio.open_memory_channel[memoryview | CodexError](READ_AHEAD)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_ahead, store, manifest, offset, size, send)
            async with receive:
                yield Retrieval(manifest, offset, size, receive)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_block(data: bytes | memoryview) -> AsyncIterator[Retrieval]:
    """A single block, already read and verified, in the form of a retrieval."""
    send, receive = trio.open_memory_channel[memoryview | CodexError](1)
    if data:
        send.send_nowait(memoryview(data))
    send.close()
    async with receive:
        yield Retrieval(None, 0, len(data), receive)


async def _read_ahead(
    store: Blocks,
    manifest: Manifest,
    offset: int,
    size: int,
    out: trio.MemorySendChannel[memoryview | CodexError],
) -> None:
    block_size = manifest.block_size
    index, skip = divmod(offset, block_size)
    end = -(-(offset + size) // block_size)
    count = FIRST_RUN
    async with out:
        try:
            while index < end:
                count = min(count, end - index)
                for piece in await store.read_run(manifest.tree_cid, index, count):
                    part = piece[skip : skip + size]
                    skip = max(0, skip - len(piece))
                    size -= len(part)
                    if part:
                        await out.send(part)
                index += count
                count = RUN_BLOCKS
        except CodexError as error:
            await out.send(error)
        except trio.BrokenResourceError:
            return  # the reader has left
