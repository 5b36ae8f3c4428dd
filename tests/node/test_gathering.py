"""Blocks of columns: what is here first, then as many others as are needed, and more where some are slow."""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from math import inf

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress
from codex.errors import (
    BlockNotFound,
    CodexError,
    CorruptData,
    DiskFailed,
    DiskFull,
    NotADataset,
    NotOnNetwork,
    QuotaExceeded,
)
from codex.node.gathering import PATIENCE, Gatherer
from codex.node.sought import STALL
from codex.store import Leaf
from codex.testing.content import noise
from codex.testing.rows import protect

SIZE = 64
DATASET = protect(noise(20 * SIZE), 4, 2, SIZE)  # five columns
LAYOUT = DATASET.layout
COLUMNS = range(5)


class Shelf:
    """A store that has some leaves of the dataset, of which some are damaged."""

    def __init__(self, here: Iterable[int] = (), damaged: Collection[int] = ()) -> None:
        self.here = set(here)
        self.damaged = damaged
        self.read: list[int] = []

    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]:
        return [isinstance(a, LeafAddress) and a.index in self.here for a in addresses]

    async def find_many(self, addresses: Sequence[BlockAddress]) -> list[Block | None]:
        await trio.lowlevel.checkpoint()
        indices = [a.index for a in addresses if isinstance(a, LeafAddress)]
        self.read += indices
        return [None if index in self.damaged else DATASET.blocks[index] for index in indices]

    async def leaves(self, tree: Cid, first: int, count: int) -> list[Leaf]:
        if first in self.damaged:
            raise CorruptData("the proof is damaged")
        return [DATASET.leaf(index) for index in range(first, first + count) if index in self.here]


class Others:
    """The exchange's door: leaves of a row come after the row's delay, in seconds; None is that nobody has
    it, infinity that somebody says so and never sends. What was wanted is in `wanted`, fetch by fetch.
    """

    arrivals: type["Arrivals"]

    def __init__(self, **delays: float | None) -> None:
        self.arrivals = Arrivals
        self.delays = {int(name.removeprefix("row")): delay for name, delay in delays.items()}
        self.wanted: list[list[int]] = []
        self.open = 0
        self.closed: list[tuple[int, float]] = []
        """The first leaf of each fetch that ended, and when."""

    @asynccontextmanager
    async def fetch_proved(
        self,
        tree: Cid,
        leaf_count: int,
        indices: Iterable[int],
        *,
        keep: bool = True,
        block_size: int = BLOCK_SIZE,
    ) -> AsyncIterator[AsyncIterator[list[tuple[Leaf, Block]]]]:
        assert (tree, leaf_count, block_size) == (DATASET.tree.root_cid, LAYOUT.total, SIZE)
        at = len(self.wanted)
        self.wanted.append(list(indices))
        self.open += 1
        try:
            yield self.arrivals(self.wanted[at], self.delays)
        finally:
            self.open -= 1
            self.closed.append((min(self.wanted[at]), trio.current_time()))

    @property
    def rows(self) -> list[int]:
        """The rows of which something was wanted, fetch by fetch: each is of one."""
        rows = [{LAYOUT.place(index)[0] for index in some} for some in self.wanted]
        assert all(len(some) == 1 for some in rows)
        return [min(some) for some in rows]


class Arrivals:
    def __init__(self, indices: Sequence[int], delays: dict[int, float | None]) -> None:
        self._began = trio.current_time()
        self._delays = delays
        self._left = sorted(indices, key=self._delay)

    def _delay(self, index: int) -> float:
        delay = self._delays.get(LAYOUT.place(index)[0])
        return 7.0 if delay is None else delay

    def __aiter__(self) -> "Arrivals":
        return self

    async def __anext__(self) -> list[tuple[Leaf, Block]]:
        if not self._left:
            raise StopAsyncIteration
        index = self._left.pop(0)
        await trio.sleep_until(self._began + self._delay(index))
        if self._delays.get(LAYOUT.place(index)[0]) is None:
            raise NotOnNetwork("nobody has it")
        return [(DATASET.leaf(index), DATASET.blocks[index])]


