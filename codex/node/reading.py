"""The bytes of a dataset in order, run after run: from this node, and what it has not from the network.

Runs that are here are read side by side, a few ahead of the reader. Leaves from the network are handed on as
they arrive, as soon as everything before them is there; they are kept by then, and not read back. What a
reader does not take is not fetched: the exchange goes on only when its arrivals are taken.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

import trio
from attrs import define, field

from codex.codec import Cid
from codex.data import Block, LeafAddress, Manifest
from codex.errors import BlockNotFound, CodexError, CorruptData
from codex.node.fetching import Holdings, Leaves, Stretch, stretches

RUN_BLOCKS = 32  # blocks asked of the store at once: 2 MiB, so that the hop to a thread costs next to nothing
FIRST_RUN = 4  # the first ask is small, so that the first byte leaves early
READ_AHEAD = 3  # runs being read, or waiting, ahead of the reader, so that two processors have work
JOINED = (
    8  # blocks from the network that are joined: sockets take half a megabyte for little more than 64 KiB
)


class Blocks(Holdings, Protocol):
    """What reading needs of the store."""

    async def read_run(self, tree: Cid, first: int, count: int) -> list[memoryview]:
        """The verified bytes of `count` consecutive leaves, in order, as few buffers as may be."""


@define(eq=False)
class Run:
    """Consecutive bytes that were asked for: the buffers once `done`, or the error that ended it."""

    done: trio.Event = field(factory=trio.Event)
    buffers: list[memoryview] = field(factory=list)
    error: CodexError | None = None

    @classmethod
    def of(cls, *buffers: memoryview, error: CodexError | None = None) -> "Run":
        """A run that is done."""
        run = cls(buffers=list(buffers), error=error)
        run.done.set()
        return run


class Reader:
    """Reads the bytes `start` up to `end` of a dataset into runs, in order, and sends those to `out`.

    `network` is None where only this node counts. The bound of `out` is what keeps a reader near whoever
    takes the runs. `nursery` has the tasks that read.
    """

    def __init__(
        self,
        store: Blocks,
        network: Leaves | None,
        manifest: Manifest,
        start: int,
        end: int,
        out: trio.MemorySendChannel[Run],
        nursery: trio.Nursery,
    ) -> None:
        self._store = store
        self._network = network
        self._tree = manifest.tree_cid
        self._leaves = manifest.block_count
        self._block = manifest.block_size
        self._start = start
        self._end = end
        self._out = out
        self._nursery = nursery
        self._next_run = FIRST_RUN

    async def read(self) -> None:
        """Read everything; an error is the last run."""
        async with self._out:
            try:
                if self._network is None:
                    await self._from_here(self._start, self._end)
                elif self._start < self._end:
                    await self._from_both(self._network)
            except CodexError as error:
                await self._out.send(Run.of(error=error))

    # -- from this node

    async def _from_here(self, start: int, end: int) -> None:
        """Ask the store for run after run."""
        while start < end:
            first = start // self._block
            stop = min(end, (first + self._next_run) * self._block)
            run = Run()
            await self._out.send(run)
            self._nursery.start_soon(self._fill, run, start, stop)
            start = stop
            self._next_run = RUN_BLOCKS

    async def _fill(self, run: Run, start: int, stop: int) -> None:
        """Read the bytes from `start` up to `stop` from the store; what turns out to be missing or damaged
        is fetched first.
        """
        first = start // self._block
        count = -(-stop // self._block) - first
        try:
            try:
                pieces = await self._store.read_run(self._tree, first, count)
            except (BlockNotFound, CorruptData):
                if self._network is None:
                    raise
                await self._mend(self._network, first, count)
                pieces = await self._store.read_run(self._tree, first, count)
            skip, left = start - first * self._block, stop - start
            for piece in pieces:
                part = piece[skip : skip + left]
                skip = max(0, skip - len(piece))
                left -= len(part)
                if part:
                    run.buffers.append(part)
        except CodexError as error:
            run.error = error
        run.done.set()

    async def _mend(self, network: Leaves, first: int, count: int) -> None:
        addresses = [LeafAddress(self._tree, index) for index in range(first, first + count)]
        here = await self._store.has_many(addresses)
        missing = [address.index for address, found in zip(addresses, here, strict=True) if not found]
        async with network.fetch_leaves(self._tree, self._leaves, missing) as arrivals:
            async for _ in arrivals:
                pass

    # -- from here and from the network

    async def _from_both(self, network: Leaves) -> None:
        first = self._start // self._block
        count = -(-self._end // self._block) - first
        async with aclosing(stretches(self._store, self._tree, first, count)) as parts:
            async for stretch in parts:
                if stretch.missing:
                    async with network.fetch_leaves(self._tree, self._leaves, stretch.missing) as arrivals:
                        await self._merge(stretch, arrivals)
                else:
                    await self._from_here(*self._bytes(stretch.first, stretch.stop))

    async def _merge(self, stretch: Stretch, arrivals: AsyncIterator[list[tuple[int, Block]]]) -> None:
        """Send the leaves of a stretch in order: those that are here, and those that arrive."""
        held: dict[int, Block] = {}
        at, place = stretch.first, 0
        while at < stretch.stop:
            awaited = stretch.missing[place] if place < len(stretch.missing) else stretch.stop
            if at < awaited:
                await self._from_here(*self._bytes(at, awaited))
                at = awaited
                continue
            while at not in held:
                held.update(await _more(arrivals))
            pieces: list[memoryview] = []
            while at in held and len(pieces) < JOINED:
                pieces.append(self._cut(at, held.pop(at).data))
                at, place = at + 1, place + 1
            await self._out.send(Run.of(pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))))

    def _bytes(self, first: int, stop: int) -> tuple[int, int]:
        """The bytes that are wanted of the leaves `first` to `stop - 1`."""
        return max(self._start, first * self._block), min(self._end, stop * self._block)

    def _cut(self, index: int, data: bytes | memoryview) -> memoryview:
        """Those bytes of a leaf that are wanted."""
        start, end = self._bytes(index, index + 1)
        return memoryview(data)[start - index * self._block : end - index * self._block]


async def _more(arrivals: AsyncIterator[list[tuple[int, Block]]]) -> list[tuple[int, Block]]:
    async for blocks in arrivals:
        return blocks
    raise RuntimeError("the exchange ended before all that was wanted had arrived")
