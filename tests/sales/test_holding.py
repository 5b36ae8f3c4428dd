"""What is done with a slot that is held: what came of it is told as it was, and booked as it was."""

import io
import json
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.config import LogConfig
from codex.errors import ChainRefused
from codex.logs import configured
from codex.market import Groth16Proof, RequestState, SlotId, SlotState
from codex.sales import Held, ProofMissed, ProofSent, SaleMoved, SlotLost, State, Verdict
from codex.sales.holding import NEVER_PAID
from codex.testing.hosts import BLOCK, Host, a_request, account, open_host, post
from codex.testing.market import SimulatedMarket, proof_for

RICH = 10**6
SIZE = 4 * BLOCK
BOB = account("bob")


@pytest.fixture
def market() -> SimulatedMarket:
    market = SimulatedMarket()
    for name in ("bob", "alice"):
        market.fund(account(name), RICH)
    return market


async def the_one(host: Host) -> Held:
    [held] = await host.sales.history()
    return held


def amounts(held: Held) -> tuple[Verdict, int, int | None, int | None, int | None]:
    return held.verdict, held.collateral, held.reward, held.returned, held.lost


# -- what it has brought and cost


async def test_a_slot_is_remembered_with_what_it_has_brought(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request()
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, request)
        await trio.sleep(30)
        held = await the_one(bob)
        assert (held.slot, held.index, held.request) == (request.slot(0).id, 0, request.id)
        assert amounts(held) == (Verdict.FILLED, SIZE, None, None, None)
        # A proof was missed: a fifth of the collateral is gone.
        market.slot(held.slot).collateral -= SIZE // 5
        await trio.sleep(700)
        paid = await the_one(bob)
        back = SIZE - SIZE // 5
        earned = market.books.balances[BOB] - (RICH - SIZE) - back
        assert earned > 0
        assert amounts(paid) == (Verdict.FINISHED, SIZE, earned, back, SIZE // 5)
        assert paid.filled == held.filled < held.filled + 500 < paid.at
        assert paid.availability == (await bob.sales.availabilities())[0].id
        # It is remembered however much else is looked at.
        assert await bob.untouched()
        await post(market, a_request(nonce=1, slots=200, slot_size=SIZE * 100))
        await trio.sleep(10)
        assert len(await bob.sales.decisions(limit=1000)) > 200
        assert await the_one(bob) == paid


async def test_of_a_cancelled_request_what_was_earned_until_then(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        await post(market, a_request(slots=2))
        await trio.sleep(400)
        earned = market.books.balances[BOB] - RICH
        assert earned > 0
        assert amounts(await the_one(bob)) == (Verdict.CANCELLED, SIZE, earned, SIZE, 0)


async def test_of_a_failed_request_what_it_has_cost(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request(duration=3000)
        await post(market, request)
        await trio.sleep(30)
        market.request(request.id).state = RequestState.FAILED
        await trio.sleep(100)
        lost = await the_one(bob)
        assert amounts(lost) == (Verdict.LOST, SIZE, 0, 0, SIZE)
        assert lost.reason == "the request failed: too many of its slots were lost"
        assert (await bob.sales.decisions())[0].reason == lost.reason


async def test_a_slot_that_the_contract_never_pays_back_is_lost_once(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """It was filled in the second of the expiry: to free it is refused for ever, and it stays its host's."""
    async with open_host(market, tmp_path) as bob, bob.sales.events(100) as events:
        await bob.offer(total=SIZE)
        request = a_request(slots=2)
        await post(market, request)
        await trio.sleep(100)
        [slot] = market.books.hosted[BOB]
        market.slot(slot).filled_at = market.request(request.id).expires
        async for event in events:
            if event == SlotLost(slot):
                break
        await trio.sleep(300)
        lost = await the_one(bob)
        assert amounts(lost) == (Verdict.LOST, SIZE, 0, 0, SIZE)
        assert lost.reason == NEVER_PAID
        assert await bob.untouched()
        assert (await bob.sales.availabilities())[0].lost == SIZE
    async with open_host(market, tmp_path) as bob:
        await trio.sleep(300)
        assert market.books.hosted[BOB] == [slot]
        assert await the_one(bob) == lost
        assert await bob.untouched()
        told = [decision.verdict for decision in await bob.sales.decisions(slot)]
        assert told == [Verdict.LOST, Verdict.CANCELLED, Verdict.FILLED, Verdict.TAKEN]


@pytest.mark.parametrize("end", [Verdict.FINISHED, Verdict.CANCELLED])
async def test_no_slot_is_given_back_before_a_block_is_past_the_end(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, end: Verdict
) -> None:
    """Where the provider's clock is ahead it says so too early; the contract would take all."""
    market.ahead = 12
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        id = await post(market, a_request(slots=1 if end is Verdict.FINISHED else 2))
        await trio.sleep(100)
        soon = market.config.proofs.period_at(market.time + 100).start + 5
        if end is Verdict.FINISHED:
            market.request(id).ends = soon
        else:
            market.request(id).expires = soon
        await trio.sleep(900)
        paid = await the_one(bob)
        assert (paid.verdict, paid.lost) == (end, 0)
        assert market.books.balances[BOB] == RICH + (paid.reward or 0) > RICH
        assert await bob.untouched()


async def test_a_request_that_starts_at_its_expiry_keeps_its_hosts(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        request = a_request(slots=2, expiry=240)
        await post(market, request)
        await trio.sleep(200)
        [mine] = market.books.hosted[BOB]
        other = next(request.slot(index) for index in range(2) if request.slot(index).id != mine)
        market.ahead = 30
        async with bob.sales.events(100) as events:
            async for event in events:
                if isinstance(event, SaleMoved) and event.state is State.CANCELLED:
                    break
        carol = account("carol")
        market.fund(carol, RICH)
        market.reserve(request.id, other.index, carol)
        market.fill(other.id, carol, proof_for(market.challenge(other.id, market.period.number)))
        assert market.request_state(request.id) is RequestState.STARTED
        market.ahead = 0
        await trio.sleep(500)
        assert (await the_one(bob)).verdict is Verdict.FINISHED
        assert await bob.untouched()


async def test_what_is_given_back_while_it_counts_as_held_is_lost(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The chain has taken back the blocks by which it was over."""
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE, collateral=SIZE)
        request = a_request(loss=1)
        await post(market, request)
        await trio.sleep(100)
        [slot] = market.books.hosted[BOB]
        give_back = bob.door.free_slot

        async def too_early(id: SlotId) -> int:
            market.request(request.id).ends = market.time + 50
            return int(await give_back(id))

        bob.door.free_slot = too_early
        await trio.sleep(600)
        assert market.slot(slot).state is SlotState.REPAIR
        lost = await the_one(bob)
        assert amounts(lost) == (Verdict.LOST, SIZE, 0, 0, SIZE)
        assert (await bob.sales.availabilities())[0].lost == SIZE
        assert await bob.untouched()


@pytest.mark.parametrize("blocks", [1, 2])
async def test_a_slot_that_was_never_filled_is_not_among_those_that_were_held(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, blocks: int
) -> None:
    """The chain has taken the filling back, and the request was cancelled before it was filled again."""
    market.remembers = True
    request = a_request(slots=2, expiry=100)
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        async with bob.sales.events(100) as events:
            await post(market, request)
            async for event in events:
                if isinstance(event, SaleMoved) and event.state is State.PROVING:
                    break
        assert (await the_one(bob)).verdict is Verdict.FILLED
    market.reorganise(blocks)
    assert not market.books.hosted[BOB]
    await trio.sleep(200)
    assert market.request_state(request.id) is RequestState.CANCELLED
    async with open_host(market, tmp_path) as bob:
        await trio.sleep(60)
        assert await bob.sales.history() == []
        assert await bob.untouched()
        assert (await bob.sales.availabilities())[0].lost == 0
        assert market.books.balances[BOB] == RICH


# -- taken away while nobody was here


@pytest.mark.parametrize("end", ["cancelled", "finished", "failed", "repair"])
async def test_what_was_taken_away_during_an_absence_is_booked_as_lost(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, end: str
) -> None:
    request = a_request(
        slots=2 if end == "cancelled" else 1,
        duration=6000,
        expiry=900,
        loss=0 if end == "failed" else 1,
    )
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=SIZE)
        await post(market, request)
        await trio.sleep(30)
    [slot] = market.books.hosted[BOB]
    market.free(slot)
    await trio.sleep({"cancelled": 1000, "finished": 7000}.get(end, 10))
    assert market.slot_state(slot).name == end.upper()
    async with open_host(market, tmp_path) as bob, bob.sales.events(100) as events:
        await trio.sleep(200)
        [there] = await bob.sales.availabilities()
        assert there.lost == SIZE == RICH - market.books.balances[BOB]
        assert await bob.untouched()
        assert amounts(await the_one(bob)) == (Verdict.LOST, SIZE, 0, 0, SIZE)
        told = []
        async for event in events:
            told.append(type(event))
            if isinstance(event, SlotLost):
                break
        assert SlotLost in told


# -- how it is told


async def test_an_old_mistake_explains_nothing(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, a_request(duration=900))
        await trio.sleep(30)
        market.refuse["get_challenge"] = [ChainRefused("its turn was taken by another transaction")] * 3
        while len(market.refuse["get_challenge"]) > 2:  # noqa: ASYNC110 - of the contract, which tells nobody
            await trio.sleep(0.1)
        await trio.sleep(0.1)
        [view] = await bob.sales.sales()
        assert view.reason == "its turn was taken by another transaction"
        await trio.sleep(100)
        assert not market.refuse["get_challenge"]
        [view] = await bob.sales.sales()
        assert (view.state, view.reason) == (State.PROVING, "")
        market.go_offline()
        await trio.sleep(30)
        market.go_online()
        await trio.sleep(900)
        told = await bob.sales.decisions()
        assert [decision.verdict for decision in told] == [Verdict.FINISHED, Verdict.FILLED, Verdict.TAKEN]
        assert [decision.reason for decision in told] == [
            "the slot was held to the end and is paid",
            "the slot is filled, and proved from now on",
            "an availability takes it",
        ]


async def test_that_a_slot_is_filled_is_told_once(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, a_request(duration=900))
        await trio.sleep(30)
        before = await the_one(bob)
    for _ in range(3):
        async with open_host(market, tmp_path) as bob:
            await trio.sleep(100)
            [view] = await bob.sales.sales()
            assert view.state is State.PROVING
            assert await the_one(bob) == before
            told = [decision.verdict for decision in await bob.sales.decisions()]
            assert told == [Verdict.FILLED, Verdict.TAKEN]


# -- proofs that take long


async def test_a_proof_that_takes_too_long_does_not_make_the_next_one_late(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    market = SimulatedMarket()
    market.fund(account("bob"), 10**6)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request(duration=900)
        await post(market, request)
        await trio.sleep(30)
        assert market.slot(request.slot(0).id).host == account("bob")
        async with bob.sales.events(1000) as events:

            async def next_of(kind: type[ProofSent] | type[ProofMissed]) -> ProofSent | ProofMissed:
                while not isinstance(event := await anext(events), kind):
                    assert not isinstance(event, ProofMissed), event
                return event

            with trio.fail_after(900):
                bob.duties.prove_seconds = 70  # of a period of 60
                missed = await next_of(ProofMissed)
                assert isinstance(missed, ProofMissed)
                assert "s that its period had left" in missed.why
                bob.duties.prove_seconds = 50
                sent = [await next_of(ProofSent) for _ in range(5)]
        assert [there.period - missed.period for there in sent] == [1, 2, 3, 4, 5]


async def test_a_proof_that_comes_close_to_the_end_of_its_period_is_warned_of(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    stream = io.StringIO()
    with configured(LogConfig("warn", "json"), stream=stream):
        async with open_host(market, tmp_path) as bob:
            await bob.offer()
            request = a_request(duration=3000)
            await post(market, request)
            await trio.sleep(30)

            async def spare() -> int:
                async with bob.sales.events(100) as events:
                    async for event in events:
                        assert not isinstance(event, ProofMissed)
                        if isinstance(event, ProofSent):
                            return event.spare
                raise AssertionError("no proof was sent")

            bob.duties.prove_seconds = 45
            assert await spare() >= 6
            assert "a proof came late" not in stream.getvalue()
            bob.duties.prove_seconds = 52
            close = await spare()
            assert 0 < close < 6
            [warning] = [
                said
                for said in map(json.loads, stream.getvalue().splitlines())
                if said["event"] == "a proof came late in its period"
            ]
            assert (warning["slot"], warning["spare"], warning["of"]) == (str(request.slot(0).id), close, 60)


async def test_a_proof_that_was_overtaken_is_made_again_and_never_sent(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = a_request(duration=6000)
    slot = request.slot(0)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        await post(market, request)
        await trio.sleep(30)
        bob.duties.prove_seconds, made = 25, bob.duties.proofs
        submit, fitting = bob.door.submit_proof, list[bool]()

        async def noted(id: SlotId, proof: Groth16Proof) -> None:
            fitting.append(proof == proof_for(market.challenge(id, market.period.number)))
            await submit(id, proof)

        bob.door.submit_proof = noted
        async with bob.sales.events(1000) as events:
            await trio.sleep(5900)
            kinds = []
            with trio.move_on_after(1):
                while True:
                    kinds.append(type(await anext(events)))
        assert market.slot(slot.id).host == account("bob")
        assert ProofMissed not in kinds
        assert len(fitting) == kinds.count(ProofSent) > 90
        assert all(fitting)
        assert bob.duties.proofs - made > len(fitting) + 1
