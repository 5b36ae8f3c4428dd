"""What the demo shows of a request: slots as the chain tells them, what came before, and what must not be."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from codex.devnet.demo_ledger import DemoFailed, Fill
from codex.devnet.demo_watch import LOOK, SlotRow, Watch, decided
from codex.devnet.town import open_town
from codex.market import Address, SlotState
from codex.testing.contracts import CONTENT, SLOT, buy, until
from codex.testing.hosts import a_request, account
from codex.testing.market import EPOCH, SimulatedChain, SimulatedMarket, proof_for
from codex.testing.market_door import MarketDoor

REQUEST = a_request(slots=2, loss=1)
BOB, CAROL = account("bob"), account("carol")
NAMES = {BOB: "bob"}
FULL = REQUEST.ask.collateral_per_slot


class Marketplace(MarketDoor):
    """The simulated marketplace with its chain, as the real one has it."""

    def __init__(self, market: SimulatedMarket, account: Address) -> None:
        super().__init__(market, account)
        self.chain = SimulatedChain(market)


@define
class Seen:
    """What was shown, and the watch that shows it."""

    watch: Watch
    shown: list[tuple[SlotRow, ...]] = field(factory=list)


@pytest.fixture
def market() -> SimulatedMarket:
    market = SimulatedMarket()
    for host in (BOB, CAROL):
        market.fund(host, 10**6)
    return market


@pytest.fixture
async def seen(market: SimulatedMarket, autojump_clock: MockClock) -> AsyncIterator[Seen]:
    """A request that was made, and is watched."""
    market.fund(REQUEST.client, REQUEST.ask.price)
    await MarketDoor(market, REQUEST.client).request_storage(REQUEST)
    shown: list[tuple[SlotRow, ...]] = []
    watch = watch_of(market, shown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run, market.block)
        yield Seen(watch, shown)
        nursery.cancel_scope.cancel()


def watch_of(market: SimulatedMarket, shown: list[tuple[SlotRow, ...]]) -> Watch:
    door: Any = Marketplace(market, REQUEST.client)
    return Watch(door, REQUEST, NAMES, shown.append)


async def fill(market: SimulatedMarket, host: Address, index: int) -> None:
    door, slot = MarketDoor(market, host), REQUEST.slot(index)
    await door.reserve_slot(REQUEST.id, index)
    await door.fill_slot(slot, proof_for(await door.get_challenge(slot.id)))


def leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    """The exceptions in a group, and in groups in it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def states(rows: tuple[SlotRow, ...]) -> list[tuple[SlotState, str]]:
    return [(row.state, row.host) for row in rows]


