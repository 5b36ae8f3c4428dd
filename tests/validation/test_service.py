"""Proofs that are missing are marked, on a simulated marketplace; those that came are not."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trio
from attrs import evolve
from trio.testing import MockClock

from codex.chain import Cursor
from codex.errors import ChainFailed
from codex.market import Period, SlotId, SlotState, StorageRequest
from codex.testing.hosts import a_request, account, open_host, open_validator_at, post
from codex.testing.market import CONFIG, Happenings, SimulatedChain, SimulatedMarket, proof_for
from codex.testing.market_door import MarketDoor
from codex.validation import ProofMarked, Share, Validation

EVERYTHING = Share(most=0)


@asynccontextmanager
async def open_validator(
    market: SimulatedMarket, data_dir: Path, share: Share = EVERYTHING
) -> AsyncIterator[Validation]:
    door = MarketDoor(market, account("victor"))
    async with open_validator_at(door, SimulatedChain(market), data_dir / "victor", share) as validation:
        yield validation


async def a_market(tmp_path: Path, slots: int = 2) -> SimulatedMarket:
    """One where bob has filled all slots of a request, and is gone."""
    market = SimulatedMarket()
    market.fund(account("bob"), 10**6)
    async with open_host(market, tmp_path) as bob:
        await bob.offer(total=1 << 16)
        request = a_request(slots=slots, duration=3000, expiry=1000, loss=slots)
        await post(market, request)
        await trio.sleep(50)
        assert market.request(request.id).filled == slots
    return market


async def test_what_is_missing_is_marked_until_the_slot_is_free(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    # Slots that were filled before the validator came are found by what was told then.
    market = await a_market(tmp_path)
    async with open_validator(market, tmp_path) as validation, validation.events(100) as events:
        await trio.sleep(1000)
        assert {slot.state for slot in market.books.slots.values()} == {SlotState.REPAIR}
        validated = await validation.validated()
        assert (validated.watched, validated.waiting, validated.marked) == ((), 0, 4)
        # Two marks a slot, and a fifth of a fifth of the collateral for each.
        assert market.books.balances[account("victor")] == 4 * (4096 * 20 // 100 * 20 // 100)
        marked = [await events.__anext__() for _ in range(4)]
        assert len({(there.slot, there.period) for there in marked}) == 4  # type: ignore[union-attr]


async def test_who_proves_is_never_marked(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = SimulatedMarket()
    market.fund(account("bob"), 10**6)
    async with open_host(market, tmp_path) as bob, open_validator(market, tmp_path) as validation:
        await bob.offer()
        await post(market, a_request(duration=2000))
        await trio.sleep(1900)
        validated = await validation.validated()
        assert (len(validated.watched), validated.marked) == (1, 0)
        await trio.sleep(300)
        assert (await validation.validated()).watched == ()
        assert await bob.untouched()


async def test_only_the_own_group_is_watched(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = await a_market(tmp_path, slots=4)
    mine = [slot for slot in market.books.slots if slot.group(2) == 1]
    async with open_validator(market, tmp_path, Share(most=0, groups=2, index=1)) as validation:
        await trio.sleep(30)
        assert sorted((await validation.validated()).watched) == sorted(mine)
        await trio.sleep(1000)
        freed = {id for id, slot in market.books.slots.items() if slot.state is SlotState.REPAIR}
        assert freed == set(mine)


async def test_errors_and_outages_are_outlived(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = await a_market(tmp_path, slots=1)
    market.go_offline()
    async with open_validator(market, tmp_path) as validation:
        await trio.sleep(200)
        assert (await validation.validated()).watched == ()
        market.go_online()
        await trio.sleep(30)
        assert len((await validation.validated()).watched) == 1
        market.go_offline()
        await trio.sleep(100)
        market.go_online()
        await trio.sleep(1000)
        assert (await validation.validated()).marked == 2


def fill_all(market: SimulatedMarket, request: StorageRequest) -> None:
    """Let bob fill all slots of a request."""
    for index in range(request.ask.slots):
        slot = SlotId.of(request.id, index)
        market.reserve(request.id, index, account("bob"))
        market.fill(slot, account("bob"), proof_for(market.challenge(slot, market.period.number)))


async def test_what_is_over_keeps_no_place_after_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    # Ten times as many slots as may be watched are over when the validator starts, all filled before the one
    # that bob holds and never proves.
    market = SimulatedMarket()
    market.fund(account("bob"), 10**7)
    old = a_request(nonce=1, slots=100, duration=200, expiry=100, loss=1)
    await post(market, old)
    fill_all(market, old)
    await trio.sleep(250)
    new = a_request(nonce=2, duration=5000, expiry=500, loss=1)
    await post(market, new)
    fill_all(market, new)
    slot = SlotId.of(new.id, 0)
    await trio.sleep(10)
    async with open_validator(market, tmp_path, Share(most=10)) as validation:
        await trio.sleep(20)
        validated = await validation.validated()
        assert (validated.watched, validated.waiting) == ((slot,), 0)
        await trio.sleep(4 * CONFIG.proofs.period)
        assert market.slot_state(slot) is SlotState.REPAIR


async def test_what_ends_while_it_is_watched_gives_its_place_up_within_the_round(
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    market = SimulatedMarket()
    market.fund(account("bob"), 10**7)
    async with open_validator(market, tmp_path, Share(most=1)) as validation, validation.events(10) as events:
        short = a_request(nonce=1, duration=40, expiry=20)
        held = a_request(nonce=2, duration=5000, expiry=500, loss=1)
        for request in (short, held):
            await post(market, request)
            fill_all(market, request)
            await trio.sleep(5)
        assert (await validation.validated()).waiting == 1
        end = CONFIG.proofs.period_at(market.request(short.id).ends)
        first = await anext(events)
        assert first == ProofMarked(SlotId.of(held.id, 0), end.number)


def watched_by(door: MarketDoor, data_dir: Path) -> AbstractAsyncContextManager[Validation]:
    """A validator that looks through `door`."""
    return open_validator_at(door, SimulatedChain(door.market), data_dir / "victor", EVERYTHING)


async def test_a_slot_that_could_not_be_looked_at_is_looked_at_again_in_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    market = await a_market(tmp_path, slots=1)
    async with open_validator(market, tmp_path) as validation, validation.events(10) as events:
        first = await anext(events)
        assert isinstance(first, ProofMarked)
        period = market.period
        assert period.number == first.period + 1
        market.refuse["slot_state"] = [ChainFailed("rate limited")]
        market.refuse["can_mark_proof_as_missing"] = [ChainFailed("rate limited")]
        assert await anext(events) == ProofMarked(first.slot, period.number)
        assert market.time < period.end + CONFIG.proofs.timeout
        assert (market.refuse["slot_state"], market.refuse["can_mark_proof_as_missing"]) == ([], [])


async def test_no_proof_is_looked_for_before_the_contract_counts_its_period_as_over(
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    """At the very second that a period ends at it says that no proof is missing, and a round looks once."""
    config = evolve(CONFIG, proofs=evolve(CONFIG.proofs, timeout=2))
    market = SimulatedMarket(config, block_time=1)
    market.fund(account("bob"), 10**7)
    door = MarketDoor(market, account("victor"))
    looks: list[tuple[Period, int]] = []
    look = door.can_mark_proof_as_missing

    async def noted(id: SlotId, period: Period) -> bool:
        looks.append((period, market.time))
        return await look(id, period)

    door.can_mark_proof_as_missing = noted  # type: ignore[method-assign]
    held = a_request(duration=5000, expiry=500, loss=1)
    await post(market, held)
    fill_all(market, held)
    async with watched_by(door, tmp_path):
        await trio.sleep(4 * config.proofs.period)
    assert [moment - period.end for period, moment in looks] == [1] * 4


async def test_what_was_heard_before_an_outage_is_not_read_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    market = SimulatedMarket()
    market.fund(account("bob"), 10**7)
    door = MarketDoor(market, account("victor"))
    begun: list[Cursor | int] = []
    events = door.events

    async def noted(since: Cursor | int) -> Happenings:
        begun.append(since)
        return await events(since)

    door.events = noted  # type: ignore[method-assign]
    async with watched_by(door, tmp_path) as validation:
        await trio.sleep(50)
        held = a_request(duration=5000, expiry=500, loss=1)
        await post(market, held)
        fill_all(market, held)
        filled = market.block
        await trio.sleep(10)
        assert len((await validation.validated()).watched) == 1
        market.go_offline()
        await trio.sleep(10)
        market.go_online()
        await trio.sleep(30)
        first, *again = begun
        assert isinstance(first, int)
        assert first <= filled - 20
        assert again
        assert all(isinstance(begin, Cursor) and begin.next > filled for begin in again)
