"""Hosts that prove late, that miss proofs, and that lose their slots: what it costs, to the unit, and that
the data outlive each of their hosts.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.codec import Cid
from codex.devnet.town import open_town
from codex.market import SlotState, slashing, validator_reward
from codex.proofs import PlaceholderProver
from codex.sales import ProofMissed, ProofSent, SlotLost
from codex.testing.contracts import (
    COLLATERAL,
    CONTENT,
    TERMS,
    buy,
    free,
    let_go,
    offer,
    stands,
    until,
)

pytestmark = pytest.mark.embedded_chain


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """How many seconds a proof takes, by the index of the slot; none where nothing is said."""
    taken: dict[int, float] = {}
    prove = PlaceholderProver.prove

    async def slowly(self: PlaceholderProver, inputs: Any) -> Any:
        await trio.sleep(taken.get(inputs.slot_index, 0))
        return await prove(self, inputs)

    monkeypatch.setattr(PlaceholderProver, "prove", slowly)
    return taken


async def test_a_late_proof_a_missed_one_and_a_slot_that_is_taken_away(
    tmp_path: Path, autojump_clock: MockClock, seconds: dict[int, float]
) -> None:
    async with open_town(tmp_path, "alice", "bob", "carol") as town:
        await town.add("victor", validator=True)
        alice, bob, carol = (town[name] for name in ("alice", "bob", "carol"))
        before = {name: await town.tokens(town[name].market.account) for name in town.accounts}
        await offer(bob, 3)
        id = await buy(alice, await alice.store(CONTENT), evolve(TERMS, duration=1080))
        await stands(alice, id, "started")
        market = alice.market.parts.marketplace
        purchase = await alice.market.purchase(id)
        assert purchase is not None
        assert purchase.request is not None
        ask, slot = purchase.request.ask, purchase.request.slot(0)
        config = await alice.market.configuration()
        cost = slashing(ask, config.collateral)
        assert cost == COLLATERAL // 5
        async with bob.market.parts.sales.events(1000) as events:

            async def next_of(kind: type[ProofSent] | type[ProofMissed] | type[SlotLost]) -> Any:
                with trio.fail_after(600):
                    while True:
                        event = await anext(events)
                        if isinstance(event, kind) and event.slot == slot.id:
                            return event

            seconds[0] = 50
            late = await next_of(ProofSent)
            while late.spare > 10:
                late = await next_of(ProofSent)
            assert await market.missing_proofs(slot.id) == 0
            # What is missed in a period of downtime is not marked. The second period after such a one is
            # often such a one, too, and the third is not.
            while not await market.missing_proofs(slot.id):
                seconds[0] = 70
                await next_of(ProofMissed)
                seconds[0] = 0
                await next_of(ProofSent)
                await next_of(ProofSent)
            assert await market.missing_proofs(slot.id) == 1
            assert await market.current_collateral(slot.id) == COLLATERAL - cost
            seconds[0] = 1000
            await next_of(SlotLost)
        assert await market.slot_state(slot.id) is SlotState.REPAIR
        seconds.clear()
        await offer(carol)

        async def repaired() -> bool:
            return await market.get_host(slot.id) == carol.market.account

        await until(repaired)
        await stands(alice, id, "finished", settled=True)
        await until(partial(let_go, bob))
        await until(partial(free, carol))
        [there] = await bob.market.availabilities()
        assert (there.lost, there.remaining) == (COLLATERAL, 2 * COLLATERAL)
        after = {name: await town.tokens(town[name].market.account) for name in town.accounts}
        gained = {name: after[name] - before[name] for name in before}
        # The validator gets a part of what each mark costs; who repairs pays a tenth less than it gets back.
        assert gained["victor"] == 2 * validator_reward(ask, config.collateral)
        assert gained["carol"] > COLLATERAL // 10
        assert -gained["alice"] == gained["bob"] + COLLATERAL + gained["carol"] - COLLATERAL // 10


@pytest.mark.soak
async def test_every_host_is_lost_once_and_the_data_live_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    hosts = ("bob", "carol", "dave", "erin")
    async with open_town(tmp_path, "alice", *hosts) as town:
        await town.add("victor", validator=True)
        for name in hosts[:3]:
            await offer(town[name])
        alice = town["alice"]
        id = await buy(alice, await alice.store(CONTENT), evolve(TERMS, duration=3000))
        await stands(alice, id, "started")
        purchase = await alice.market.purchase(id)
        assert purchase is not None
        assert purchase.request is not None
        slots = [purchase.request.slot(index).id for index in range(3)]
        for stored in [stored async for stored, _ in alice.iterate_manifests()]:
            await alice.delete(stored)
        market = alice.market.parts.marketplace
        await offer(town["erin"])
        for victim in hosts:
            account = town[victim].market.account
            [lost] = [slot for slot in slots if await market.get_host(slot) == account]
            await town.stop(victim)

            async def another(lost: Any = lost, account: Any = account) -> bool:
                return await market.get_host(lost) not in (None, account)

            await until(another)
            back = await town.add(victim)
            await until(partial(let_go, back))
            # What it has lost is gone from what it may stake; it offers anew, and repairs the next one.
            [there] = await back.market.availabilities()
            assert (there.lost, there.remaining) == (COLLATERAL, 0)
            await back.market.change_availability(there.id, collateral=COLLATERAL)
        async with alice.retrieve(Cid.from_bytes(purchase.request.content.cid)) as retrieval:
            assert b"".join([piece async for piece in retrieval]) == CONTENT
        await stands(alice, id, "finished", settled=True, seconds=4000)
        for name in hosts:
            await until(partial(free, town[name]))
        assert [await market.slot_state(slot) for slot in slots] == [SlotState.PAID] * 3
        validated = await town["victor"].market.validated()
        assert validated is not None
        assert validated.marked == 2 * len(hosts)
