"""Proofs that are missing are marked, on a simulated marketplace; those that came are not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio.testing import MockClock

from codex.market import SlotState
from codex.testing.hosts import a_request, account, open_host, open_validator_at, post
from codex.testing.market import SimulatedChain, SimulatedMarket
from codex.testing.market_door import MarketDoor
from codex.validation import Share, Validation

EVERYTHING = Share(most=0)


@asynccontextmanager
async def open_validator(market: SimulatedMarket, share: Share = EVERYTHING) -> AsyncIterator[Validation]:
    door = MarketDoor(market, account("victor"))
    async with open_validator_at(door, SimulatedChain(market), share) as validation:
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
    async with open_validator(market) as validation, validation.events(100) as events:
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
    async with open_host(market, tmp_path) as bob, open_validator(market) as validation:
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
    async with open_validator(market, Share(most=0, groups=2, index=1)) as validation:
        await trio.sleep(30)
        assert sorted((await validation.validated()).watched) == sorted(mine)
        await trio.sleep(1000)
        freed = {id for id, slot in market.books.slots.items() if slot.state is SlotState.REPAIR}
        assert freed == set(mine)


async def test_errors_and_outages_are_outlived(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = await a_market(tmp_path, slots=1)
    market.go_offline()
    async with open_validator(market) as validation:
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
