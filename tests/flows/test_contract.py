"""A contract among whole nodes: alice buys 2 + 1, three hosts sell, and all have what the contract says."""

from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.devnet.town import open_town
from codex.market import SlotState
from codex.testing.contracts import COLLATERAL, CONTENT, SLOT, TERMS, buy, free, offer, stands, until

pytestmark = pytest.mark.embedded_chain

HOSTS = ("bob", "carol", "dave")


async def test_alice_buys_and_three_hosts_are_paid(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice", *HOSTS) as town:
        alice = town["alice"]
        accounts = {name: town[name].market.account for name in ("alice", *HOSTS)}
        before = {name: await town.tokens(account) for name, account in accounts.items()}
        for name in HOSTS:
            await offer(town[name])
        cid = await alice.store(CONTENT)
        id = await buy(alice, cid)
        await stands(alice, id, "started")
        held = {name: await town[name].market.slots() for name in HOSTS}
        assert sorted(slot.index for slots in held.values() for slot in slots) == [0, 1, 2]
        for name in HOSTS:
            (slot,) = held[name]
            assert slot.request.id == id
            assert before[name] - await town.tokens(accounts[name]) == COLLATERAL
            verdicts = [str(there.verdict) for there in await town[name].market.decisions(slot.id)]
            assert verdicts[0] == "filled"
            assert "taken" in verdicts

        # The client and its data may go: the hosts have it.
        await stands(alice, id, "finished", settled=True)
        market = alice.market.parts.marketplace
        ids = [slot.id for slots in held.values() for slot in slots]
        for name in HOSTS:
            await until(partial(free, town[name]))
        assert [await market.slot_state(slot) for slot in ids] == [SlotState.PAID] * 3
        earned = [await town.tokens(accounts[name]) - before[name] for name in HOSTS]
        assert before["alice"] - await town.tokens(accounts["alice"]) == sum(earned)
        # Each second of a slot is paid with its bytes times the price.
        assert all(0 < amount <= 600 * SLOT * 2 and amount % (SLOT * 2) == 0 for amount in earned)
        missed = [await market.missing_proofs(slot) for slot in ids]
        assert missed == [0, 0, 0]


async def test_client_and_host_come_back_and_all_is_settled(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town(tmp_path, "alice", *HOSTS) as town:
        account = {name: town[name].market.account for name in ("alice", "bob")}
        before = {name: await town.tokens(account[name]) for name in account}
        for name in HOSTS:
            await offer(town[name])
        cid = await town["alice"].store(CONTENT)
        id = await buy(town["alice"], cid)
        await stands(town["alice"], id, "submitted")
        # Whoever has asked for storage may be gone for a while, and so may who has sold it.
        await stands(town["alice"], id, "started")
        [held] = await town["bob"].market.slots()
        await town.stop("alice")
        await town.stop("bob")
        await trio.sleep(100)
        bob, alice = await town.add("bob"), await town.add("alice")

        async def proves() -> bool:
            sale = await bob.market.sale(held.id)
            return sale is not None and sale.state.value == "SaleProving"

        await until(proves)
        [purchase] = await alice.market.purchases()
        assert (purchase.id, purchase.over) == (id, False)
        await stands(alice, id, "finished", settled=True)
        await until(partial(free, bob))
        [paid] = [there for there in await bob.market.sale_history() if str(there.verdict) == "finished"]
        assert paid.slot == held.id
        earned = await town.tokens(account["bob"]) - before["bob"]
        assert 0 < earned <= 600 * SLOT * 2
        assert earned % (SLOT * 2) == 0
        assert (paid.reward, paid.returned, paid.lost) == (earned, paid.collateral, 0)
        # It is remembered when the chain has forgotten it, and after another restart.
        await town.stop("alice")
        alice = await town.add("alice")
        assert await alice.market.parts.marketplace.my_requests() == ()
        [purchase] = await alice.market.purchases()
        assert (purchase.state.value, purchase.over) == ("finished", True)


@pytest.mark.soak
async def test_a_lost_slot_is_repaired_by_another_host(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice", *HOSTS) as town:
        await town.add("victor", validator=True)
        for name in HOSTS:
            await offer(town[name])
        alice = town["alice"]
        cid = await alice.store(CONTENT)
        id = await buy(alice, cid, evolve(TERMS, duration=900))
        await stands(alice, id, "started")
        market = alice.market.parts.marketplace
        [lost] = await town["bob"].market.slots()
        await town.stop("bob")
        # The client's data go, too: what is lost must come back from the other slots.
        for stored in [stored async for stored, _ in alice.iterate_manifests()]:
            await alice.delete(stored)
        erin = await town.add("erin")
        account = erin.market.account
        before = await town.tokens(account)
        await offer(erin)

        async def repaired() -> bool:
            return await market.get_host(lost.id) == account

        await until(repaired)
        validated = await town["victor"].market.validated()
        assert validated is not None
        assert validated.marked == 2
        assert before - await town.tokens(account) == COLLATERAL - COLLATERAL // 10  # a tenth less
        [held] = await erin.market.slots()
        assert held == lost
        bob = await town.add("bob")
        await stands(alice, id, "finished", settled=True)
        await until(partial(free, erin))
        assert await market.slot_state(lost.id) is SlotState.PAID
        # Who lost it has back the room, and not the collateral.
        [offered] = await bob.market.availabilities()
        assert (offered.free, offered.remaining, offered.lost) == (SLOT, 0, COLLATERAL)
        assert (await bob.space()).quota_used == 0
        verdicts = [str(there.verdict) for there in await bob.market.sale_history()]
        assert "lost" in verdicts