async def test_slots_are_shown_as_they_are_filled_proved_lost_and_repaired(
    market: SimulatedMarket, seen: Seen, autojump_clock: MockClock
) -> None:
    watch = seen.watch
    await trio.sleep(1)
    free = (SlotState.FREE, "")
    assert [states(rows) for rows in seen.shown] == [[free, free]]
    await fill(market, BOB, 0)
    filled = market.time
    await watch.until("the first slot filled", lambda: 0 in watch.held, 10)
    # Who has no name is shown by the address.
    await fill(market, CAROL, 1)
    await watch.until("both filled", lambda: len(watch.held) == 2, 10)
    assert watch.held[0] == Fill(0, BOB, filled, repair=False)
    assert states(watch.rows) == [(SlotState.FILLED, "bob"), (SlotState.FILLED, str(CAROL))]
    assert [row.collateral for row in watch.rows] == [FULL] * 2
    assert [watch.proofs(index) for index in (0, 1)] == [1, 1], "those of the filling"
    market.slot(REQUEST.slot(0).id).missed = 1
    market.slot(REQUEST.slot(0).id).collateral -= FULL // 5
    await trio.sleep(2 * LOOK)
    assert (watch.rows[0].missed, watch.rows[0].collateral) == (1, FULL - FULL // 5)
    await market.next_block()
    market.free(REQUEST.slot(0).id)
    await watch.until("the slot lost", lambda: len(watch.lost) == 1, 10)
    assert watch.rows[0] == SlotRow(0, SlotState.REPAIR, "", 1, 0, 0)
    assert watch.lost == [Fill(0, BOB, filled, repair=False)]
    await trio.sleep(market.config.proofs.period)  # one proof of a slot in a period
    await fill(market, CAROL, 0)
    await watch.until("the slot repaired", lambda: len(watch.held) == 2, 10)
    assert watch.held[0] == Fill(0, CAROL, market.time, repair=True)
    assert all(one != other for one, other in zip(seen.shown, seen.shown[1:], strict=False)), "news only"
    await trio.sleep(market.request(REQUEST.id).ends - EPOCH - trio.current_time() + 5)
    course = await watch.course()
    assert course.held == watch.held
    assert course.lost == tuple(watch.lost)
    assert course.missed == {0: 0, 1: 0}
    assert course.end == market.request(REQUEST.id).ends


async def test_what_does_not_come_about_is_told_with_how_it_stands(
    market: SimulatedMarket, seen: Seen, autojump_clock: MockClock
) -> None:
    await fill(market, BOB, 0)
    with pytest.raises(DemoFailed, match="after 5 seconds not all filled; slots: 0 filled bob, 1 free"):
        await seen.watch.until("all filled", lambda: len(seen.watch.held) == 2, 5)
    fresh = watch_of(market, [])
    with pytest.raises(DemoFailed, match=r"slots: none seen$"):
        await fresh.until("anything", lambda: False, 1)

    async def why() -> str:
        await trio.lowlevel.checkpoint()
        return "bob: asleep"

    with pytest.raises(DemoFailed, match=r"slots: none seen; bob: asleep$"):
        await fresh.until("anything", lambda: False, 1, why)


async def test_other_requests_are_not_shown(
    market: SimulatedMarket, seen: Seen, autojump_clock: MockClock
) -> None:
    other = a_request("carol", nonce=9)
    market.fund(other.client, other.ask.price)
    await MarketDoor(market, other.client).request_storage(other)
    door, slot = MarketDoor(market, BOB), other.slot(0)
    await door.reserve_slot(other.id, 0)
    await door.fill_slot(slot, proof_for(await door.get_challenge(slot.id)))
    await market.next_block()
    market.free(slot.id)
    await trio.sleep(10)
    assert not seen.watch.held
    assert not seen.watch.lost
    assert len(seen.shown) == 1


async def test_a_chain_that_takes_back_what_it_told_is_not_to_be(
    market: SimulatedMarket, autojump_clock: MockClock
) -> None:
    market.remembers = True
    market.fund(REQUEST.client, REQUEST.ask.price)
    await MarketDoor(market, REQUEST.client).request_storage(REQUEST)
    watch = watch_of(market, [])

    async def reorganise() -> None:
        await trio.sleep(3)
        market.reorganise(1)

    with pytest.RaisesGroup(DemoFailed, flatten_subgroups=True) as caught:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.run, market.block)
            nursery.start_soon(reorganise)
    [error] = leaves(caught.value)
    assert "has taken back its blocks" in str(error)


async def test_a_slot_that_nobody_holds_any_more_when_it_is_heard_of_is_not_to_be(
    market: SimulatedMarket, autojump_clock: MockClock
) -> None:
    market.fund(REQUEST.client, REQUEST.ask.price)
    await MarketDoor(market, REQUEST.client).request_storage(REQUEST)
    since = market.block
    await fill(market, BOB, 0)
    market.free(REQUEST.slot(0).id)
    with pytest.RaisesGroup(DemoFailed, flatten_subgroups=True) as caught:
        await watch_of(market, []).run(since)
    [error] = leaves(caught.value)
    assert "the chain knows no host" in str(error)


async def test_it_is_told_why_nobody_has_filled_a_slot(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice", "bob", "carol") as town:
        alice, bob, carol = town["alice"], town["bob"], town["carol"]
        id = await buy(alice, await alice.store(CONTENT))
        await carol.market.add_availability(total=SLOT, duration=10**8, price=1, collateral=1)
        purchase = await alice.market.purchase(id)
        assert purchase is not None
        request = purchase.request
        assert request is not None

        async def seen() -> bool:
            return bool(await carol.market.decisions(request.slot(0).id))

        await until(seen)
        told = (await decided({"bob": bob, "carol": carol}, request, (0, 1))).split("; ")
        assert told[0].endswith("unwanted, nothing is offered: there is no availability")
        assert told[1].startswith("carol about slot ")
        assert "unwanted, collateral" in told[1]
        assert await decided({"bob": bob}, request, ()) == "bob has seen none of them"