def check(found: dict[int, Block], wanted: Collection[int]) -> None:
    """Enough was found, and it is right."""
    assert all(block == DATASET.blocks[index] for index, block in found.items())
    for column in {LAYOUT.place(index)[1] for index in wanted}:
        at_hand = [index for index in LAYOUT.column(column) if index in found]
        assert len(at_hand) == 4 or {i for i in wanted if LAYOUT.place(i)[1] == column} <= set(at_hand)


async def test_what_is_here_is_enough(autojump_clock: MockClock) -> None:
    shelf, others = Shelf(DATASET.leaves(0, 1, 3, 4, 5)), Others()
    wanted = DATASET.leaves(2)
    check(await Gatherer(shelf, others, DATASET.manifest).gather(COLUMNS, wanted), wanted)
    assert others.wanted == []
    assert sorted(shelf.read) == sorted(DATASET.leaves(0, 1, 3, 4))


async def test_only_columns_with_something_wanted_are_read(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET.leaves(0, 1, 3, 4, 5))
    wanted = [LAYOUT.index(2, 1), LAYOUT.index(2, 4)]
    found = await Gatherer(shelf, None, DATASET.manifest).gather(COLUMNS, wanted)
    assert {LAYOUT.place(index)[1] for index in found} == {1, 4}
    assert len(shelf.read) == 8


async def test_what_is_damaged_here_is_made_up_for(autojump_clock: MockClock) -> None:
    damaged = [LAYOUT.index(0, 2), LAYOUT.index(1, 2), LAYOUT.index(1, 3)]
    shelf, others = Shelf(DATASET.leaves(0, 1, 3, 4, 5), damaged), Others(row2=1, row0=None, row1=None)
    wanted = DATASET.leaves(2)
    found = await Gatherer(shelf, others, DATASET.manifest).gather(COLUMNS, wanted)
    check(found, wanted)
    assert not set(damaged) & set(found)
    assert others.open == 0


async def test_no_more_is_asked_than_is_needed(autojump_clock: MockClock) -> None:
    shelf, others = Shelf(DATASET.leaves(3, 4)), Others(row0=1, row1=1, row5=1)
    gatherer = Gatherer(shelf, others, DATASET.manifest)
    gatherer.avoid([2])
    check(await gatherer.gather(COLUMNS, DATASET.leaves(2)), DATASET.leaves(2))
    assert sorted(others.rows) == [0, 1]


async def test_who_keeps_the_others_waiting_is_made_up_for(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET.leaves(3))
    others = Others(row0=1, row1=10_000, row2=2, row4=2, row5=9_000)
    gatherer = Gatherer(shelf, others, DATASET.manifest)
    gatherer.avoid([2])
    began = trio.current_time()
    check(await gatherer.gather(COLUMNS, DATASET.leaves(2)), DATASET.leaves(2))
    # Row 1 is given some time, and so is row 5 that is asked instead.
    assert trio.current_time() - began == pytest.approx(STALL + STALL + 2, abs=0.6)
    assert (sorted(others.rows[:3]), others.rows[3:]) == ([0, 1, 4], [5, 2])
    assert others.open == 0
    # It is remembered who kept it waiting.
    others.wanted.clear()
    began = trio.current_time()
    check(await gatherer.gather(COLUMNS, DATASET.leaves(2)), DATASET.leaves(2))
    assert sorted(others.rows) == [0, 2, 4]
    assert trio.current_time() - began == pytest.approx(2)


