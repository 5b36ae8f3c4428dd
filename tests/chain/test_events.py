"""Following what contracts tell: nothing is missed and nothing stays that is no longer so, whatever the chain
and the provider do meanwhile.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import Cursor, Follower, Header, Log, Reorganised, Told
from codex.chain.events import NEAR, RANGE, REMEMBERED
from codex.errors import ChainFailed, ChainUnreachable, DecodeError
from codex.market import Address
from codex.testing.chain import ProviderError, SimulatedChain, SimulatedLog

CONTRACT = Address(b"\xc0" * 20)
TOPIC = b"\x77" * 32


def said(number: int) -> SimulatedLog:
    """A log with a number in it."""
    return SimulatedLog(str(CONTRACT), ("0x" + TOPIC.hex(),), f"0x{number:064x}")


def number_in(log: Log) -> int:
    return int.from_bytes(log.data, "big")


class View:
    """A simulated chain as a follower sees it. Before any call something may happen to the chain."""

    def __init__(self, chain: SimulatedChain) -> None:
        self.chain = chain
        self.mishaps: list[Any] = []
        self.scans: list[tuple[int, int]] = []
        self.asked = 0
        self.head: Header | None = None
        """What is told to be the newest block, when it is another than that."""
        self.behind = 0
        """How many of the newest blocks whoever answers does not have, though they were told of."""

    def _happen(self) -> None:
        self.asked += 1
        if self.mishaps:
            mishap = self.mishaps.pop(0)
            if mishap is not None:
                mishap()

    async def header(self, number: int) -> Header | None:
        self._happen()
        await trio.lowlevel.checkpoint()
        if number > self.chain.height - self.behind:
            return None
        found = await self.chain.answer("eth_getBlockByNumber", [hex(number), False])
        return None if found is None else Header.from_json(found)

    async def logs(self, address: Address, first: int, last: int, topics: Sequence[bytes]) -> tuple[Log, ...]:
        self._happen()
        self.scans.append((first, last))
        return await self._found(address, topics, fromBlock=hex(first), toBlock=hex(last))

    async def logs_of(self, address: Address, block: Header, topics: Sequence[bytes]) -> tuple[Log, ...]:
        self._happen()
        self.scans.append((block.number, block.number))
        if block.number > self.chain.height - self.behind:
            raise ChainFailed("unknown block")
        return await self._found(address, topics, blockHash="0x" + block.hash.hex())

    async def _found(self, address: Address, topics: Sequence[bytes], **where: str) -> tuple[Log, ...]:
        wanted = {"address": str(address), "topics": [["0x" + topic.hex() for topic in topics]], **where}
        await trio.lowlevel.checkpoint()
        try:
            found = tuple(map(Log.from_json, await self.chain.answer("eth_getLogs", [wanted])))
        except ProviderError as error:
            raise ChainFailed(error.message) from error
        return tuple([log for log in found if log.block <= self.chain.height - self.behind])

    async def next_head(self, after: Header | None) -> Header:
        while True:
            head = Header.from_json(await self.chain.answer("eth_getBlockByNumber", ["latest", False]))
            if (self.head or head) != after:
                return self.head or head
            await trio.sleep(60)

    def follow(self, cursor: Cursor) -> Follower[int]:
        return Follower(self, CONTRACT, [TOPIC], number_in, cursor)


class Reader:
    """Keeps what it is told with the cursor, as an owner of one does, by block."""

    def __init__(self) -> None:
        self.cursor = Cursor(0)
        self.known: dict[int, list[int]] = defaultdict(list)
        self.forks: list[int] = []

    def take(self, item: Told[int] | Reorganised) -> None:
        if isinstance(item, Reorganised):
            assert item.first <= self.cursor.next
            self.forks.append(item.first)
            self.known = defaultdict(
                list, {block: numbers for block, numbers in self.known.items() if block < item.first}
            )
        else:
            blocks = [log.block for _, log in item.events]
            assert blocks == sorted(blocks)
            assert all(self.cursor.next <= block < item.cursor.next for block in blocks)
            for number, log in item.events:
                self.known[log.block].append(number)
        self.cursor = item.cursor

    @property
    def numbers(self) -> list[int]:
        return [number for block in sorted(self.known) for number in self.known[block]]


def truth(chain: SimulatedChain) -> list[int]:
    return [int(log.data, 16) for block in chain._blocks for log in block.logs]


async def caught_up(view: View, reader: Reader) -> None:
    """Read until there is no more for a long time."""
    follower = view.follow(reader.cursor)
    while True:
        with trio.move_on_after(100) as scope:
            reader.take(await follower.__anext__())
        if scope.cancelled_caught:
            return


async def test_everything_from_the_cursor_on_is_told(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    chain.mine(said(1), said(2))
    chain.mine(count=5)
    chain.mine(said(3))
    reader = Reader()
    await caught_up(View(chain), reader)
    assert reader.numbers == [1, 2, 3]
    assert reader.cursor.next == chain.height + 1
    later = Reader()
    later.cursor = Cursor(3)
    await caught_up(View(chain), later)
    assert later.numbers == [3]


async def test_who_is_up_to_date_waits_for_the_next_block(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view = View(chain)
    follower = view.follow(Cursor(0))
    assert await follower.__anext__() == Told((), follower.cursor)
    items = []

    async def read() -> None:
        items.append(await follower.__anext__())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(1000)
        assert items == []
        assert len(view.scans) == 1
        chain.mine(said(9))
    assert isinstance(items[0], Told)
    assert [number for number, _ in items[0].events] == [9]


async def test_what_a_reorganisation_replaces_is_taken_back_and_told_again(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(6):
        chain.mine(said(number))
        await caught_up(view, reader)
    assert reader.numbers == [0, 1, 2, 3, 4, 5]
    chain.reorganise(3, said(30))
    await caught_up(view, reader)
    assert reader.forks == [4]
    assert reader.numbers == [0, 1, 2, 30]


async def test_a_restart_goes_on_where_the_cursor_was_kept(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(6):
        chain.mine(said(number))
        await caught_up(view, reader)
    reader.cursor = Cursor.from_bytes(reader.cursor.to_bytes())
    view.scans.clear()
    chain.mine(said(6))
    await caught_up(view, reader)
    assert reader.numbers == [0, 1, 2, 3, 4, 5, 6]
    assert view.scans == [(7, 7)]
    # What was reorganised while nobody read is seen all the same.
    reader.cursor = Cursor.from_bytes(reader.cursor.to_bytes())
    chain.reorganise(3, said(70), longer=0)
    await caught_up(view, reader)
    assert reader.forks == [5]
    assert reader.numbers == [0, 1, 2, 3, 70]


async def test_a_reorganisation_deeper_than_is_remembered(
    autojump_clock: MockClock,
) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(REMEMBERED + 20):
        chain.mine(said(number))
        await caught_up(view, reader)
    assert len(reader.cursor.marks) == REMEMBERED
    chain.reorganise(REMEMBERED + 10)
    await caught_up(view, reader)
    assert reader.forks == [chain.height - REMEMBERED]
    assert len(reader.cursor.to_bytes()) < 4000


async def test_a_provider_that_is_behind_takes_nothing_back(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(6):
        chain.mine(said(number))
        await caught_up(view, reader)
    held = chain._blocks[-2:]
    del chain._blocks[-2:]
    await caught_up(view, reader)
    assert reader.forks == []
    chain._blocks += held
    chain.mine(said(6))
    await caught_up(view, reader)
    assert reader.forks == []
    assert reader.numbers == list(range(7))


@pytest.mark.parametrize("new", [1, 2, NEAR + 3])
async def test_what_is_answered_by_who_does_not_have_all_blocks_yet_is_not_missed(
    autojump_clock: MockClock, new: int
) -> None:
    chain = SimulatedChain()
    chain.mine(said(0))
    view, reader = View(chain), Reader()
    await caught_up(view, reader)
    for number in range(1, new + 1):
        chain.mine(said(number))
    view.behind = NEAR + 1
    await caught_up(view, reader)
    assert reader.forks == []
    view.behind = 0
    await caught_up(view, reader)
    assert reader.numbers == truth(chain) == list(range(new + 1))


async def test_a_range_that_another_machine_has_answered_is_scanned_again(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    for number in range(30):
        chain.mine(said(number))
    view, reader = View(chain), Reader()

    def lag() -> None:
        view.behind = 20

    view.mishaps = [None, lag]  # its last block was seen before
    with trio.move_on_after(10):
        reader.take(await view.follow(reader.cursor).__anext__())
    assert reader.numbers == []
    view.behind = 0
    await caught_up(view, reader)
    assert reader.numbers == truth(chain) == list(range(30))


async def test_a_block_that_is_replaced_while_it_is_scanned_is_no_failure(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(3):
        chain.mine(said(number))
        await caught_up(view, reader)
    chain.mine(said(3))
    view.mishaps = [lambda: chain.reorganise(1, said(30), longer=0)]
    await caught_up(view, reader)
    assert reader.numbers == truth(chain) == [0, 1, 2, 30]


async def test_a_newest_block_of_another_chain_than_the_answers_takes_nothing_back(
    autojump_clock: MockClock,
) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(6):
        chain.mine(said(number))
    await caught_up(view, reader)
    view.head = Header(chain.height + 1, b"\x05" * 32, b"\x06" * 32, 1_800_000_000)
    view.asked = 0
    await caught_up(view, reader)
    assert reader.forks == []
    assert view.asked < 200
    view.head = None
    chain.mine(said(6))
    await caught_up(view, reader)
    assert reader.forks == []
    assert reader.numbers == truth(chain) == list(range(7))


async def test_a_chain_that_has_become_shorter(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view, reader = View(chain), Reader()
    for number in range(6):
        chain.mine(said(number))
        await caught_up(view, reader)
    chain.reorganise(4, said(40), longer=-2)
    await caught_up(view, reader)
    assert reader.forks == [3]
    assert reader.numbers == truth(chain) == [0, 1, 40]


@pytest.mark.parametrize("behind", [0, 2])
async def test_each_question_may_be_answered_by_another_machine(
    autojump_clock: MockClock, behind: int
) -> None:
    chain = SimulatedChain()
    chain.mine(said(0))
    view, reader = View(chain), Reader()
    await caught_up(view, reader)
    for number in range(1, 4):
        chain.mine(said(number))

    view.behind = behind

    def other() -> None:
        view.behind = 2 - view.behind

    view.mishaps = [other] * (24 + behind // 2)  # every other one lacks two blocks
    follower = view.follow(reader.cursor)
    while reader.cursor.next <= chain.height:
        with suppress(ChainFailed):
            reader.take(await follower.__anext__())
    assert reader.forks == []
    assert reader.numbers == truth(chain) == [0, 1, 2, 3]


@pytest.mark.parametrize("has", [1, 1000])
async def test_who_does_not_have_a_block_is_asked_again_after_a_pause(
    autojump_clock: MockClock, has: int
) -> None:
    chain = SimulatedChain()
    chain.mine(said(1), count=5000)
    view, reader = View(chain), Reader()
    view.behind = chain.height - has
    with trio.move_on_after(100):
        await view.follow(reader.cursor).__anext__()
    assert view.asked < 200
    view.behind = 0
    await caught_up(view, reader)
    assert reader.numbers == [1]
    assert reader.cursor.next == chain.height + 1


async def test_scans_are_made_smaller_until_they_are_allowed(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    for number in range(300):
        chain.mine(said(number))
    chain.logs_limit = 100
    view, reader = View(chain), Reader()
    await caught_up(view, reader)
    assert reader.numbers == list(range(300))
    assert max(last - first for first, last in view.scans[1:]) <= 300
    assert len(view.scans) < 12 + NEAR


async def test_a_long_chain_is_scanned_in_large_steps(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    chain.mine(count=3 * RANGE)
    chain.mine(said(5))
    view, reader = View(chain), Reader()
    await caught_up(view, reader)
    assert reader.numbers == [5]
    assert len(view.scans) == 3 + NEAR


async def test_a_single_block_that_cannot_be_scanned_is_the_providers_failure(
    autojump_clock: MockClock,
) -> None:
    chain = SimulatedChain()
    chain.mine(said(1))
    chain.logs_limit = 0
    follower = View(chain).follow(Cursor(0))
    with pytest.raises(ChainFailed):
        await follower.__anext__()
    chain.logs_limit = 10
    reader = Reader()
    while reader.cursor.next <= chain.height:
        reader.take(await follower.__anext__())
    assert reader.numbers == [1]


async def test_an_outage_in_between_loses_nothing(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    view = View(chain)
    for number in range(4):
        chain.mine(said(number))

    def gone() -> None:
        raise ChainUnreachable("gone")

    follower, reader = view.follow(Cursor(0)), Reader()
    for calls_before in range(4):
        view.mishaps = [None] * calls_before + [gone]
        try:
            reader.take(await follower.__anext__())
        except ChainUnreachable:
            continue
        chain.mine(said(10 + calls_before))
    view.mishaps = []
    while reader.cursor.next <= chain.height:
        reader.take(await follower.__anext__())
    assert reader.numbers == truth(chain)


async def test_an_event_that_cannot_be_read_stops_nothing(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    chain.mine(said(1), said(13), said(2), said(99))

    def read(log: Log) -> int | None:
        number = number_in(log)
        if number == 13:
            raise DecodeError("unlucky")
        return None if number == 99 else number

    follower = Follower(View(chain), CONTRACT, [TOPIC], read, Cursor(1))
    item = await follower.__anext__()
    assert isinstance(item, Told)
    assert [number for number, _ in item.events] == [1, 2]


_mine = st.integers(0, 3).map(lambda count: ("mine", count))
_fork = st.tuples(st.integers(1, 4), st.integers(0, 2)).map(lambda pair: ("fork", *pair))
_steps = st.lists(_mine | _fork | st.just(("read", 1)) | st.just(("restart",)), max_size=25)


@settings(max_examples=60, deadline=None)
@given(st.data(), _steps)
def test_whatever_happens_to_the_chain(data: st.DataObject, steps: list[tuple[Any, ...]]) -> None:
    """What a reader has in the end is what the chain has, even when blocks change between any two calls."""

    async def run() -> None:
        chain = SimulatedChain()
        chain.mine(count=5)
        view, reader = View(chain), Reader()
        serial = iter(range(10**6))
        follower = view.follow(reader.cursor)

        def do(step: tuple[Any, ...]) -> None:
            logs = [said(next(serial)) for _ in range(step[-1])]
            if step[0] == "mine":
                chain.mine(*logs)
            elif step[0] == "fork":
                chain.reorganise(min(step[1], chain.height), *logs)

        for step in steps:
            if step[0] == "read":
                # Something happens to the chain in the middle of what this read asks it.
                middle = data.draw(st.lists(st.none() | _mine | _fork, max_size=4))
                view.mishaps = [None if one is None else lambda one=one: do(one) for one in middle]
                with trio.move_on_after(100):
                    reader.take(await follower.__anext__())
            elif step[0] == "restart":
                follower = view.follow(Cursor.from_bytes(reader.cursor.to_bytes()))
            else:
                do(step)
        view.mishaps = []
        await caught_up(view, reader)
        assert reader.numbers == truth(chain)
        assert reader.cursor.next == chain.height + 1

    trio.run(run, clock=MockClock(autojump_threshold=0))


@given(st.integers(0, 2**63), st.lists(st.tuples(st.integers(0, 2**63), st.binary(min_size=32, max_size=32))))
def test_a_cursor_comes_back(next: int, marks: list[tuple[int, bytes]]) -> None:
    cursor = Cursor(next, tuple(marks))
    assert Cursor.from_bytes(cursor.to_bytes()) == cursor


@given(st.binary(max_size=60))
def test_what_is_no_cursor_is_refused(raw: bytes) -> None:
    try:
        cursor = Cursor.from_bytes(raw)
    except DecodeError:
        return
    assert isinstance(cursor.next, int)


async def test_it_can_be_cancelled_anywhere(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    for number in range(4):
        chain.mine(said(number))
    follower, reader = View(chain).follow(Cursor(0)), Reader()
    for steps in range(12):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel(steps: int = steps, scope: trio.CancelScope = scope) -> None:
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(cancel)
                reader.take(await follower.__anext__())
        chain.mine(said(100 + steps))
        await wait_all_tasks_blocked()
    while reader.cursor.next <= chain.height:
        reader.take(await follower.__anext__())
    assert reader.numbers == truth(chain)
