"""Whole nodes that are stopped in each state of a sale and of a purchase: the next life goes on, and in the
end everybody has what the contract says.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.codec import Cid
from codex.devnet.town import Town, open_town
from codex.market import RequestId, SlotState
from codex.purchasing import State as Purchased
from codex.purchasing.agent import Agent as PurchaseAgent
from codex.sales import State
from codex.sales.sale import Sale
from codex.sales.standing import DEPTH
from codex.sales.states import Event
from codex.sales.steps import STEPS
from codex.sales.trade import MARK
from codex.testing.contracts import COLLATERAL, CONTENT, SLOT, TERMS, buy, free, let_go, offer, stands, until

pytestmark = pytest.mark.embedded_chain

SHORT = evolve(TERMS, duration=300, expiry=240)
SLOTS = 3

# -- the host

ON_THE_WAY = (
    State.PREPARING,
    State.SLOT_RESERVING,
    State.UNKNOWN,
    State.DOWNLOADING,
    State.INITIAL_PROVING,
    State.FILLING,
    State.FILLED,
    State.PROVING,
    State.PAYOUT,
    State.FINISHED,
)
"""The states of a sale that goes well, in order, and that of one which is taken up again."""


class Stage:
    """The steps of sales: the next one of the state that is waited for does not end, and nobody waits for it
    in vain.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._wanted: State | None = None
        self._reached = trio.Event()
        for state, step in list(STEPS.items()):
            monkeypatch.setitem(STEPS, state, partial(self._step, state, step))

    def want(self, state: State) -> None:
        """Hold the next sale that comes to a state."""
        self._wanted, self._reached = state, trio.Event()

    async def reached(self) -> None:
        with trio.fail_after(5000):
            await self._reached.wait()

    async def _step(self, state: State, step: Callable[[Sale], Awaitable[Event]], sale: Sale) -> Event:
        if state is self._wanted:
            self._reached.set()
            await trio.sleep_forever()
        return await step(sale)

    def let_go(self) -> None:
        self._wanted = None


async def restart(town: Town, name: str) -> None:
    await town.stop(name)
    await town.add(name)


async def settled(town: Town, id: RequestId, before: dict[str, int], *, lost: int = 0) -> None:
    """All slots are paid, but for those that were lost; and what alice has paid bob has earned."""
    alice, bob = town["alice"], town["bob"]
    await until(partial(let_go, bob))
    spent = before["alice"] - await town.tokens(alice.market.account)
    earned = await town.tokens(bob.market.account) - before["bob"]
    assert earned == spent - lost * COLLATERAL
    assert await bob.market.slots() == []


async def tokens(town: Town) -> dict[str, int]:
    return {name: await town.tokens(town[name].market.account) for name in ("alice", "bob")}


