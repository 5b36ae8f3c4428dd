"""A host with more slots to fill than agents: it fills them one after the other, and holds all of them."""

from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.data import BLOCK_SIZE
from codex.devnet.town import open_town
from codex.market import SlotId
from codex.sales import SaleMoved, State
from codex.sales.states import SETTLED
from codex.sales.trade import WORKERS
from codex.testing.content import noise
from codex.testing.contracts import TERMS, buy, free, offer, stands, until

pytestmark = pytest.mark.embedded_chain

SLOTS = 7


async def test_more_slots_than_agents(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice", "bob") as town:
        alice, bob = town["alice"], town["bob"]
        before = [await town.tokens(node.market.account) for node in (alice, bob)]
        cid = await alice.store(noise((SLOTS - 2) * BLOCK_SIZE))
        async with bob.market.parts.sales.events(1000) as events:
            await offer(bob, SLOTS)
            id = await buy(alice, cid, evolve(TERMS, nodes=SLOTS, tolerance=2, duration=260, expiry=250))
            at_work: set[SlotId] = set()
            held: set[SlotId] = set()
            most = 0
            async for event in events:
                if isinstance(event, SaleMoved):
                    if event.state is State.FILLED:
                        held.add(event.slot)
                    if event.state in SETTLED:
                        at_work.discard(event.slot)
                    else:
                        at_work.add(event.slot)
                    most = max(most, len(at_work))
                if len(held) == SLOTS:
                    break
        assert most == WORKERS
        await stands(alice, id, "started")
        assert len(await bob.market.slots()) == SLOTS
        await stands(alice, id, "finished", settled=True)
        await until(partial(free, bob))
        after = [await town.tokens(node.market.account) for node in (alice, bob)]
        assert before[0] - after[0] == after[1] - before[1] > 0
