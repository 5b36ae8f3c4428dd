"""Buying, selling and validating on the embedded chain, by its contracts, on virtual time.

Alice buys, bob and carol sell, dave repairs what bob has lost, and everybody has what the contract says, to
the unit.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.devnet import Devnet, open_devnet
from codex.devnet.deploying import CONFIG
from codex.devnet.town import way_to
from codex.market import RequestId, SlotId, SlotState
from codex.purchasing import Purchase, Purchasing
from codex.purchasing import State as Purchased
from codex.runtime import VirtualClock
from codex.sales import State
from codex.testing.chain_people import Person, open_person
from codex.testing.hosts import BLOCK, Host, a_request, open_client_at, open_host_at, open_validator_at
from codex.validation import Share

pytestmark = pytest.mark.embedded_chain

NOW = 1_700_000_000
SIZE = 4 * BLOCK
CLOCK = VirtualClock(NOW)
FAST = evolve(CONFIG, proofs=evolve(CONFIG.proofs, period=60, downtime=32))
NAMES = {"alice": 1, "bob": 2, "carol": 3, "dave": 4, "victor": 5}


class Town:
    """The chain, and people's ways to it."""

    def __init__(self, devnet: Devnet, directory: Path) -> None:
        self.devnet = devnet
        self.directory = directory

    @asynccontextmanager
    async def person(self, name: str) -> AsyncIterator[Person]:
        provider = way_to(self.devnet.chain)
        key = self.devnet.accounts[NAMES[name]].key
        market = self.devnet.marketplace
        async with open_person(provider, self.directory, key, market, clock=CLOCK) as person:
            yield person

    @asynccontextmanager
    async def host(self, name: str) -> AsyncIterator[Host]:
        async with (
            self.person(name) as person,
            open_host_at(person.marketplace, person.chain, self.directory / name, name, clock=CLOCK) as host,
        ):
            yield host


@asynccontextmanager
async def open_town(directory: Path) -> AsyncIterator[Town]:
    async with open_devnet(port=None, clock=CLOCK, block_time=2, config=FAST) as devnet:
        yield Town(devnet, directory)


async def tokens(person: Person | Host) -> int:
    door = person.marketplace if isinstance(person, Person) else person.door
    return int(await (await door.token()).balance_of())


async def moved_to(host: Host, slot: SlotId, *states: State) -> None:
    with trio.fail_after(2000):
        while True:
            view = await host.sales.sale(slot)
            if view is not None and view.state in states:
                return
            await trio.sleep(2)


async def reached(purchasing: Purchasing, id: RequestId, stands: Callable[[Purchase], bool]) -> Purchase:
    """Wait until a purchase stands as it should."""
    with trio.fail_after(3000):
        while True:
            purchase = await purchasing.purchase(id)
            if purchase is not None and stands(purchase):
                return purchase
            await trio.sleep(2)


async def test_a_contract_with_a_loss_and_a_repair(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with (
        open_town(tmp_path) as town,
        town.person("alice") as alice,
        town.host("carol") as carol,
        open_client_at(
            alice.marketplace, alice.chain, tmp_path / "alice", "alice", clock=CLOCK
        ) as purchasing,
        town.person("victor") as victor,
        open_validator_at(victor.marketplace, victor.chain, tmp_path / "victor", Share(most=0)) as validation,
    ):
        before = await tokens(alice), await tokens(carol), await tokens(victor)
        async with town.host("bob") as bob:
            await bob.offer(total=SIZE)
            await carol.offer(total=SIZE)
            purchase = await purchasing.buy(a_request(slots=2, duration=1000, expiry=300, loss=1))
            assert purchase.request is not None
            slots = [purchase.request.slot(index).id for index in range(2)]
            await reached(purchasing, purchase.id, lambda there: there.state is Purchased.STARTED)
            (held,) = [view.slot for view in await carol.sales.sales()]
            (lost,) = [slot for slot in slots if slot != held]
        # Bob is gone. Dave has room, and waits for what others lose.
        async with town.host("dave") as dave:
            dave_before = await tokens(dave)
            await dave.offer()
            await moved_to(dave, lost, State.PROVING)
            assert dave.duties.repaired == [lost]
            assert await tokens(dave) == dave_before - SIZE + SIZE // 10
            there = await reached(purchasing, purchase.id, lambda there: there.over)
            await trio.sleep(30)
            assert there.state is Purchased.FINISHED
            assert [await alice.marketplace.slot_state(slot) for slot in slots] == [SlotState.PAID] * 2
            assert await carol.untouched()
            assert await dave.untouched()
            earned = [await tokens(carol) - before[1], await tokens(dave) - dave_before]
            # What alice pays is what the hosts have earned, but for the discount that dave had on top.
            assert before[0] - await tokens(alice) == sum(earned) - SIZE // 10
            assert all(amount % SIZE == 0 for amount in (earned[0], earned[1] - SIZE // 10))
        marked = (await validation.validated()).marked
        assert await tokens(victor) - before[2] == marked * (SIZE * 20 // 100 * 20 // 100)
        assert marked == 2
        async with town.host("bob") as bob:
            await trio.sleep(60)
            assert await bob.untouched()
            (offer,) = await bob.sales.availabilities()
            assert offer.lost == SIZE
            assert (await bob.sales.decisions(lost))[0].verdict == "lost"


async def test_a_contract_that_is_not_filled_and_one_that_fails(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with (
        open_town(tmp_path) as town,
        town.person("alice") as alice,
        town.host("bob") as bob,
        open_client_at(
            alice.marketplace, alice.chain, tmp_path / "alice", "alice", clock=CLOCK
        ) as purchasing,
        town.person("victor") as victor,
        open_validator_at(victor.marketplace, victor.chain, tmp_path / "victor", Share(most=0)),
    ):
        await bob.offer(total=SIZE)
        before = await tokens(alice), await tokens(bob)
        # One of two slots: paid until the expiry, and not a token longer.
        half = await purchasing.buy(a_request(slots=2, duration=1000, expiry=200))
        there = await reached(purchasing, half.id, lambda there: there.over)
        assert there.error == "Purchase cancelled due to timeout"
        await trio.sleep(20)
        assert await bob.untouched()
        earned = await tokens(bob) - before[1]
        assert earned == before[0] - await tokens(alice) > 0
        assert earned % SIZE == 0
        assert earned < 200 * SIZE
        # Two hosts of whom one goes: the other loses its collateral, and the client nothing.
        async with town.host("carol") as carol:
            await carol.offer(total=SIZE)
            lost = await purchasing.buy(a_request(slots=2, duration=3000, expiry=200))
            await reached(purchasing, lost.id, lambda there: there.state is Purchased.STARTED)
        there = await reached(purchasing, lost.id, lambda there: there.over)
        assert there.error == "Purchase failed"
        await trio.sleep(20)
        assert await bob.untouched()
        assert (await bob.sales.availabilities())[0].lost == SIZE
        assert await tokens(bob) == before[1] + earned - SIZE
        assert await tokens(alice) == before[0] - earned
        assert await bob.door.my_slots() == ()
