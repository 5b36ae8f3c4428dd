"""The bytes of a dataset in order: from this node, and what it has not from the network.

What is here is read ahead of whoever takes it, as far as the feed has room; how much that is, is settled
anew each time, by what the node's memory has to spare. Leaves from the network are handed on as they arrive,
as soon as everything before them is there; those that have to wait for others are held in memory where there
is room, and read back from the store, which has them by then, where there is none. What a reader does not
take is not fetched: the exchange goes on only when its arrivals are taken.

Where leaves of a protected dataset are lost, here and in the network, or do not come, or come so slowly that
other rows are sooner here (see `pacing`), what is left of their row is recovered into the store, and read
from there (see `mending`): every byte that is handed on is proved. Where the store has no room for them, and
K rows are here, they are computed as they are read, and not kept (see `decoding`).
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from math import inf
from typing import Protocol

import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, LeafAddress, Manifest
from codex.errors import BlockNotFound, CodexError, CorruptData, NotADataset, NotOnNetwork, QuotaExceeded
from codex.node import fetching
from codex.node.decoding import decode
from codex.node.fetching import FIRST, STALL, Holdings, Leaves, Stalled, Stretch, stretches
from codex.node.mending import Mender
from codex.node.pacing import Pace
from codex.runtime import Feed, Share

RUN_BLOCKS = 64  # blocks read at once, by two threads: 2 MiB each, from which to the next little is lost
AHEAD = 8 << 20  # bytes that wait for the reader; the run that passes it is the last until some are taken
PIECE = 256  # bytes that a piece of content takes beside its own
OWN_BLOCKS = 2  # that every reader may hold: one that waits for it, and one in its hands
HOP_RUNS = 64  # runs of one hop to the store at most: it looks up more leaves ahead than it reads
GIVEN = 32  # blocks from the network that are handed on between two looks at the room there is
MENDED = 64  # leaves that are looked at, and fetched where need be, when reading comes upon a damaged one


class Blocks(Holdings, Protocol):
    """What reading needs of the store."""

    async def read_on(
        self, tree: Cid, first: int, stop: int, feed: Feed[memoryview], *, blocks: int, block_size: int
    ) -> int:
        """Hand the verified bytes of these leaves to the feed while it has room; the next leaf to ask for.
        Raises NotADataset for one of another size.
        """


class Rows(fetching.Rows, Protocol):
    """The rows of a protected dataset, see `codex.node.mending.Rows`."""

    async def check(self, first: int, stop: int) -> None:
        """Raise NotADataset when these leaves are known not to be those of the original which the manifest
        names.
        """

    async def sooner(self, leaves: Collection[int], pace: Pace) -> bool:
        """Whether leaves of a row would be computed much sooner than they come."""

    def alone(self) -> Mender:
        """Somebody to compute leaves from what is here, to be read and not kept."""


class Reader:
    """Reads whole leaves of a dataset, those that the bytes `start` to `end - 1` lie in, in order, into
    `feed`, which has what room the `share` gives it.

    `network` is None where only this node counts, `rows` where a dataset has no parity.
    """

    def __init__(
        self,
        store: Blocks,
        network: Leaves | None,
        rows: Rows | None,
        manifest: Manifest,
        start: int,
        end: int,
        feed: Feed[memoryview],
        share: Share,
    ) -> None:
        self._store = store
        self._network = network
        self._rows = rows
        self._tree = manifest.tree_cid
        self._leaves = manifest.block_count
        self._block_size = manifest.block_size
        self._first = start // manifest.block_size
        self._stop = -(-end // manifest.block_size) if end > start else self._first
        self._feed = feed
        self._share = share
        self._ahead = self._least = OWN_BLOCKS * self._block_size
        self._kept = 0  # bytes that arrived, and wait for others before them
        self._at = self._first  # the first leaf that was not handed on
        self._pace = Pace()  # of the row that is read
        self._pace_of = -1  # where it ends
        self._met = False  # whether anything came from others
        self._failure: BlockNotFound | None = None  # why what is missing cannot be had
        self._full = False  # whether there is no room to keep what is recovered

    async def read(self) -> None:
        """Read everything and end the feed; with an error where one comes between."""
        error: CodexError | None = None
        try:
            if self._network is None:
                await self._from_here(self._first, self._stop)
            elif self._first < self._stop:
                await self._from_all(self._network)
        except CodexError as caught:
            error = caught
        self._feed.end(error)

    async def _room(self) -> int:
        """Wait for room in the feed; how many blocks may be read at once.

        Of what may be ahead, half waits in the feed, and the other half is what passes that, while it is read
        and verified, and what is in the reader's hands. The feed is half empty by now, so that it can be
        halved if it must be.
        """
        await self._feed.room()
        most = AHEAD + 2 * RUN_BLOCKS * BLOCK_SIZE
        least = max(self._least, self._ahead // 2)
        self._ahead = max(least, min(most, self._share.most - self._kept))
        self._share.hold(self._ahead + self._kept)
        blocks = min(RUN_BLOCKS, max(1, self._ahead // (4 * self._block_size)))
        # Of small blocks, the pieces themselves take more than what is in them.
        ahead = (self._ahead - 2 * blocks * self._block_size) * self._block_size
        self._feed.limit(max(1, ahead // (self._block_size + PIECE)))
        return blocks

    # -- from this node

    async def _from_here(self, first: int, stop: int) -> None:
        """Read leaves from the store; what turns out to be missing or damaged is fetched first, unless that
        has failed already. Where there is no room for it, it is computed instead.
        """
        at, mended = first, -1
        while at < stop:
            blocks = await self._room()
            until = min(stop, at + HOP_RUNS * blocks)
            try:
                self._at = at = await self._store.read_on(
                    self._tree, at, until, self._feed, blocks=blocks, block_size=self._block_size
                )
            except (BlockNotFound, CorruptData):
                if self._failure is not None:
                    raise self._failed() from None
                if self._full:
                    self._at = at = await self._unkept(at, stop)
                    continue
                if (self._network is None and self._rows is None) or at == mended:
                    raise
                mended = at
                try:
                    await self._mend(at, min(at + MENDED, stop))
                except BlockNotFound as error:
                    self._failure = error  # over one leaf: those before it may be here now
                except QuotaExceeded:
                    if self._network is not None or self._rows is None:
                        raise
                    self._full = True
        self._failure = None

    def _failed(self) -> BlockNotFound:
        """Why what is missing cannot be had. No frame of a caller keeps it, for it will have that frame."""
        failure, self._failure = self._failure, None
        assert failure is not None
        return failure

    async def _mend(self, first: int, stop: int) -> None:
        """Have leaves here that are missing or damaged: from the network, or from the other rows."""
        addresses = [LeafAddress(self._tree, index) for index in range(first, stop)]
        here = await self._store.has_many(addresses)
        missing = [address.index for address, found in zip(addresses, here, strict=True) if not found]
        try:
            if self._network is not None:
                async with self._fetch(self._network, missing) as arrivals:
                    left = len(missing)
                    while left:
                        left -= len(await self._more(arrivals))
                return
        except Stalled:
            pass  # which is only raised where there are other rows
        if self._rows is not None:
            await self._rows.mend(first, stop)

    async def _unkept(self, at: int, stop: int) -> int:
        """Hand on leaves from one that is not here, computed from those that are; the next leaf to read.

        Raises BlockNotFound when there are too few.
        """
        assert self._rows is not None
        decoded = await decode(self._rows.alone(), at)
        stop = min(stop, decoded.gap.stop)
        while at < stop:
            room = await self._room()
            for block in await decoded.blocks(at, min(at + room, stop)):
                self._feed.offer(memoryview(block.data))
                at += 1
        return at

    def _fetch(
        self, network: Leaves, missing: Sequence[int]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[int, Block]]]]:
        return network.fetch_leaves(self._tree, self._leaves, missing, block_size=self._block_size)

    # -- from here and from the network

    async def _from_all(self, network: Leaves) -> None:
        """Read what is here, what comes from the network, and what is recovered. Where there is no room for
        what is missing, it has to follow from what is here.
        """
        try:
            await self._from_both(network)
        except QuotaExceeded:
            if self._rows is None:
                raise
            self._full = True
            self._kept = 0
            try:
                await self._from_here(self._at, self._stop)
            except BlockNotFound:
                pass  # there is no other way, and that which there was took room
            else:
                return
            raise

    async def _from_both(self, network: Leaves) -> None:
        await self._as_far_as_it_comes(network)
        while self._rows is not None and self._at < self._stop:
            # The rest of this row is recovered; those behind it may be whole.
            stop = min(self._rows.stop(self._at), self._stop)
            self._share.hold(self._ahead)
            self._kept = 0
            try:
                await self._rows.mend(self._at, stop)
            except BlockNotFound as error:
                self._failure = error  # over one leaf: those before it may be here now
            await self._from_here(self._at, stop)
            await self._as_far_as_it_comes(network)

    async def _as_far_as_it_comes(self, network: Leaves) -> None:
        """Read on until the end, or until a leaf does not come that may be recovered; `_at` says where."""
        try:
            parts = stretches(
                self._store,
                self._tree,
                self._at,
                self._stop - self._at,
                block_size=self._block_size,
            )
            async with aclosing(parts):
                async for stretch in parts:
                    if stretch.missing:
                        async with self._fetch(network, stretch.missing) as arrivals:
                            await self._merge(stretch, arrivals)
                    else:
                        await self._from_here(stretch.first, stretch.stop)
        except Stalled:
            pass  # as `_at` says

    async def _merge(self, stretch: Stretch, arrivals: AsyncIterator[list[tuple[int, Block]]]) -> None:
        """Hand on the leaves of a stretch in order: those that are here, and those that arrive."""
        held: dict[int, Block] = {}
        stored: set[int] = set()  # those that arrived, and were not held
        at, place = stretch.first, 0
        while at < stretch.stop:
            awaited = stretch.missing[place] if place < len(stretch.missing) else stretch.stop
            if at < awaited:
                await self._from_here(at, awaited)
                at = awaited
                continue
            while at not in held and at not in stored:
                await self._await(stretch.missing[place:], arrivals, held, stored)
            if at in stored:
                stored.remove(at)
                await self._from_here(at, at + 1)
                at, place = at + 1, place + 1
                continue
            given = self._give(held, at, at + min(GIVEN, await self._room()))
            at, place = at + given, place + given
            self._share.hold(self._ahead + self._kept)
            self._at = at

    def _give(self, held: dict[int, Block], first: int, stop: int) -> int:
        """Hand on what is held of these leaves, up to the first that is not; how many there were."""
        pieces: list[memoryview] = []
        try:
            for at in range(first, stop):
                block = held.pop(at, None)
                if block is None:
                    break
                if len(block.data) != self._block_size:
                    # One that stands for padding has no place among the content.
                    raise NotADataset.of_size(self._tree, at, len(block.data), self._block_size)
                pieces.append(memoryview(block.data))
        finally:
            self._feed.offer(*pieces)
            self._kept -= len(pieces) * self._block_size
        return len(pieces)

    async def _await(
        self,
        missing: Sequence[int],
        arrivals: AsyncIterator[list[tuple[int, Block]]],
        held: dict[int, Block],
        stored: set[int],
    ) -> None:
        """Have more of what is missing, the first of which is awaited. Raises Stalled, too, when what is left
        of its row would come sooner by way of others.
        """
        if self._rows is None:
            self._keep(await self._more(arrivals), held, stored)
            return
        stop = self._rows.stop(missing[0])
        if stop != self._pace_of:
            self._pace_of, self._pace = stop, Pace(STALL if self._met else FIRST)
        began = trio.current_time()
        blocks = await self._more(arrivals, self._pace.patience)
        self._keep(blocks, held, stored)
        self._pace.note(sum(index < stop for index, _ in blocks), trio.current_time() - began)
        if self._pace.is_due:
            row = missing[: bisect_left(missing, stop)]
            left = [index for index in row if index not in held and index not in stored]
            if await self._rows.sooner(left, self._pace):
                raise Stalled

    def _keep(self, blocks: list[tuple[int, Block]], held: dict[int, Block], stored: set[int]) -> None:
        total = sum([len(block.data) for _, block in blocks])
        if self._share.hold(self._ahead + self._kept + total):
            self._kept += total
            held.update(blocks)
            return
        for index, block in blocks:
            size = len(block.data)
            if self._share.hold(self._ahead + self._kept + size):
                self._kept += size
                held[index] = block
            else:
                stored.add(index)

    async def _more(
        self, arrivals: AsyncIterator[list[tuple[int, Block]]], patience: float | None = None
    ) -> list[tuple[int, Block]]:
        """What comes next. Raises Stalled where nothing does, or not soon, and there is another way."""
        patience = patience or (STALL if self._met else FIRST)
        try:
            with trio.move_on_after(inf if self._rows is None else patience):
                async for blocks in arrivals:
                    self._met = True
                    return blocks
                raise RuntimeError("the exchange ended before all that was wanted had arrived")
        except NotOnNetwork:
            if self._rows is None:
                raise
        raise Stalled
