"""One agent, cut or interrupted at every point: no bytes, collateral or reservation is left behind."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio.testing import MockClock

from codex.market import RequestId, RequestState, Slot, StorageRequest
from codex.runtime import Broadcast, Mailbox, SeededEntropy, VirtualClock
from codex.sales.agent import Agent
from codex.sales.bench import Bench
from codex.sales.deciding import Verdict
from codex.sales.duties import Duties
from codex.sales.history import History
from codex.sales.journal import Journal
from codex.sales.queue import Item
from codex.sales.states import Event, State
from codex.store import Availability, MarketBook
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.disks import FaultyDisk
from codex.testing.hosts import SimulatedDuties, a_request, account, post
from codex.testing.market import CONFIG, EPOCH, SimulatedChain, SimulatedMarket
from codex.testing.market_door import MarketDoor
from codex.testing.stores import book_of, open_test_store

RICH = 10**9
TOTAL = 1 << 18


@asynccontextmanager
async def a_bench(path: Path) -> AsyncIterator[tuple[SimulatedMarket, Bench, SimulatedDuties]]:
    """What an agent needs, with room for many slots."""
    market = SimulatedMarket()
    market.fund(account("bob"), RICH)
    async with open_test_store(path, disk=FaultyDisk()) as store, trio.open_nursery() as nursery:
        duties, mailbox, book = SimulatedDuties(store), Mailbox("duties"), book_of(store)
        nursery.start_soon(duties.run, mailbox.inbox)
        await book.put(
            Availability(
                id=bytes(32),
                total=TOTAL,
                free=TOTAL,
                duration=10**6,
                price=1,
                collateral=RICH,
                remaining=RICH,
            )
        )
        yield (
            market,
            Bench(
                market=MarketDoor(market, account("bob")),
                chain=SimulatedChain(market),
                config=CONFIG,
                book=book,
                duties=Duties(mailbox),
                journal=Journal(book),
                history=History(book),
                clock=VirtualClock(EPOCH),
                entropy=SeededEntropy("agents"),
                events=Broadcast(),
            ),
            duties,
        )
        nursery.cancel_scope.cancel()


def item_of(market: SimulatedMarket, request: StorageRequest) -> Item:
    ask = request.ask
    return Item(request.id, 0, ask, market.request(request.id).expires, ask.collateral_per_slot)


def end(market: SimulatedMarket, slot: Slot) -> None:
    """Let the request be over in a moment."""
    there = market.request(slot.request.id)
    filled = market.books.slots.get(slot.id)
    soon = max(market.time, filled.filled_at if filled is not None else 0) + 1
    there.expires, there.ends = min(there.expires, soon), min(there.ends, soon)


async def finish(bench: Bench) -> None:
    """Take up what was left, as a start does."""
    for reservation in await bench.book.slots():
        request = await bench.market.get_request(_request_id(reservation.request))
        assert request is not None
        await Agent(bench, request.slot(0).id, None, reservation).run()


def _request_id(raw: bytes) -> RequestId:
    return RequestId(raw)


async def everything_is_back(book: MarketBook, duties: SimulatedDuties) -> None:
    (there,) = await book.availabilities()
    assert (there.free, there.remaining, there.lost) == (TOTAL, RICH, 0)
    space = await duties.store.space()
    assert (space.quota_used, space.quota_reserved) == (0, TOTAL)
    assert await book.slots() == []


async def test_a_sale_may_be_stopped_anywhere(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_bench(tmp_path) as (market, bench, duties):
        begun: list[Slot] = []

        async def operation() -> None:
            await Agent(bench, begun[-1].id, item_of(market, begun[-1].request), None).run()

        async def next_request() -> None:
            begun.append(a_request(nonce=len(begun), duration=90, expiry=60).slot(0))
            await post(market, begun[-1].request)

        async def check() -> None:
            end(market, begun[-1])
            await market.next_block()
            await market.next_block()
            await finish(bench)
            await everything_is_back(bench.book, duties)
            await next_request()

        await next_request()
        assert await cancel_at_every_checkpoint(operation, check, own_only=True) > 60
        # All that was staked has come back, with what was earned.
        assert market.books.balances[account("bob")] >= RICH


async def test_the_last_moment_for_filling_is_too_late(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The newest block is of that moment, and the one that a filling comes in is later."""
    async with a_bench(tmp_path) as (market, bench, duties):
        slot = a_request(duration=90, expiry=60).slot(0)
        await post(market, slot.request)
        item = item_of(market, slot.request)
        await bench.time.until(item.deadline)
        assert market.request_state(slot.request.id) is RequestState.NEW
        await Agent(bench, slot.id, item, None).run()
        [closed] = await bench.journal.decisions()
        assert closed.verdict is Verdict.CLOSED
        assert closed.reason == f"it could be filled until {item.deadline}"
        assert slot.id not in market.books.slots
        await everything_is_back(bench.book, duties)


class _At(trio.abc.Instrument):
    """Does something when a task has ended so many steps."""

    def __init__(self, steps: int, task: trio.lowlevel.Task, act: Callable[[], None]) -> None:
        self.done = False
        self._left, self._task, self._act = steps, task, act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self.done = True
                self._act()


async def test_a_request_may_end_at_any_moment_of_a_sale(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_bench(tmp_path) as (market, bench, duties):
        met: set[State] = set()
        done, step = True, 0
        while done:
            step += 1
            slot = a_request(nonce=step, duration=100, expiry=60).slot(0)
            await post(market, slot.request)
            agent = Agent(bench, slot.id, item_of(market, slot.request), None)

            def over(agent: Agent = agent, slot: Slot = slot) -> None:
                met.add(agent.state)
                end(market, slot)
                agent.interrupt(Event.REQUEST_CANCELLED)

            at = _At(step, trio.lowlevel.current_task(), over)
            trio.lowlevel.add_instrument(at)
            await agent.run()
            trio.lowlevel.remove_instrument(at)
            await everything_is_back(bench.book, duties)
            done = at.done
        assert step > 60
        assert met >= {State.PREPARING, State.SLOT_RESERVING, State.DOWNLOADING, State.FILLING, State.PROVING}
