"""What is done in each state of a sale, up to the slot being filled."""

from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.errors import (
    ChainRefused,
    DecodeError,
    NotADataset,
    NotAManifest,
    NotOnNetwork,
    SlotReservationNotAllowed,
)
from codex.market import RequestState, StorageRequested
from codex.sales import SaleMoved, State, Verdict
from codex.store import Stage
from codex.testing.hosts import BLOCK, Host, a_request, account, open_host, post
from codex.testing.market import CONFIG, SimulatedMarket, _Request

SIZE = 4 * BLOCK
RICH = 10**6


@pytest.fixture
def market() -> SimulatedMarket:
    market = SimulatedMarket()
    for name in ("bob", "alice"):
        market.fund(account(name), RICH)
    return market


async def verdicts(host: Host) -> list[Verdict]:
    return [decision.verdict for decision in await host.sales.decisions()]


# -- before anything is sent


async def test_tokens_are_counted_for_one_slot_only(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.books.balances[account("bob")] = 2 * SIZE
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=4 * SIZE)
        bob.duties.store_seconds = 20
        request = a_request(slots=4, expiry=200, duration=400)
        await post(market, request)
        await trio.sleep(100)
        assert bob.door.sent.count("reserve_slot") == len(bob.duties.stored) == 2
        told = await bob.sales.decisions()
        assert [decision.verdict for decision in told].count(Verdict.FILLED) == 2
        assert Verdict.FAILED not in [decision.verdict for decision in told]
        unwanted = [decision.reason for decision in told if decision.verdict is Verdict.UNWANTED]
        both = f"the account has {2 * SIZE} tokens, {2 * SIZE} of them for slots that are being filled"
        assert unwanted[-1].startswith(both)
        await trio.sleep(500)
        assert await bob.untouched()


