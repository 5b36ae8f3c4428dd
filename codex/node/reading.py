"""The bytes of a dataset in order: from this node, and what it has not from the network.

What is here is read ahead of whoever takes it, as far as the feed has room. Leaves from the network are
handed on as they arrive, as soon as everything before them is there; they are kept by then, and not read
back. What a reader does not take is not fetched: the exchange goes on only when its arrivals are taken.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from codex.codec import Cid
from codex.data import Block, LeafAddress, Manifest
from codex.errors import BlockNotFound, CodexError, CorruptData
from codex.node.fetching import Holdings, Leaves, Stretch, stretches
from codex.runtime import Feed

RUN_BLOCKS = 32  # blocks read at once: 2 MiB, in which little is lost in going from one run to the next
AHEAD = 4 << 20  # bytes that wait for the reader; the run that passes it is the last until some are taken
MENDED = 64  # leaves that are looked at, and fetched where need be, when reading comes upon a damaged one
JOINED = 8  # blocks from the network that are joined: half a megabyte costs a socket little more than one


class Blocks(Holdings, Protocol):
    """What reading needs of the store."""

    async def read_on(self, tree: Cid, first: int, stop: int, feed: Feed[memoryview], *, blocks: int) -> int:
        """Hand the verified bytes of these leaves to the feed while it has room; the next leaf to ask for."""


class Reader:
    """Reads whole leaves of a dataset, those that the bytes `start` to `end - 1` lie in, in order, into
    `feed`.

    `network` is None where only this node counts.
    """

    def __init__(
        self,
        store: Blocks,
        network: Leaves | None,
        manifest: Manifest,
        start: int,
        end: int,
        feed: Feed[memoryview],
    ) -> None:
        self._store = store
        self._network = network
        self._tree = manifest.tree_cid
        self._leaves = manifest.block_count
        self._block_size = manifest.block_size
        self._first = start // manifest.block_size
        self._stop = -(-end // manifest.block_size) if end > start else self._first
        self._feed = feed

    async def read(self) -> None:
        """Read everything and end the feed; with an error where one comes between."""
        error: CodexError | None = None
        try:
            if self._network is None:
                await self._from_here(self._first, self._stop)
            elif self._first < self._stop:
                await self._from_both(self._network)
        except CodexError as caught:
            error = caught
        self._feed.end(error)

    # -- from this node

    async def _from_here(self, first: int, stop: int) -> None:
        """Read leaves from the store; what turns out to be missing or damaged is fetched first."""
        at, mended = first, -1
        while at < stop:
            await self._feed.room()
            try:
                at = await self._store.read_on(self._tree, at, stop, self._feed, blocks=RUN_BLOCKS)
            except (BlockNotFound, CorruptData):
                if self._network is None or at == mended:
                    raise
                mended = at
                await self._mend(self._network, at, min(MENDED, stop - at))

    async def _mend(self, network: Leaves, first: int, count: int) -> None:
        addresses = [LeafAddress(self._tree, index) for index in range(first, first + count)]
        here = await self._store.has_many(addresses)
        missing = [address.index for address, found in zip(addresses, here, strict=True) if not found]
        async with self._fetch(network, missing) as arrivals:
            async for _ in arrivals:
                pass

    def _fetch(
        self, network: Leaves, missing: Sequence[int]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[int, Block]]]]:
        return network.fetch_leaves(self._tree, self._leaves, missing, block_size=self._block_size)

    # -- from here and from the network

    async def _from_both(self, network: Leaves) -> None:
        count = self._stop - self._first
        async with aclosing(stretches(self._store, self._tree, self._first, count)) as parts:
            async for stretch in parts:
                if stretch.missing:
                    async with self._fetch(network, stretch.missing) as arrivals:
                        await self._merge(stretch, arrivals)
                else:
                    await self._from_here(stretch.first, stretch.stop)

    async def _merge(self, stretch: Stretch, arrivals: AsyncIterator[list[tuple[int, Block]]]) -> None:
        """Hand on the leaves of a stretch in order: those that are here, and those that arrive."""
        held: dict[int, Block] = {}
        at, place = stretch.first, 0
        while at < stretch.stop:
            awaited = stretch.missing[place] if place < len(stretch.missing) else stretch.stop
            if at < awaited:
                await self._from_here(at, awaited)
                at = awaited
                continue
            while at not in held:
                held.update(await _more(arrivals))
            pieces: list[bytes | memoryview] = []
            while at in held and len(pieces) < JOINED:
                pieces.append(held.pop(at).data)
                at, place = at + 1, place + 1
            await self._feed.room()
            self._feed.offer(memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces)))


async def _more(arrivals: AsyncIterator[list[tuple[int, Block]]]) -> list[tuple[int, Block]]:
    async for blocks in arrivals:
        return blocks
    raise RuntimeError("the exchange ended before all that was wanted had arrived")