async def test_who_is_slow_is_asked_last_from_then_on(autojump_clock: MockClock) -> None:
    others = Others(row0=0.1, row1=60, row2=0.1, row3=0.1, row4=0.1, row5=0.2)
    gatherer = Gatherer(Shelf(), others, DATASET.manifest)
    gatherer.avoid([4])
    began = trio.current_time()
    check(await gatherer.gather(COLUMNS, DATASET.leaves(4)), DATASET.leaves(4))
    assert trio.current_time() - began < 2
    assert (sorted(others.rows[:4]), others.rows[4:]) == ([0, 1, 2, 3], [5])
    others.wanted.clear()
    check(await gatherer.gather(COLUMNS, DATASET.leaves(4)), DATASET.leaves(4))
    assert sorted(others.rows) == [0, 2, 3, 5]


async def test_where_all_are_slow_nothing_comes_in_vain_but_once(autojump_clock: MockClock) -> None:
    others = Others(row0=20, row1=21, row2=20, row3=22, row4=20, row5=21)
    gatherer = Gatherer(Shelf(), others, DATASET.manifest)
    gatherer.avoid([4])
    check(await gatherer.gather(COLUMNS, DATASET.leaves(4)), DATASET.leaves(4))
    # While nothing comes from anybody, everybody is asked.
    assert sorted(others.rows) == [0, 1, 2, 3, 4, 5]
    for _ in range(3):
        others.wanted.clear()
        began = trio.current_time()
        check(await gatherer.gather(COLUMNS, DATASET.leaves(4)), DATASET.leaves(4))
        assert len(others.rows) == 4
        assert trio.current_time() - began <= 22


async def test_what_nobody_has_is_made_up_for_by_others(autojump_clock: MockClock) -> None:
    others = Others(row0=None, row1=1, row3=1, row4=1, row5=1)
    gatherer = Gatherer(Shelf(), others, DATASET.manifest)
    gatherer.avoid([2])
    check(await gatherer.gather(COLUMNS, DATASET.leaves(2)), DATASET.leaves(2))
    assert others.open == 0
    others.wanted.clear()
    check(await gatherer.gather(COLUMNS, DATASET.leaves(2)), DATASET.leaves(2))
    assert sorted(others.rows) == [1, 3, 4, 5]


@pytest.mark.parametrize("kind", [QuotaExceeded, DiskFull, DiskFailed, NotADataset])
async def test_what_several_are_refused_at_once_is_raised_once(
    kind: type[CodexError], autojump_clock: MockClock
) -> None:
    at_once = trio.Event()

    class Refused(Arrivals):
        async def __anext__(self) -> list[tuple[Leaf, Block]]:
            await at_once.wait()
            raise kind("refused")

    others = Others()
    others.arrivals = Refused
    gatherer = Gatherer(Shelf(), others, DATASET.manifest)
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            await trio.sleep(1)
            at_once.set()

        nursery.start_soon(refuse)
        with pytest.raises(kind, match="refused") as caught:
            await gatherer.gather(COLUMNS, DATASET.leaves(4))
        assert type(caught.value) is kind


async def test_two_slow_rows_that_owe_the_same_bring_it_from_both_ends(autojump_clock: MockClock) -> None:
    class Dripping(Arrivals):
        async def __anext__(self) -> list[tuple[Leaf, Block]]:
            if not self._left:
                raise StopAsyncIteration
            await trio.sleep(self._delay(self._left[0]))
            return [(DATASET.leaf(index), DATASET.blocks[index]) for index in [self._left.pop(0)]]

    others = Others(row0=4, row1=4, row2=0.01, row3=0.01, row4=0.01, row5=inf)
    others.arrivals = Dripping
    gatherer = Gatherer(Shelf(), others, DATASET.manifest)
    gatherer.avoid([5])
    began = trio.current_time()
    check(await gatherer.gather(COLUMNS, DATASET.leaves(5)), DATASET.leaves(5))
    assert trio.current_time() - began < 15  # each of them by itself takes 20
    assert sorted(others.wanted[-1]) == others.wanted[-1][::-1]
    assert others.open == 0


