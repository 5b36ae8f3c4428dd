"""Slots traded on a simulated marketplace: from the request to the payment, and whatever goes wrong."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.chain import Cursor, Reorganised
from codex.config import StoreConfig
from codex.errors import BlockNotFound, ChainRefused, CorruptData, NotOnNetwork, SlotReservationNotAllowed
from codex.market import (
    RequestFailed,
    RequestId,
    RequestState,
    Slot,
    SlotId,
    SlotState,
    StorageRequested,
    repair_collateral,
)
from codex.runtime import Lagged
from codex.sales import ProofMissed, ProofSent, SaleMoved, SlotLost, SlotPaid, SlotSlashed, State, Verdict
from codex.sales.queue import Item, SlotQueue
from codex.sales.standing import DEPTH
from codex.sales.states import SETTLED
from codex.sales.trade import QUEUE, WORKERS
from codex.store import NEVER
from codex.testing.hosts import BLOCK, Host, a_request, account, open_host, post
from codex.testing.market import CONFIG, EPOCH, SimulatedMarket, _Slot, proof_for
from codex.testing.market_door import MarketDoor

RICH = 10**6
SIZE = 4 * BLOCK


@pytest.fixture
def market() -> SimulatedMarket:
    market = SimulatedMarket()
    for name in ("bob", "carol", "alice"):
        market.fund(account(name), RICH)
    return market


@asynccontextmanager
async def watching(market: SimulatedMarket) -> AsyncIterator[None]:
    """A validator that misses nothing, for the length of the block."""
    door = MarketDoor(market, account("victor"))

    async def watch() -> None:
        while True:
            period = market.period.previous
            for id in list(market.books.slots):
                if not market.not_markable(id, period):
                    await door.mark_proof_as_missing(id, period)
            await market.next_block()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()


async def until(reached: Callable[[], bool]) -> None:
    """Wait until something is so, looking once a second."""
    with trio.fail_after(5000):
        while not reached():  # noqa: ASYNC110 - of the simulated contract, which tells nobody
            await trio.sleep(1)


async def moved_to(host: Host, state: State) -> None:
    """Wait until a sale of the host comes to a state."""
    with trio.fail_after(5000):
        async with host.sales.events(100) as events:
            async for event in events:
                if isinstance(event, SaleMoved) and event.state is state:
                    return


async def verdicts(host: Host, slot: SlotId) -> list[str]:
    return [decision.verdict.value for decision in await host.sales.decisions(slot)]


# -- as it should be


async def test_a_slot_is_filled_proved_and_paid(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request()
        id = await post(market, request)
        await trio.sleep(120)
        slot = request.slot(0)
        view = await bob.sales.sale(slot.id)
        assert view is not None
        assert view.state is State.PROVING
        assert view.reservation is not None
        assert [there.reservation for there in await bob.sales.sales()] == [view.reservation]
        assert await bob.sales.reservations(view.reservation.availability) == [view.reservation]
        assert market.request_state(id) is RequestState.STARTED
        assert [there.id for there in await bob.sales.slots()] == [slot.id]
        space = await bob.store.space()
        assert (space.quota_used, space.quota_reserved) == (SIZE, SIZE)
        filled_at, ends = market.slot(slot.id).filled_at, market.request(id).ends
        assert bob.duties.until[slot.id] == NEVER  # no clock ends what the sale holds
        await trio.sleep(620)
        assert market.slot_state(slot.id) is SlotState.PAID
        assert await bob.sales.sale(slot.id) is None
        assert market.books.balances[account("bob")] == RICH + (ends - filled_at) * SIZE
        assert await bob.untouched()
        assert market.slot(slot.id).missed == 0
        assert await verdicts(bob, slot.id) == ["finished", "filled", "taken"]


async def test_every_period_that_asks_for_a_proof_gets_one(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with watching(market), open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request(duration=6000)
        await post(market, request)
        async with bob.sales.events(1000) as events:
            await trio.sleep(6100)
            sent = 0
            async for event in events:
                assert not isinstance(event, ProofMissed | Lagged)
                sent += isinstance(event, ProofSent)
                if isinstance(event, SlotPaid):
                    assert event.collateral == SIZE
                    break
        assert 60 < sent <= 100
        assert await bob.untouched()


async def test_of_two_hosts_one_has_the_slot_and_the_other_everything_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path / "b") as bob, open_host(market, tmp_path / "c", "carol") as carol:
        await bob.offer()
        await carol.offer()
        carol.duties.store_seconds = 5
        request = a_request(duration=300)
        await post(market, request)
        await trio.sleep(100)
        assert market.slot(request.slot(0).id).host == account("bob")
        assert await carol.untouched()
        assert not carol.duties.stored
        assert (await verdicts(carol, request.slot(0).id))[0] == "outdone"
        await trio.sleep(300)
        assert await bob.untouched()


async def test_several_slots_at_a_time_but_no_more_than_there_is_room(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=5 * SIZE)
        request = a_request(slots=7, duration=400, expiry=60)
        id = await post(market, request)
        await trio.sleep(40)
        assert market.request(id).filled == 5
        assert (await bob.store.space()).quota_used == 5 * SIZE
        seen = [(await verdicts(bob, request.slot(n).id))[0] for n in range(7)]
        assert sorted(seen) == ["filled"] * 5 + ["unwanted"] * 2
        # Two are missing: at the expiry it is cancelled, and each is paid until then.
        filled = [market.slot(slot).filled_at for slot in market.books.hosted[account("bob")]]
        await trio.sleep(60)
        earned = sum(market.request(id).expires - moment for moment in filled) * SIZE
        assert market.books.balances[account("bob")] == RICH + earned
        assert await bob.untouched()
        assert [(await verdicts(bob, slot))[0] for slot in market.books.slots] == ["cancelled"] * 5


# -- what was there before, and what comes later


async def test_a_request_made_while_the_host_was_away_is_filled(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
    over, taken = a_request(nonce=1, duration=100, expiry=10), a_request(nonce=2)
    await post(market, over)
    await post(market, taken)
    await trio.sleep(30)
    async with open_host(market, tmp_path) as bob:
        await trio.sleep(10)
        assert market.request_state(taken.id) is RequestState.STARTED
        assert await verdicts(bob, over.slot(0).id) == []


async def test_what_was_not_wanted_is_wanted_when_more_is_offered(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        request = a_request(price=3, expiry=500, duration=900)
        id = await post(market, request)
        await trio.sleep(10)
        (decision,) = await bob.sales.decisions(request.slot(0).id)
        assert (decision.verdict, decision.reason) == (
            "unwanted",
            "nothing is offered: there is no availability",
        )
        offer = await bob.offer(price=5)
        await trio.sleep(10)
        assert market.request(id).filled == 0
        # Lowering the price is offering more, too.
        await bob.sales.change(offer.id, price=3)
        await trio.sleep(20)
        assert market.request_state(id) is RequestState.STARTED


async def test_a_slot_that_found_no_room_is_filled_when_another_ends(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        first, second = (
            a_request(nonce=1, duration=200, expiry=50),
            a_request(nonce=2, duration=900, expiry=800),
        )
        await post(market, first)
        await trio.sleep(10)
        await post(market, second)
        await trio.sleep(100)
        assert market.request(second.id).filled == 0
        await trio.sleep(150)
        assert market.request(second.id).filled == 1


async def test_no_tokens_no_slot(market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock) -> None:
    market.books.balances[account("bob")] = SIZE - 1
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request(expiry=1500, duration=2000)
        await post(market, request)
        await trio.sleep(20)
        (decision, *_) = await bob.sales.decisions(request.slot(0).id)
        assert "4095 tokens" in decision.reason
        assert bob.door.sent == []
        assert await bob.untouched()
        market.fund(account("bob"), 1)
        await trio.sleep(700)
        assert market.request(request.id).filled == 1


# -- what hosts lose


async def test_who_cannot_prove_loses_the_slot_and_another_repairs_it(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request(slots=1, duration=3000, loss=1)
    slot = request.slot(0).id
    async with watching(market), open_host(market, tmp_path / "b") as bob:
        offer = await bob.offer()
        await post(market, request)
        await trio.sleep(30)
        assert market.slot(slot).host == account("bob")
        async with open_host(market, tmp_path / "c", "carol") as carol:
            await carol.offer()
            bob.duties.prove_seconds = 100  # longer than a period
            async with bob.sales.events(1000) as events:
                await until(lambda: market.slot(slot).host == account("carol"))
                kinds = set()
                async for event in events:
                    kinds.add(type(event))
                    if isinstance(event, SlotLost):
                        break
            assert ProofMissed in kinds
            assert carol.duties.repaired == [slot]
            # A tenth less than the collateral was paid in, and the whole is at stake.
            assert market.books.balances[account("carol")] == RICH - SIZE + SIZE // 10
            await trio.sleep(5)
            (there,) = await bob.sales.availabilities()
            assert (there.free, there.remaining, there.lost) == (offer.total, RICH - SIZE, SIZE)
            assert await bob.untouched()
            assert not bob.duties.stored
            assert (await verdicts(bob, slot))[0] == "lost"
            await until(lambda: market.slot_state(slot) is SlotState.PAID)
            await trio.sleep(5)
            assert await carol.untouched()
            assert (await carol.sales.availabilities())[0].lost == 0


async def test_what_one_missed_proof_costs_is_told_once(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request(slots=1, duration=1500, loss=1)
    slot = request.slot(0).id
    slashed: list[SlotSlashed] = []
    async with watching(market):
        async with open_host(market, tmp_path) as bob, bob.sales.events(1000) as events:
            await bob.offer()
            await post(market, request)
            await until(lambda: market.slot_state(slot) is SlotState.FILLED)
            bob.duties.prove_seconds = 100  # longer than a period
            while not isinstance(await anext(events), ProofMissed):
                pass
            bob.duties.prove_seconds = 0
            while not slashed:
                event = await anext(events)
                slashed += [event] if isinstance(event, SlotSlashed) else []
        # Nor again in another life.
        async with open_host(market, tmp_path) as bob, bob.sales.events(1000) as events:
            while not isinstance(event, SlotPaid):
                event = await anext(events)
                slashed += [event] if isinstance(event, SlotSlashed) else []
    assert slashed == [SlotSlashed(slot, SIZE // 5, SIZE - SIZE // 5)]
    earned = (market.request(request.id).ends - market.slot(slot).filled_at) * SIZE
    assert event == SlotPaid(slot, earned, SIZE - SIZE // 5)


async def test_an_honest_host_of_a_failed_request_gets_its_bytes_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request(slots=2, duration=3000, loss=0)
    async with watching(market), open_host(market, tmp_path / "b") as bob:
        await bob.offer(total=SIZE)
        async with open_host(market, tmp_path / "c", "carol") as carol:
            await carol.offer(total=SIZE)
            await post(market, request)
            await until(lambda: market.request_state(request.id) is RequestState.STARTED)
        await until(lambda: market.request_state(request.id) is RequestState.FAILED)
        await trio.sleep(10)
        (there,) = await bob.sales.availabilities()
        assert (there.remaining, there.lost) == (RICH - SIZE, SIZE)
        assert await bob.untouched()
        assert await bob.door.my_slots() == ()
        told = [await bob.sales.decisions(slot) for slot in market.books.slots]
        (mine,) = [decisions for decisions in told if Verdict.FILLED in [d.verdict for d in decisions]]
        assert mine[0].verdict == "lost", mine
        assert "too many of its slots" in mine[0].reason
        # What is left is still for sale.
        again = a_request(nonce=9)
        await post(market, again)
        await trio.sleep(20)
        assert market.request(again.id).filled == 1


async def test_a_request_that_fails_before_its_slot_is_filled_costs_nothing(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 50
        request = a_request()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, market, request)
            await moved_to(bob, State.DOWNLOADING)
        market.request(request.id).state = RequestState.FAILED
        market.tell(RequestFailed(request.id))
        await trio.sleep(10)
        assert await bob.untouched()
        assert (await bob.sales.availabilities())[0].lost == 0
        assert (await verdicts(bob, request.slot(0).id))[0] == "closed"


async def test_proofs_are_left_out_on_purpose(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path, leave_out=2) as bob:
        await bob.offer()
        await post(market, a_request(duration=900))
        async with bob.sales.events(1000) as events:
            await trio.sleep(950)
            said = []
            async for event in events:
                if isinstance(event, SlotPaid):
                    break
                said += [type(event)] if isinstance(event, ProofSent | ProofMissed) else []
        assert said[:4] == [ProofSent, ProofMissed] * 2


# -- the order


async def test_a_lost_slot_costs_less_collateral_and_goes_first(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex.sales.trade.WORKERS", 1)
    lost, new = a_request(nonce=1, loss=1), a_request(nonce=2, slots=5, expiry=500)
    await post(market, lost)
    rival = MarketDoor(market, account("carol"))
    await rival.reserve_slot(lost.id, 0)
    await rival.fill_slot(lost.slot(0), proof_for(await rival.get_challenge(lost.slot(0).id)))
    await trio.sleep(300)
    market.free(lost.slot(0).id)
    await post(market, new)
    await trio.sleep(5)
    # They bring the same, and the new ones can be filled for longer.
    assert market.request(new.id).expires > market.request(lost.id).ends
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        await trio.sleep(30)
        assert market.slot(lost.slot(0).id).host == account("bob")
        assert market.request(new.id).filled == 0
        cost = repair_collateral(lost.ask, CONFIG.collateral)
        assert RICH - market.books.balances[account("bob")] == cost < SIZE


async def test_no_more_slots_are_worked_at_than_may_be(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=10 * SIZE)
        bob.duties.store_seconds = 20
        request = a_request(slots=10)
        await post(market, request)
        most = 0
        with trio.fail_after(200):
            while market.request(request.id).filled < 10:
                states = [sale.state for sale in await bob.sales.sales()]
                most = max(most, sum(state not in SETTLED for state in states))
                await trio.sleep(0.25)
        assert most == WORKERS


async def test_what_found_no_place_in_the_queue_is_found_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex.sales.trade.QUEUE", 4)
    dear = [a_request(nonce=nonce, price=9, slots=4, slot_size=64 * SIZE) for nonce in (1, 2)]
    request = a_request(nonce=3, slots=2, expiry=900, duration=1200)
    async with open_host(market, tmp_path) as bob:
        for each in (*dear, request):
            await post(market, each)
        await trio.sleep(30)
        assert (await verdicts(bob, request.slot(0).id))[0] == "dropped"
        # What was worth more is over, and there is a place.
        await trio.sleep(300)
        await bob.offer()
        await trio.sleep(30)
        assert market.request_state(request.id) is RequestState.STARTED


# -- restarts


@pytest.mark.parametrize(
    "state", [state for state in State if state not in (State.UNKNOWN, State.CLEANED_UP)]
)
async def test_a_host_that_restarts_in_any_state_goes_on(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, state: State
) -> None:
    request = a_request(duration=400, expiry=200, slots=2 if state is State.CANCELLED else 1)
    ends_badly = state in (State.IGNORED, State.ERRORED, State.FAILED)
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        if state is State.ERRORED:
            bob.duties.fail["OnStore"] = [NotOnNetwork("nobody has it")] * 5
        if state is State.IGNORED:
            rival = MarketDoor(market, account("carol"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, market, request)
            if state is State.PREPARING:
                await market.next_block()
            elif state is State.IGNORED:
                nursery.start_soon(_outdo, market, rival, request.slot(0))
                bob.duties.store_seconds = 50
                await moved_to(bob, state)
            elif state is State.FAILED:
                await moved_to(bob, State.PROVING)
                market.request(request.id).state = RequestState.FAILED
                await moved_to(bob, state)
            else:
                await moved_to(bob, state)
    async with open_host(market, tmp_path) as bob:
        await trio.sleep(700)
        assert await bob.untouched()
        assert not bob.duties.stored
        assert (await bob.sales.availabilities())[0].lost == (SIZE if state is State.FAILED else 0)
        held = {there for there, books in market.books.slots.items() if books.host == account("bob")}
        if not ends_badly:
            assert [market.slot_state(there) for there in held] == [SlotState.PAID]


async def _outdo(market: SimulatedMarket, rival: MarketDoor, slot: Slot) -> None:
    await trio.sleep(10)
    await rival.reserve_slot(slot.request.id, slot.index)
    await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))


async def test_a_slot_without_a_reservation_is_looked_after(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path / "one") as bob:
        await bob.offer()
        request = a_request(duration=400)
        await post(market, request)
        await trio.sleep(30)
    async with open_host(market, tmp_path / "another") as bob:
        await trio.sleep(100)
        (view,) = await bob.sales.sales()
        assert (view.state, view.reservation) == (State.PROVING, None)
        await trio.sleep(400)
        assert market.slot_state(request.slot(0).id) is SlotState.PAID
        assert await bob.sales.sales() == []


# -- the chain goes wrong


@pytest.mark.parametrize("state", [State.SLOT_RESERVING, State.DOWNLOADING, State.FILLING, State.PROVING])
async def test_the_chain_is_gone_for_an_hour(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, state: State
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 3
        request = a_request(duration=5000, expiry=4500)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, market, request)
            await moved_to(bob, state)
        market.go_offline()
        await trio.sleep(3600)
        (view,) = await bob.sales.sales()
        assert view.state is state or view.state is State.INITIAL_PROVING
        assert (await bob.sales.availabilities())[0].taken == SIZE
        market.go_online()
        await trio.sleep(120)
        assert market.slot(request.slot(0).id).host == account("bob")
        await trio.sleep(5000)
        assert market.slot_state(request.slot(0).id) is SlotState.PAID
        assert await bob.untouched()


async def test_offers_are_made_while_the_chain_is_away(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.go_offline()
    async with open_host(market, tmp_path) as bob:
        offer = await bob.offer()
        await trio.sleep(100)
        assert await bob.sales.availabilities() == [offer]
        assert await bob.sales.sales() == []
        market.go_online()
        request = a_request()
        await post(market, request)
        await trio.sleep(30)
        assert market.request(request.id).filled == 1


@pytest.mark.parametrize("lost", ["reserve_slot", "fill_slot", "submit_proof", "free_slot"])
async def test_what_was_done_and_never_answered_is_not_done_twice(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, lost: str
) -> None:
    market.lose.add(lost)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request()
        await post(market, request)
        await trio.sleep(800)
        assert market.slot_state(request.slot(0).id) is SlotState.PAID
        assert await bob.untouched()
        assert bob.door.sent.count("fill_slot") == bob.door.sent.count("free_slot") == 1
        assert bob.door.sent.count("reserve_slot") == 1


async def test_three_blocks_are_taken_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 10
        request = a_request()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, market, request)
            await moved_to(bob, State.PROVING)
        market.reorganise(3)
        assert market.slot_state(request.slot(0).id) is SlotState.FREE
        await trio.sleep(60)
        assert market.slot(request.slot(0).id).host == account("bob")
        await trio.sleep(700)
        assert market.slot_state(request.slot(0).id) is SlotState.PAID
        assert await bob.untouched()
        assert (await bob.sales.availabilities())[0].lost == 0


async def test_a_challenge_that_changes_while_it_is_proved_is_proved_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.prove_seconds = 40  # of a period of 60
        request = a_request(duration=2000, expiry=1000)
        await post(market, request)
        await trio.sleep(400)
        assert market.request(request.id).filled == 1
        assert bob.door.sent.count("fill_slot") == 1
        await trio.sleep(2000)
        assert await bob.untouched()
        assert "submit_proof" in bob.door.sent


async def test_a_machine_too_slow_to_prove_gives_the_slot_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.prove_seconds = 70
        request = a_request(duration=5000, expiry=4000)
        await post(market, request)
        await until(lambda: bob.duties.proofs == 5)
        await trio.sleep(5)
        assert await bob.untouched()
        assert "fill_slot" not in bob.door.sent
        assert "no challenge stood for so long" in (await bob.sales.decisions())[0].reason


# -- other things go wrong


@pytest.mark.parametrize("at", ["OnStore", "OnProve", "request_end", "can_reserve_slot", "get_challenge"])
async def test_what_fails_before_the_filling_costs_nothing(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, at: str
) -> None:
    """A duty that the node cannot do, and a mistake of the program in a step: both are contained."""
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        if at.startswith("On"):
            bob.duties.fail[at] = [NotOnNetwork("nobody has it")] * 5
        else:
            market.refuse[at] = [ValueError("a mistake")] * 50
        bad, good = a_request(nonce=1, duration=900), a_request(nonce=2, duration=900)
        await post(market, bad)
        await trio.sleep(100)
        assert market.request(bad.id).filled == 0
        assert await bob.untouched()
        assert (await verdicts(bob, bad.slot(0).id))[0] == "failed"
        market.refuse.clear()
        await post(market, good)
        await trio.sleep(30)
        assert market.request(good.id).filled == 1


async def test_a_mistake_while_the_slot_is_held_does_not_give_it_up(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request()
        await post(market, request)
        await trio.sleep(30)
        market.refuse["get_challenge"] = [ValueError("a mistake"), ChainRefused("no"), ValueError("again")]
        await trio.sleep(800)
        assert not market.refuse["get_challenge"]
        assert market.slot_state(request.slot(0).id) is SlotState.PAID
        assert await bob.untouched()


async def test_what_a_disk_has_lost_of_a_slot_is_fetched_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with watching(market), open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.fail["OnExpiryUpdate"] = [BlockNotFound("it is not here")]
        request = a_request(duration=900)
        await post(market, request)
        await trio.sleep(30)
        slot = request.slot(0).id
        assert bob.duties.repaired == [slot]
        bob.duties.fail["OnProve"] = [CorruptData("a block is damaged")]
        await trio.sleep(900)
        assert bob.duties.repaired == [slot] * 2
        assert (market.slot(slot).missed, market.slot_state(slot)) == (0, SlotState.PAID)
        assert await bob.untouched()


async def test_a_year_with_a_proof_a_day(tmp_path: Path, autojump_clock: MockClock) -> None:
    day = 86400
    proofs = evolve(CONFIG.proofs, period=day, timeout=day // 2)
    market = SimulatedMarket(evolve(CONFIG, proofs=proofs, duration_limit=500 * day), block_time=3600)
    market.fund(account("bob"), RICH)
    store = StoreConfig(quota=1 << 20, maintenance_interval=day)
    async with open_host(market, tmp_path, store=store) as bob:
        await bob.offer(duration=400 * day)
        request = a_request(duration=365 * day, expiry=5 * day)
        await post(market, request)
        await trio.sleep(366 * day)
        slot = market.slot(request.slot(0).id)
        assert market.slot_state(request.slot(0).id) is SlotState.PAID
        # Every day but the first and those that the downtime spared.
        assert 250 < len(slot.received) <= 366
        earned = (market.request(request.id).ends - slot.filled_at) * SIZE
        assert market.books.balances[account("bob")] == RICH + earned
        assert await bob.untouched()


async def test_a_request_may_claim_anything(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """What only a forged contract would hold is looked at, refused in words, and hurts nobody."""
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        honest = a_request(nonce=1)
        await trio.sleep(10)
        for n, ask in enumerate(
            (
                evolve(honest.ask, slots=2**64 - 1),
                evolve(honest.ask, slot_size=2**64 - 1),
                evolve(honest.ask, slot_size=0, collateral_per_byte=0, price_per_byte_per_second=2**256 - 1),
                evolve(honest.ask, duration=2**64 - 1, price_per_byte_per_second=2**256 - 1),
            )
        ):
            forged = evolve(honest, ask=ask, nonce=bytes([n]) * 32)
            market.tell(StorageRequested(honest.id if n == 9 else forged.id, ask, market.time + 100))
            await market.next_block()
        await trio.sleep(50)
        await post(market, honest)
        await trio.sleep(100)
        assert market.request(honest.id).filled == 1
        assert CONFIG.duration_limit < 2**64


async def test_a_stop_does_not_wait_for_a_download(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 10_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, market, a_request(expiry=9000, duration=20_000))
            await moved_to(bob, State.DOWNLOADING)
        before = trio.current_time()
    assert trio.current_time() - before < 1


# -- where a life begins to read


class Heard:
    """Notes at which block each following of a marketplace begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begins: list[int] = []
        events = MarketDoor.events

        async def noted(door: MarketDoor, since: Cursor | int) -> Any:
            assert isinstance(since, int)
            self.begins.append(since)
            return await events(door, since)

        monkeypatch.setattr(MarketDoor, "events", noted)


