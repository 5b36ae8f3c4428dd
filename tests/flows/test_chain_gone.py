"""The chain is gone for an hour for one of the nodes, in the states in which it matters: nothing is given up,
nothing is lost, and work goes on when it is back. And providers that answer with errors now and then.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.devnet.town import FAST, Town, open_town
from codex.sales import SaleMoved, State
from codex.testing.chain_provider import ProviderError
from codex.testing.contracts import CONTENT, TERMS, buy, free, offer, stands, until

pytestmark = pytest.mark.embedded_chain

HOUR = 3600
BLOCK_TIME = 20.0
SLOW = evolve(FAST, proofs=evolve(FAST.proofs, period=600, timeout=300))
"""Few proofs in hours, for they are what takes the time here."""
LONG = evolve(TERMS, duration=5000, expiry=4500)


async def gone(town: Town, name: str, seconds: float = HOUR) -> None:
    """Let a node have no chain for so long."""
    provider = town.providers[name]
    provider.go_down()
    await trio.sleep(seconds)
    provider.up = True


async def paid(town: Town, before: dict[str, int]) -> None:
    """Bob has let go of everything, and earned what alice has spent."""
    await until(partial(free, town["bob"]))
    spent = before["alice"] - await town.tokens(town["alice"].market.account)
    assert await town.tokens(town["bob"].market.account) - before["bob"] == spent > 0


async def tokens(town: Town) -> dict[str, int]:
    return {name: await town.tokens(town[name].market.account) for name in ("alice", "bob")}


async def moved(
    town: Town, state: State, *, task_status: trio.TaskStatus[Callable[[], Awaitable[None]]]
) -> None:
    """Wait until a sale of bob's comes to a state; begun when it listens, with what to wait by."""
    reached = trio.Event()
    async with town["bob"].market.parts.sales.events(1000) as events:
        task_status.started(reached.wait)
        async for event in events:
            if isinstance(event, SaleMoved) and event.state is state:
                reached.set()
                return


@pytest.mark.parametrize(
    ("state", "slots"),
    [
        # More slots than agents: half of them wait in the queue.
        pytest.param(State.SLOT_RESERVING, 6, marks=pytest.mark.soak),
        pytest.param(State.DOWNLOADING, 3, marks=pytest.mark.soak),
        (State.PROVING, 3),
        pytest.param(State.PAYOUT, 3, marks=pytest.mark.soak),
    ],
)
async def test_the_chain_of_a_host_is_gone_for_an_hour(
    tmp_path: Path, autojump_clock: MockClock, state: State, slots: int
) -> None:
    async with (
        open_town(tmp_path, "alice", "bob", block_time=BLOCK_TIME, config=SLOW) as town,
        trio.open_nursery() as nursery,
    ):
        alice, bob = town["alice"], town["bob"]
        before = await tokens(town)
        terms = evolve(LONG, nodes=slots, tolerance=slots // 3)
        await offer(bob, slots)
        reached = await nursery.start(partial(moved, town, state))
        id = await buy(alice, await alice.store(CONTENT), terms)
        await reached()
        await gone(town, "bob")
        if state is not State.PAYOUT:
            assert len(await bob.market.sales()) == min(slots, 3)
        await stands(alice, id, "finished", settled=True, seconds=6000)
        await paid(town, before)


@pytest.mark.parametrize("state", [pytest.param("submitted", marks=pytest.mark.soak), "started"])
async def test_the_chain_of_a_client_is_gone_for_an_hour(
    tmp_path: Path, autojump_clock: MockClock, state: str
) -> None:
    async with open_town(tmp_path, "alice", "bob", block_time=BLOCK_TIME, config=SLOW) as town:
        alice, bob = town["alice"], town["bob"]
        before = await tokens(town)
        cid = await alice.store(CONTENT)
        if state == "started":
            await offer(bob, 3)
        # Over, when the chain is back.
        id = await buy(alice, cid, evolve(LONG, duration=1000, expiry=500))
        await stands(alice, id, state)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gone, town, "alice")
            if state == "submitted":
                await offer(bob, 3)
        await stands(alice, id, "finished", settled=True)
        await paid(town, before)


async def test_providers_that_answer_with_errors_now_and_then(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town(tmp_path, "alice", "bob") as town:
        before = await tokens(town)
        await offer(town["bob"], 3)
        alice = town["alice"]
        cid = await alice.store(CONTENT)
        busy = ProviderError(-32005, "too many requests")
        broken = ProviderError(-32603, "internal error")
        for provider in town.providers.values():
            for nth, method in enumerate(
                (
                    "eth_call",
                    "eth_getLogs",
                    "eth_getBlockByNumber",
                    "eth_getTransactionReceipt",
                    "eth_getTransactionCount",
                    "eth_estimateGas",
                    "eth_getBalance",
                    "eth_sendRawTransaction",
                )
            ):
                provider.fail(method, *[*[None] * (5 + nth), busy, *[None] * (9 + nth), broken] * 100)
        id = await buy(alice, cid, evolve(TERMS, duration=300, expiry=240))
        await stands(alice, id, "finished", settled=True)
        for provider in town.providers.values():
            provider.mend()
        await paid(town, before)
