"""A host that is stopped at any moment of a sale: after its next start nothing is left of it, no bytes, no
collateral and no reservation, and it has lost no token over it.
"""

from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.devnet.town import Town, open_town
from codex.market import StorageRequest
from codex.testing.contracts import CONTENT, TERMS, buy, free, offer, stands, until

pytestmark = pytest.mark.embedded_chain

SLOTS = 3
SHORT = evolve(TERMS, duration=130, expiry=120)


class Cut(trio.abc.Instrument):
    """Ends all sales when their tasks have ended so many steps together, as a stop of the node does."""

    def __init__(self, steps: int) -> None:
        self.struck = trio.Event()
        self._left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.startswith("sale ") and task.parent_nursery is not None:
            self._left -= 1
            if self._left == 0:
                task.parent_nursery.cancel_scope.cancel()
                self.struck.set()


async def sell_and_stop(town: Town, request: StorageRequest, steps: int) -> bool:
    """Let bob sell slots of a request like this one, and stop him after so many steps; whether there were so
    many.
    """
    alice, bob = town["alice"], town["bob"]
    before = await town.tokens(bob.market.account)
    bought = await alice.market.parts.purchasing.buy(evolve(request, nonce=bytes(32)))

    async def settled() -> bool:
        purchase = await alice.market.purchase(bought.id)
        return purchase is not None and purchase.over

    async def ended() -> None:
        await until(settled)
        await until(partial(free, bob))
        nursery.cancel_scope.cancel()

    cut = Cut(steps)
    trio.lowlevel.add_instrument(cut)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ended)
        await cut.struck.wait()
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(cut)
    await town.stop("bob")
    bob = await town.add("bob")
    await until(settled)
    await until(partial(free, bob))
    [there] = await bob.market.availabilities()
    assert await bob.market.reservations(there.id) == []
    assert await bob.market.slots() == []
    assert await town.tokens(bob.market.account) >= before
    return cut.struck.is_set()


async def stop_at(directory: Path, first: int, apart: int) -> int:
    """Stop bob's sales after `first` steps, and in each run `apart` steps later; how many runs there were."""
    async with open_town(directory, "alice", "bob") as town:
        alice = town["alice"]
        cid = await alice.store(CONTENT)
        id = await buy(alice, cid, SHORT)
        await stands(alice, id, "cancelled", settled=True)
        purchase = await alice.market.purchase(id)
        assert purchase is not None
        assert purchase.request is not None
        await offer(town["bob"], SLOTS)
        runs = 0
        while await sell_and_stop(town, purchase.request, first + runs * apart):
            runs += 1
        return runs


async def test_a_sale_may_be_stopped_here_and_there(tmp_path: Path, autojump_clock: MockClock) -> None:
    assert await stop_at(tmp_path, 40, 140) >= 3


@pytest.mark.soak
@pytest.mark.parametrize("first", range(3, 39, 6))
async def test_a_sale_may_be_stopped_anywhere(tmp_path: Path, autojump_clock: MockClock, first: int) -> None:
    """Three sales go about in step: a stop after every sixth step meets each of them at every second one."""
    assert await stop_at(tmp_path, first, 36) > 8
