"""What sales can be asked: every call has a method and an answer, and offers follow the store's rules."""

import inspect
import re
from pathlib import Path

import pytest
from trio.testing import MockClock

from codex.config import StoreConfig
from codex.errors import AvailabilityNotFound, InvalidInput, QuotaExceeded
from codex.market import SlotId
from codex.runtime import Call
from codex.sales import calls, handle, service
from codex.testing.hosts import open_host
from codex.testing.market import SimulatedMarket

CALLS = {
    name
    for name, value in vars(calls).items()
    if inspect.isclass(value) and issubclass(value, Call) and value is not Call
}


@pytest.mark.parametrize("module", [handle, service])
def test_every_call_is_asked_and_answered(module: object) -> None:
    source = Path(inspect.getsourcefile(module) or "").read_text("utf-8")  # type: ignore[arg-type]
    assert set(re.findall(r"calls\.([A-Z]\w+)", source)) == CALLS


async def test_offers_come_change_and_go(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_host(SimulatedMarket(), tmp_path, store=StoreConfig(quota=10_000)) as bob:
        sales = bob.sales
        made = await sales.add(total=6000, duration=60, price=2, collateral=50, enabled=False, until=9)
        assert (made.free, made.remaining, made.lost, len(made.id)) == (6000, 50, 0, 32)
        assert await sales.availabilities() == [made]
        assert await sales.reservations(made.id) == []
        changed = await sales.change(made.id, total=7000, enabled=True, until=0)
        assert (changed.total, changed.free, changed.enabled, changed.until) == (7000, 7000, True, 0)
        with pytest.raises(QuotaExceeded):
            await sales.add(total=3001, duration=60, price=2, collateral=50)
        with pytest.raises(InvalidInput):
            await sales.add(total=1, duration=0, price=2, collateral=50)
        await sales.delete(made.id)
        for ask in (sales.delete, sales.change, sales.reservations):
            with pytest.raises(AvailabilityNotFound):
                await ask(made.id)
        assert await sales.availabilities() == []


async def test_who_sells_nothing_has_nothing_to_tell(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_host(SimulatedMarket(), tmp_path) as bob:
        assert await bob.sales.sales() == []
        assert await bob.sales.slots() == []
        assert await bob.sales.sale(SlotId(bytes(32))) is None
        assert await bob.sales.decisions() == []