@pytest.mark.parametrize("error", [DecodeError, NotADataset, NotAManifest])
async def test_what_nobody_can_host_is_seen_before_the_chain_is_told_anything(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, error: type[Exception]
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.fail["OnLook"] = [error("its manifest makes no sense")]
        await post(market, a_request())
        await trio.sleep(10)
        [closed] = await bob.sales.decisions()
        assert (closed.verdict, closed.reason) == (Verdict.CLOSED, "its manifest makes no sense")
        assert bob.door.sent == []
        assert await bob.untouched()


async def test_what_cannot_be_looked_at_is_tried_again_and_costs_nothing(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.fail["OnLook"] = [NotOnNetwork("nobody has it")] * 5
        await post(market, a_request())
        await trio.sleep(60)
        [failed] = await bob.sales.decisions()
        assert (failed.verdict, failed.reason) == (Verdict.FAILED, "nobody has it")
        assert bob.door.sent == []
        assert await bob.untouched()
        bob.duties.fail["OnLook"] = [NotOnNetwork("nobody has it")] * 4
        await post(market, a_request(nonce=1))
        await trio.sleep(60)
        assert (await verdicts(bob))[0] is Verdict.FILLED


async def test_what_turns_out_to_be_none_is_given_up_at_once(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        bob.duties.fail["OnStore"] = [NotADataset("the row has another root")]
        await post(market, a_request())
        await trio.sleep(10)
        [closed, taken] = await bob.sales.decisions()
        assert (closed.verdict, closed.reason) == (Verdict.CLOSED, "the row has another root")
        assert taken.verdict is Verdict.TAKEN
        assert await bob.untouched()


async def test_a_request_that_the_contract_should_not_have_taken_is_not_worked_at(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request(probability=0)
        there = _Request(request, market.time + request.expiry, market.time + request.ask.duration)
        market.books.requests[request.id] = there
        market.tell(StorageRequested(request.id, request.ask, there.expires))
        await trio.sleep(30)
        [closed] = await bob.sales.decisions()
        assert closed.verdict is Verdict.CLOSED
        assert closed.reason == "Proof probability must be greater than zero"
        assert bob.door.sent == []
        assert await bob.untouched()


async def test_what_was_looked_at_is_kept_with_the_decision(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.books.balances[account("bob")] = SIZE - 1
    terms = ["enabled", "size", "duration", "price", "collateral per byte", "collateral", "until"]
    async with open_host(market, tmp_path) as bob:
        request = a_request(expiry=1500, duration=2000)
        await post(market, request)
        offer = await bob.offer(price=2)
        await trio.sleep(20)

        async def newest(verdict: Verdict) -> list[tuple[str, bool, str, str]]:
            decision = (await bob.sales.decisions(request.slot(0).id))[0]
            assert decision.verdict is verdict
            return [(check.name, check.passed, check.wanted, check.offered) for check in decision.checks]

        # No availability takes it, which is seen before anybody works at it.
        dear = await newest(Verdict.UNWANTED)
        assert [name for name, *_ in dear] == terms[:4]
        assert dear[-1] == ("price", False, "1 a byte and second are paid", "at least 2")
        await bob.sales.change(offer.id, price=1)
        await trio.sleep(20)
        # It is worked at, and the account has too little.
        poor = await newest(Verdict.UNWANTED)
        assert poor == [("balance", False, f"{SIZE} of collateral", f"{SIZE - 1} tokens")]
        market.fund(account("bob"), 1)
        bob.duties.store_seconds = 100
        await trio.sleep(700)
        [taken] = [d for d in await bob.sales.decisions() if d.verdict is Verdict.TAKEN]
        assert [check.name for check in taken.checks] == terms
        assert all(check.passed for check in taken.checks)
        assert taken.availability == offer.id


# -- filling


async def test_a_filling_whose_answer_was_lost_is_not_taken_for_that_of_another_host(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.lose.add("fill_slot")
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, a_request())
        await trio.sleep(30)
        assert not market.lose
        [sale] = await bob.sales.sales()
        assert sale.state is State.PROVING
        assert sale.reservation is not None
        assert sale.reservation.stage is Stage.STAKED
        assert bob.door.sent.count("fill_slot") == 1
        assert await verdicts(bob) == [Verdict.FILLED, Verdict.TAKEN]
        await trio.sleep(700)
        assert await bob.untouched()


async def test_what_the_chain_refuses_is_not_tried_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.refuse["fill_slot"] = [ChainRefused("it may not be", reason="Whatever")]
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, a_request())
        await trio.sleep(100)
        assert not market.refuse["fill_slot"]
        assert bob.door.sent == ["reserve_slot"]
        failed, taken = await bob.sales.decisions()
        assert (failed.verdict, failed.reason) == (Verdict.FAILED, "it may not be")
        assert taken.verdict is Verdict.TAKEN
        assert await bob.untouched()


async def test_no_slot_is_filled_where_it_might_be_in_the_second_of_the_expiry(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The contract would keep its collateral, should the request not be filled."""
    async with open_host(market, tmp_path) as bob:
        before = market.books.balances[account("bob")]
        await bob.offer()
        bob.duties.store_seconds = 70
        request = a_request(expiry=85, slots=2)
        await post(market, request)
        await trio.sleep(120)
        assert bob.door.sent == ["reserve_slot"] * 2
        failed = (await bob.sales.decisions())[0]
        assert failed.verdict is Verdict.FAILED
        assert failed.reason.startswith("its request expires in ")
        assert await bob.untouched()
        assert market.books.balances[account("bob")] == before


async def test_whenever_a_slot_is_stored_its_collateral_is_not_lost(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """There is a block in the very second of the expiry, and what is sent late comes into it."""
    block_time, expiry = 60, 600
    config = evolve(CONFIG, proofs=evolve(CONFIG.proofs, period=3600, timeout=1800))
    found = set()
    for number, left in enumerate(range(0, 4 * block_time, block_time // 4)):
        market = SimulatedMarket(config, block_time=block_time)
        market.fund(account("bob"), RICH)
        async with open_host(market, tmp_path / str(number)) as bob:
            await bob.offer(total=SIZE)
            bob.duties.store_seconds = expiry - block_time - left
            request = a_request(expiry=expiry, duration=900, slots=2)
            await post(market, request)
            assert market.request(request.id).expires % block_time == 0
            await trio.sleep(expiry + 5 * block_time)
            assert market.books.balances[account("bob")] >= RICH
            assert await bob.untouched()
            found |= set(await verdicts(bob))
    # In time, and too late.
    assert found >= {Verdict.FILLED, Verdict.FAILED}


@pytest.mark.parametrize("expiry", [10, 12, 15, 20])
async def test_a_request_that_must_be_filled_soon_is_filled_where_blocks_come_fast(
    tmp_path: Path, autojump_clock: MockClock, expiry: int
) -> None:
    market = SimulatedMarket(block_time=1)
    market.fund(account("bob"), RICH)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request(expiry=expiry)
        await post(market, request)
        await trio.sleep(expiry + 5)
        assert market.request_state(request.id) is RequestState.STARTED


async def test_a_slot_that_can_only_be_filled_too_late_is_not_reserved(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        request = a_request(expiry=100)
        await post(market, request)
        await trio.sleep(90)
        await bob.offer()
        await trio.sleep(5)
        assert bob.door.sent == []
        closed = (await bob.sales.decisions())[0]
        assert closed.verdict is Verdict.CLOSED
        assert closed.reason.startswith("its request expires in ")


# -- what was sent by a former life


@pytest.mark.parametrize("mined", ["before the next life looks", "while the next life sends it again"])
async def test_a_reservation_that_waits_for_a_block_at_a_stop_is_ours(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, mined: str
) -> None:
    request = a_request(duration=400)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        async with bob.sales.events(100) as events:
            await post(market, request)
            async for event in events:
                if isinstance(event, SaleMoved) and event.state is State.SLOT_RESERVING:
                    break
        while [there.stage for there in await bob.book.slots()] != [Stage.RESERVING]:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert not bob.door.sent
    if mined.startswith("before"):
        market.reserve(request.id, 0, account("bob"))
    else:
        market.refuse["reserve_slot"] = [SlotReservationNotAllowed("it is reserved by this host")]
    async with open_host(market, tmp_path) as bob:
        bob.duties.store_seconds = 10
        await trio.sleep(5)
        assert not market.refuse["reserve_slot"]
        if not mined.startswith("before"):
            market.reserve(request.id, 0, account("bob"))
        await trio.sleep(60)
        assert market.slot(request.slot(0).id).host == account("bob")
        await trio.sleep(500)
        assert await bob.untouched()