async def test_a_host_that_restarts_in_each_state_of_a_sale_is_paid(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(monkeypatch)
    async with open_town(tmp_path, "alice", "bob") as town:
        before = await tokens(town)
        await offer(town["bob"], SLOTS)
        cid = await town["alice"].store(CONTENT)
        stage.want(ON_THE_WAY[0])
        id = await buy(town["alice"], cid, evolve(SHORT, duration=500))
        for following in (*ON_THE_WAY[1:], None):
            await stage.reached()
            if following is None:
                stage.let_go()
            else:
                stage.want(following)
            await restart(town, "bob")
        await stands(town["alice"], id, "finished", settled=True)
        await settled(town, id, before)
        assert await free(town["bob"])
        purchase = await town["alice"].market.purchase(id)
        assert purchase is not None
        assert purchase.request is not None
        market = town["alice"].market.parts.marketplace
        for index in range(SLOTS):
            assert await market.slot_state(purchase.request.slot(index).id) is SlotState.PAID


async def give_up(town: Town, slots: int) -> None:
    """Have bob give slots up, which costs him their collateral."""
    bob = town["bob"].market
    for slot in (await bob.slots())[:slots]:
        await bob.parts.marketplace.free_slot(slot.id)


async def begin(town: Town, cid: Cid, stage: Stage, state: State) -> tuple[RequestId, int]:
    """Let a sale come to a state off the way; the request, and how many slots of it bob loses."""
    bob = town["bob"]
    match state:
        case State.IGNORED:
            # There are no tokens for the collateral.
            stage.want(state)
            token = await bob.market.parts.marketplace.token()
            await token.transfer(town["alice"].market.account, await token.balance_of())
            return await buy(town["alice"], cid, SHORT), 0
        case State.CANCELLED:
            [there] = await bob.market.availabilities()
            await bob.market.change_availability(there.id, total=(SLOTS - 1) * SLOT)
            id = await buy(town["alice"], cid, SHORT)
            stage.want(state)
            return id, 0
    id = await buy(town["alice"], cid, SHORT)
    await stands(town["alice"], id, "started")
    stage.want(state)
    lost = 2 if state is State.FAILED else 1
    await give_up(town, lost)
    return id, SLOTS if state is State.FAILED else lost


OFF_THE_WAY = (State.FAILED, State.CANCELLED, State.ERRORED, State.IGNORED)


@pytest.mark.parametrize("state", OFF_THE_WAY)
async def test_a_host_that_restarts_where_a_sale_goes_wrong_has_back_what_is_its_own(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    stage = Stage(monkeypatch)
    async with open_town(tmp_path, "alice", "bob") as town:
        await offer(town["bob"], SLOTS)
        cid = await town["alice"].store(CONTENT)
        before = await tokens(town)
        id, lost = await begin(town, cid, stage, state)
        await stage.reached()
        stage.let_go()
        await restart(town, "bob")
        ends = {State.FAILED: "errored", State.ERRORED: "finished"}.get(state, "cancelled")
        await stands(town["alice"], id, ends, settled=True)
        if state is State.IGNORED:
            before = {"alice": before["alice"] + before["bob"], "bob": 0}
        await settled(town, id, before, lost=lost)
        [there] = await town["bob"].market.availabilities()
        assert there.lost == lost * COLLATERAL


async def test_a_restart_reads_no_more_of_the_chain_than_may_matter(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    def read(since: int) -> list[int]:
        """Where scans of the chain began, of all that was asked since."""
        asked = town.providers["bob"].asked[since:]
        scans = [params[0] for method, params in asked if method == "eth_getLogs"]
        return [int(scan["fromBlock"], 16) for scan in scans if "fromBlock" in scan]

    async with open_town(tmp_path, "alice", "bob") as town:
        town.devnet.chain.mine(1000)
        await trio.sleep(100)
        assert min(read(0)) == 0, "as long as nothing is known"
        before = len(town.providers["bob"].asked)
        left = town.devnet.chain.latest.number
        await town.stop("bob")
        await offer(town["alice"], SLOTS)
        id = await buy(town["alice"], await town["alice"].store(CONTENT), SHORT)
        await stands(town["alice"], id, "started")
        await town.add("bob")
        await trio.sleep(20)
        assert left - DEPTH - MARK <= min(read(before)) <= left, "and what was told meanwhile was heard"


def test_a_host_is_restarted_in_every_state() -> None:
    assert {*ON_THE_WAY, *OFF_THE_WAY} == set(State) - {State.CLEANED_UP}, "nobody is in the last one"


# -- the client


class Desk:
    """The purchases: the next one that is to do something in the state that is waited for does not do it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._wanted: Purchased | None = None
        self._reached = trio.Event()
        for name in ("_step", "_settle"):
            monkeypatch.setattr(PurchaseAgent, name, self._held(getattr(PurchaseAgent, name)))

    def want(self, state: Purchased | None) -> None:
        """Hold the next purchase that comes to a state; None for no more."""
        self._wanted, self._reached = state, trio.Event()

    async def reached(self) -> None:
        with trio.fail_after(5000):
            await self._reached.wait()

    def _held(
        self, work: Callable[[PurchaseAgent], Awaitable[object]]
    ) -> Callable[[PurchaseAgent], Awaitable[object]]:
        async def held(agent: PurchaseAgent) -> object:
            if agent.state is self._wanted:
                self._reached.set()
                await trio.sleep_forever()
            return await work(agent)

        return held


BOUGHT = (Purchased.SUBMITTED, Purchased.UNKNOWN, Purchased.STARTED, Purchased.FINISHED)
"""The states of a purchase that goes well, once it is sent, and that of one which is taken up again."""
NOT_BOUGHT = (Purchased.PENDING, Purchased.CANCELLED, Purchased.FAILED)
ENDED = (Purchased.ERRORED,)
"""Nothing is done any more in it."""


async def test_a_client_that_restarts_in_each_state_of_a_purchase_has_its_change(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(monkeypatch)
    async with open_town(tmp_path, "bob", "alice") as town:
        before = await tokens(town)
        cid = await town["alice"].store(CONTENT)
        desk.want(BOUGHT[0])
        id = await buy(town["alice"], cid, SHORT)
        for state, following in zip(BOUGHT, (*BOUGHT[1:], None), strict=True):
            await desk.reached()
            if state is Purchased.SUBMITTED:
                await offer(town["bob"], SLOTS)
            desk.want(following)
            await restart(town, "alice")
        await stands(town["alice"], id, "finished", settled=True)
        await settled(town, id, before)
        await restart(town, "alice")
        [purchase] = await town["alice"].market.purchases()
        assert (purchase.id, purchase.state, purchase.over) == (id, Purchased.FINISHED, True)


@pytest.mark.parametrize("state", NOT_BOUGHT)
async def test_a_client_that_restarts_where_a_purchase_goes_wrong_has_everything_back(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, state: Purchased
) -> None:
    desk = Desk(monkeypatch)
    async with open_town(tmp_path, "bob", "alice") as town:
        cid = await town["alice"].store(CONTENT)
        before = await tokens(town)
        if state is Purchased.FAILED:
            await offer(town["bob"], SLOTS)
        desk.want(state)
        id = await buy(town["alice"], cid, SHORT)
        if state is Purchased.FAILED:
            await stands(town["alice"], id, "started")
            await give_up(town, 2)
        await desk.reached()
        desk.want(None)
        await restart(town, "alice")
        ends = "errored" if state is Purchased.FAILED else "cancelled"
        await stands(town["alice"], id, ends, settled=True)
        assert (await tokens(town))["alice"] == before["alice"]
        await restart(town, "alice")
        [purchase] = await town["alice"].market.purchases()
        assert (purchase.id, purchase.over) == (id, True)
        said = {
            Purchased.PENDING: "Purchase cancelled due to timeout",
            Purchased.CANCELLED: "Purchase cancelled due to timeout",
            Purchased.FAILED: "Purchase failed",
        }
        assert said[state] in (purchase.error or "")


async def test_a_request_that_is_on_its_way_when_the_client_stops_is_looked_after(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town(tmp_path, "bob", "alice", block_time=30) as town:
        before = await tokens(town)
        cid = await town["alice"].store(CONTENT)
        id = await buy(town["alice"], cid, SHORT)
        asks = bytes.fromhex("99b6da0c")  # requestStorage

        async def sent() -> bool:
            return any(waiting.data.startswith(asks) for waiting in town.devnet.chain.pool)

        await until(sent)
        await town.stop("alice")
        assert await sent(), "it is in no block yet"
        await town.add("alice")
        await stands(town["alice"], id, "submitted")
        await stands(town["alice"], id, "cancelled", settled=True)
        assert await tokens(town) == before


def test_a_client_is_restarted_in_every_state() -> None:
    assert {*BOUGHT, *NOT_BOUGHT, *ENDED} == set(Purchased)
