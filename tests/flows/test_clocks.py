"""A host whose machine has another time than the chain: what it holds is kept until the sale is over,
whatever the machine's clock says of the request's end.
"""

from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.data import BLOCK_SIZE
from codex.devnet.town import open_town
from codex.testing.content import noise
from codex.testing.contracts import TERMS, buy, let_go, offer, stands, until

pytestmark = pytest.mark.embedded_chain

BLOCK_TIME = 4.0
LATE = -1e6
"""What the chain's clock is set forward by: its time stands still then, but for a second in each block."""


@pytest.mark.parametrize("jump", [False, True], ids=["ahead from the start", "set forward in the contract"])
async def test_slots_outlast_the_end_that_the_machine_sees(
    tmp_path: Path, autojump_clock: MockClock, jump: bool
) -> None:
    async with open_town(tmp_path, "alice", "bob", block_time=BLOCK_TIME) as town:
        alice, bob, chain = town["alice"], town["bob"], town.devnet.chain
        if not jump:
            chain.lead = LATE
        await offer(bob, 3)
        id = await buy(alice, await alice.store(noise(4 * BLOCK_SIZE)), evolve(TERMS, duration=600))
        await stands(alice, id, "started", every=10)
        for stored in [cid async for cid, _ in alice.iterate_manifests()]:
            await alice.delete(stored)  # nobody has the rows but their hosts
        held = (await bob.space()).quota_used
        assert held
        if jump:
            await trio.sleep(60)
            chain.lead = LATE
        await trio.sleep(1500)  # the machine is past the request's end, and the chain is not
        [purchase] = await alice.market.purchases()
        assert purchase.state.value == "started"
        assert (await bob.space()).quota_used == held
        await stands(alice, id, "finished", settled=True, seconds=4000, every=10)
        await until(lambda: let_go(bob), every=10)
        assert [there.lost for there in await bob.market.availabilities()] == [0]