async def test_a_flood_of_junk_costs_a_start_no_more_than_the_queue_holds(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = 0
    push = SlotQueue.push

    def counted(self: SlotQueue, item: Item) -> Item | None:
        nonlocal pushed
        pushed += 1
        return push(self, item)

    monkeypatch.setattr(SlotQueue, "push", counted)
    terms = a_request().ask
    for number in range(60):
        # Half of it is worth more to whoever believes it; the other half all the same.
        price = 10**6 + (number if number % 2 else 0)
        ask = evolve(terms, slots=256, slot_size=1 << 40, price_per_byte_per_second=price)
        market.tell(StorageRequested(RequestId(number.to_bytes(32, "big")), ask, market.time + 10_000))
    good = a_request(duration=9000, expiry=8000)
    await post(market, good)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await trio.sleep(120)
        assert market.slot(good.slot(0).id).host == account("bob")
        assert await verdicts(bob, good.slot(0).id) == ["filled", "taken"]
        assert QUEUE <= pushed < QUEUE + 2 * 256
        told = Counter(decision.verdict.value for decision in await bob.sales.decisions(limit=20_000))
        assert told["unwanted"] >= QUEUE
        assert told["dropped"] >= QUEUE
        assert told.total() < 4 * QUEUE


async def test_nothing_is_kept_of_a_request_that_the_chain_has_forgotten(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request(duration=10_000)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, request)
        await trio.sleep(120)
        assert (await bob.store.space()).quota_used == SIZE
    # As a chain for development does when it is started anew.
    del market.books.requests[request.id], market.books.slots[request.slot(0).id]
    async with open_host(market, tmp_path) as bob:
        await trio.sleep(1)
        assert bob.duties.tidied == [{request.slot(0).id}], "what an agent is at it ends itself"
        await trio.sleep(60)
        assert await bob.untouched()


async def test_a_life_begins_to_read_at_the_oldest_request_that_is_open(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    over, asked = a_request(nonce=1, expiry=20, duration=100), a_request(nonce=2, expiry=5000, duration=6000)
    async with open_host(market, tmp_path):
        await trio.sleep(1000)
        await post(market, over)
        await trio.sleep(1000)
        await post(market, asked)
        made = market.block
        await trio.sleep(2000)
    [first] = heard.begins
    assert first == (EPOCH - CONFIG.duration_limit) // market.block_time
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await trio.sleep(60)
        [_, second] = heard.begins
        assert made - DEPTH <= second <= made
        assert market.request(asked.id).filled == 1


async def test_an_outage_does_not_have_everything_read_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard(monkeypatch)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        begun = market.block
        await trio.sleep(100)
        market.go_offline()
        await trio.sleep(100)
        request = a_request(duration=2000, expiry=1000)
        market.fund(request.client, request.ask.price)
        market.ask(request.client, request)
        await trio.sleep(100)
        market.go_online()
        await trio.sleep(60)
        assert heard.begins[-1] >= begun - DEPTH
        assert market.request(request.id).filled == 1


async def test_a_filling_that_is_taken_back_opens_the_slot_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    async with open_host(market, tmp_path) as bob:
        request = a_request(duration=900, expiry=600)
        await post(market, request)
        await trio.sleep(200)
        rival = MarketDoor(market, account("carol"))
        slot = request.slot(0)
        await rival.reserve_slot(slot.request.id, slot.index)
        await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(2)
        assert market.request_state(request.id) is RequestState.STARTED
        market.reorganise(2)
        assert market.request_state(request.id) is RequestState.NEW
        await bob.offer()
        await trio.sleep(60)
        assert market.slot(slot.id).host == account("bob")


async def test_a_slot_that_is_held_is_looked_at_at_once_when_the_chain_takes_something_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """And not a period later: the request may have expired by then."""
    market.remembers = True
    slot = a_request().slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await market.next_block()
        await trio.sleep(market.period.end + 5 - market.time)
        period = market.period
        await post(market, slot.request)
        await moved_to(bob, State.PROVING)
        await trio.sleep(1)
        market.reorganise(2)
        assert not market.books.hosted[account("bob")]
        await trio.sleep(20)
        assert market.slot(slot.id).host == account("bob")
        assert market.period == period


@pytest.mark.parametrize("full", [False, True])
async def test_who_was_outdone_fills_the_slot_when_the_other_filling_is_taken_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, full: bool
) -> None:
    market.remembers = True
    request = a_request(duration=900, expiry=600)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 60
        await post(market, request)
        await trio.sleep(20)
        assert market.books.slots[slot.id].reservations == {account("bob")}
        rival = MarketDoor(market, account("carol"))
        await rival.reserve_slot(slot.request.id, slot.index)
        if full:
            await MarketDoor(market, account("dave")).reserve_slot(slot.request.id, slot.index)
            await trio.sleep(5)
        await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(1.5)
        # Giving it up takes some time, or not.
        assert (await verdicts(bob, slot.id))[0] == "outdone"
        market.reorganise(2)
        await trio.sleep(200)
        assert market.slot(slot.id).host == account("bob")
        assert bob.door.sent.count("reserve_slot") == 1
        await trio.sleep(900)
        assert await bob.untouched()


async def test_who_was_outdone_fills_the_slot_in_its_next_life_when_the_other_filling_is_taken_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    request = a_request(duration=900, expiry=600)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 60
        await post(market, request)
        await trio.sleep(20)
        rival = MarketDoor(market, account("carol"))
        await rival.reserve_slot(slot.request.id, slot.index)
        await MarketDoor(market, account("dave")).reserve_slot(slot.request.id, slot.index)
        await trio.sleep(5)
        await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(5)
        assert (await verdicts(bob, slot.id))[0] == "outdone"
    async with open_host(market, tmp_path) as bob:
        await trio.sleep(5)
        market.reorganise(8)
        assert market.slot_state(slot.id) is SlotState.FREE
        await trio.sleep(200)
        assert market.slot(slot.id).host == account("bob")
        assert "reserve_slot" not in bob.door.sent
        await trio.sleep(900)
        assert await bob.untouched()


async def test_a_slot_that_was_lost_is_not_reserved_any_more(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request(duration=2000, expiry=600, loss=1)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 60
        await post(market, request)
        await trio.sleep(20)
        rival = MarketDoor(market, account("carol"))
        await rival.reserve_slot(slot.request.id, slot.index)
        await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(20)
        assert (await verdicts(bob, slot.id))[0] == "outdone"
        market.free(slot.id)
        for name in ("alice", "carol", "dave"):
            market.reserve(slot.request.id, slot.index, account(name))
        await trio.sleep(100)
        assert bob.duties.repaired == []
        assert await verdicts(bob, slot.id) == ["outdone", "taken"]


async def test_a_slot_is_told_open_again_while_it_is_given_up(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    request = a_request(duration=900, expiry=600)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 60
        await post(market, request)
        await trio.sleep(20)
        bob.duties.fail["OnClear"] = [CorruptData("not now")] * 3
        rival = MarketDoor(market, account("carol"))
        await rival.reserve_slot(slot.request.id, slot.index)
        await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(1.5)
        assert [sale.state for sale in await bob.sales.sales()] == [State.IGNORED]
        market.reorganise(2)
        await trio.sleep(4)
        assert [sale.state for sale in await bob.sales.sales()] == [State.IGNORED]
        await trio.sleep(200)
        assert market.slot(slot.id).host == account("bob")


@pytest.mark.parametrize("over", [False, True])
async def test_what_is_told_open_and_closed_again_while_it_is_given_up_is_let_be(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, over: bool
) -> None:
    market.remembers = True
    request = a_request(duration=900, expiry=600, slots=2)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        rival = MarketDoor(market, account("carol"))
        bob.duties.store_seconds = 60
        await post(market, request)
        await trio.sleep(20)
        if not market.books.slots.get(slot.id):
            slot = request.slot(1)  # it goes for either
        bob.duties.fail["OnClear"] = [CorruptData("not now")] * 4
        await rival.reserve_slot(slot.request.id, slot.index)
        await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(1.5)
        market.reorganise(1)
        await trio.sleep(2)
        if over:
            await market.next_block()
            market.request(request.id).state = RequestState.FAILED
            market.tell(RequestFailed(request.id))
        else:
            await rival.fill_slot(slot, proof_for(await rival.get_challenge(slot.id)))
        await trio.sleep(20)
        assert not bob.duties.fail["OnClear"]
        assert await verdicts(bob, slot.id) == ["outdone", "taken"]


@pytest.mark.parametrize("full", [False, True])
async def test_a_reservation_that_is_taken_back_is_made_again_if_it_can(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, full: bool
) -> None:
    market.remembers = True
    request = a_request(duration=900, expiry=600)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 30
        await post(market, request)
        await until(lambda: "reserve_slot" in bob.door.sent)
        market.reorganise(1)
        assert slot.id not in market.books.slots
        market.books.slots[slot.id] = _Slot(slot.request.id, slot.index)
        if full:
            market.books.slots[slot.id].reservations |= {account(name) for name in ("alice", "carol", "dave")}
        await trio.sleep(200)
        assert market.slot(slot.id).host == (None if full else account("bob"))
        assert bob.door.sent.count("reserve_slot") == (1 if full else 2)
        assert bob.duties.proofs == 1 or not full  # and the slot is not fetched once more


async def test_a_provider_that_takes_something_back_all_the_time_is_not_asked_without_a_pause(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    class Fickle:
        def __aiter__(self) -> "Fickle":
            return self

        async def __anext__(self) -> Reorganised:
            nonlocal asked
            asked += 1
            await trio.lowlevel.checkpoint()
            return Reorganised(market.head, Cursor(market.head))

    async def fickle(door: MarketDoor, since: Cursor | int) -> Fickle:
        return Fickle()

    monkeypatch.setattr(MarketDoor, "events", fickle)
    async with open_host(market, tmp_path):
        await trio.sleep(100)
        assert 50 < asked <= 101


async def test_a_reservation_that_is_on_its_way_at_a_stop_is_ours(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request()
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.store_seconds = 100
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, market, request)
            await moved_to(bob, State.SLOT_RESERVING)
        await until(lambda: bool(bob.door.sent))
    market.books.slots[slot.id].reservations.clear()
    # The newest block does not have it yet, and what waits for the next one counts already.
    market.refuse["reserve_slot"] = [SlotReservationNotAllowed("not allowed")]
    async with open_host(market, tmp_path) as bob:
        await until(lambda: not market.refuse["reserve_slot"])
        market.reserve(request.id, 0, account("bob"))
        await trio.sleep(60)
        assert market.slot(slot.id).host == account("bob")
        assert "reserve_slot" not in bob.door.sent
