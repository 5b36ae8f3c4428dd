"""Slots traded on a simulated marketplace: from the request to the payment, and every way that it goes wrong."""

from pathlib import Path

import trio
from trio.testing import MockClock

from codex.market import RequestState, SlotState
from codex.testing.hosts import BLOCK, a_request, account, open_host, post
from codex.testing.market import SimulatedMarket


async def test_a_slot_is_filled_proved_and_paid(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = SimulatedMarket()
    market.fund(account("bob"), 10**6)
    async with open_host(market, tmp_path) as bob:
        await bob.offer()
        request = a_request()
        id = await post(market, request)
        await trio.sleep(120)
        slot = request.slot(0)
        view = await bob.sales.sale(slot.id)
        assert view is not None
        assert view.state == "SaleProving"
        assert market.request_state(id) is RequestState.STARTED
        assert [there.id for there in await bob.sales.slots()] == [slot.id]
        space = await bob.store.space()
        assert (space.quota_used, space.quota_reserved) == (4 * BLOCK, 4 * BLOCK)
        filled_at = market.slot(slot.id).filled_at
        ends = market.request(id).ends
        await trio.sleep(620)
        assert market.slot_state(slot.id) is SlotState.PAID
        assert await bob.sales.sale(slot.id) is None
        assert market.books.balances[account("bob")] == 10**6 + (ends - filled_at) * 4 * BLOCK
        assert await bob.untouched()
        assert market.slot(slot.id).missed == 0
        assert [d.verdict for d in await bob.sales.decisions(slot.id)] == ["finished", "filled", "taken"]