async def test_what_is_of_no_use_any_more_is_withdrawn_while_others_are_waited_for(
    autojump_clock: MockClock,
) -> None:
    # One block is lacking of each of two columns: of the first it comes late, of the second sooner.
    here = [LAYOUT.index(row, 0) for row in (2, 3, 4)] + [LAYOUT.index(row, 1) for row in (0, 2, 3)]
    others = Others(row0=inf, row1=8, row4=9, row5=9)
    gatherer = Gatherer(Shelf(here), others, DATASET.manifest)
    wanted = [LAYOUT.index(5, 0), LAYOUT.index(5, 1)]
    gatherer.avoid([5])
    began = trio.current_time()
    check(await gatherer.gather(range(2), wanted), wanted)
    assert trio.current_time() - began == pytest.approx(STALL + 8, abs=0.5)
    closed = dict(others.closed)
    assert closed[LAYOUT.index(4, 1)] - began == pytest.approx(8, abs=0.5)
    assert closed[LAYOUT.index(0, 0)] - began == pytest.approx(STALL + 8, abs=0.5)


async def test_what_is_wanted_may_come_itself(autojump_clock: MockClock) -> None:
    others = Others(row2=1)
    gatherer = Gatherer(Shelf(), others, DATASET.manifest)
    found = await gatherer.gather(COLUMNS, DATASET.leaves(2))
    assert set(found) >= DATASET.leaves(2)


@pytest.mark.parametrize("network", [True, False])
async def test_the_verdict_names_the_column_and_what_is_lost(
    network: bool, autojump_clock: MockClock
) -> None:
    shelf = Shelf(DATASET.leaves(0, 1, 5) - {LAYOUT.index(1, 4)})
    gatherer = Gatherer(shelf, Others() if network else None, DATASET.manifest)
    with pytest.raises(BlockNotFound) as caught:
        await gatherer.gather(range(4, 5), [LAYOUT.index(2, 4)])
    assert isinstance(caught.value, NotOnNetwork) == network
    assert (
        "column 4 takes K = 4 of its 6 blocks and has 2, for rows 1, 2, 3, 4 are lost" in caught.value.message
    )
    assert caught.value.message.endswith("nobody has it") == network


async def test_witnesses_come_from_here_or_from_others_soon(autojump_clock: MockClock) -> None:
    shelf, others = Shelf([3, 9], damaged=[9]), Others(row1=1, row2=5_000)
    gatherer = Gatherer(shelf, others, DATASET.manifest)
    began = trio.current_time()
    found = await gatherer.witnesses([3, 7, 9, 12])
    assert found == {
        index: (index, DATASET.blocks[index].cid.digest, DATASET.tree.proof(index)) for index in (3, 7, 9)
    }
    assert trio.current_time() - began == pytest.approx(PATIENCE)
    assert others.open == 0
    assert await Gatherer(Shelf(), Others(), DATASET.manifest).witnesses([3]) == {}


async def test_a_block_of_another_size_is_none() -> None:
    class Odd(Shelf):
        async def find_many(self, addresses: Sequence[BlockAddress]) -> list[Block | None]:
            found = await super().find_many(addresses)
            odd = LAYOUT.row(1)
            return [
                Block.of(bytes(SIZE // 2))
                if isinstance(address, LeafAddress) and address.index in odd
                else block
                for address, block in zip(addresses, found, strict=True)
            ]

    shelf = Odd(DATASET.others(DATASET.leaves(0)))
    found = await Gatherer(shelf, None, DATASET.manifest).gather(COLUMNS, list(LAYOUT.row(0)))
    assert found == {index: DATASET.blocks[index] for row in (2, 3, 4, 5) for index in LAYOUT.row(row)}
    shelf = Odd(DATASET.others(DATASET.leaves(0, 2)))
    with pytest.raises(BlockNotFound, match="has 3, for rows 0, 1, 2 are lost"):
        await Gatherer(shelf, None, DATASET.manifest).gather(COLUMNS, list(LAYOUT.row(0)))
