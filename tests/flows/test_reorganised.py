"""The chain replaces its last three blocks around a request, a filling and a proof: whether what was in them
comes again by itself or is lost, everybody has in the end what the contract says.
"""

from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.devnet.town import Town, open_town
from codex.sales import ProofSent, SaleMoved, State
from codex.testing.contracts import CONTENT, TERMS, buy, free, offer, stands, until

pytestmark = pytest.mark.embedded_chain

DEPTH = 3


def take_back(town: Town, *, lose: bool) -> int:
    """Replace the last blocks; how many transactions were in them."""
    chain = town.devnet.chain
    number = chain.latest.number
    found = [
        receipt.transaction.hash
        for at in range(number - DEPTH + 1, number + 1)
        for receipt in chain.ledger.block(at).receipts
    ]
    chain.reorganise(DEPTH, without=found if lose else ())
    return len(found)


async def tokens(town: Town) -> dict[str, int]:
    return {name: await town.tokens(town[name].market.account) for name in ("alice", "bob")}


@pytest.mark.parametrize("lose", [pytest.param(False, marks=pytest.mark.soak), True])
async def test_three_blocks_are_replaced_around_request_filling_and_proof(
    tmp_path: Path, autojump_clock: MockClock, lose: bool
) -> None:
    async with open_town(tmp_path, "alice", "bob") as town:
        alice, bob = town["alice"], town["bob"]
        before = await tokens(town)
        cid = await alice.store(CONTENT)
        id = await buy(alice, cid, evolve(TERMS, duration=500))
        await stands(alice, id, "submitted")
        assert take_back(town, lose=lose)
        market = alice.market.parts.marketplace
        await stands(alice, id, "submitted")
        async with bob.market.parts.sales.events(1000) as events:
            await offer(bob, 3)
            # As soon as the first is filled: in those blocks there are reservations and fillings.
            async for event in events:
                if isinstance(event, SaleMoved) and event.state is State.FILLED:
                    break
            assert take_back(town, lose=lose)
            await stands(alice, id, "started")
            proved = 0
            async for event in events:
                proved += isinstance(event, ProofSent)
                if proved == 3:
                    break
            assert take_back(town, lose=lose)
        await stands(alice, id, "finished", settled=True)
        await until(partial(free, bob))
        after = await tokens(town)
        assert after["bob"] - before["bob"] == before["alice"] - after["alice"] > 0
        purchase = await alice.market.purchase(id)
        assert purchase is not None
        assert purchase.request is not None
        assert [await market.missing_proofs(purchase.request.slot(index).id) for index in range(3)] == [0] * 3
        assert [purchase.id for purchase in await alice.market.purchases()] == [id]
