"""Room for sale against a simple model of it: any order of everything, with crashes and a full disk between.

The model counts bytes and tokens in plain numbers. After every step the store must say the same, and add up.
"""

import errno
import random
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from codex.errors import DiskFailed, DiskFull, InvalidInput, QuotaExceeded
from codex.store.availability import Availability, Stage
from codex.store.opening import open_repo
from codex.store.planning import Put
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks

QUOTA = 9_000
BLOCKS = make_blocks(range(6), 700)

sizes = st.integers(1, 5000)
amounts = st.integers(1, 300)


@define
class Model:
    """An availability, and what its slots have: size, left, collateral, stage."""

    total: int
    collateral: int
    lost: int = 0
    slots: dict[bytes, list[int]] = field(factory=dict)

    @property
    def free(self) -> int:
        return self.total - sum(slot[0] for slot in self.slots.values())

    @property
    def remaining(self) -> int:
        return self.collateral - self.lost - sum(slot[2] for slot in self.slots.values())


class AvailabilityMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="stall"))
        self.directory = self.home / "repo"
        self.generation = 0
        self.disk = FaultyDisk()
        self.offers: dict[bytes, Model] = {}
        self.blocks: set[int] = set()
        self.made = 0
        self.open()

    def open(self) -> None:
        self.repo = open_repo(
            self.directory, quota=QUOTA, disk=self.disk, segment_bytes=4096, ballast_bytes=0
        )

    def teardown(self) -> None:
        if hasattr(self, "repo"):
            self.repo.abandon()
            shutil.rmtree(self.home)

    def used(self) -> int:
        return 700 * len(self.blocks)

    def promised(self) -> int:
        return sum(slot[1] for offer in self.offers.values() for slot in offer.slots.values())

    def reserved(self) -> int:
        return self.promised() + sum(offer.free for offer in self.offers.values())

    def new_id(self) -> bytes:
        self.made += 1
        return self.made.to_bytes(32, "big")

    def slots(self) -> list[tuple[bytes, bytes]]:
        return [(offer, slot) for offer, model in self.offers.items() for slot in model.slots]

    @precondition(lambda self: len(self.offers) < 3)
    @rule(total=sizes, collateral=amounts)
    def put(self, total: int, collateral: int) -> None:
        id = self.new_id()
        made = Availability(
            id=id, total=total, free=total, duration=9, price=1, collateral=collateral, remaining=collateral
        )
        try:
            self.repo.stall.put(made)
        except QuotaExceeded:
            assert total > QUOTA - self.used() - self.reserved()
        else:
            assert total <= QUOTA - self.used() - self.reserved()
            self.offers[id] = Model(total, collateral)

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), total=sizes)
    def resize(self, data: st.DataObject, total: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.offers)))
        offer = self.offers[id]
        taken, grown = offer.total - offer.free, total - offer.total
        room = max(0, QUOTA - self.used() - self.reserved())
        try:
            self.repo.stall.alter(id, total=total)
        except InvalidInput:
            assert total < taken
        except QuotaExceeded:
            assert grown > room
        else:
            assert total >= taken
            assert grown <= room
            offer.total = total

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), collateral=amounts)
    def stake_more_or_less(self, data: st.DataObject, collateral: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.offers)))
        offer = self.offers[id]
        held = sum(slot[2] for slot in offer.slots.values())
        try:
            self.repo.stall.alter(id, collateral=collateral)
        except InvalidInput:
            assert collateral < held
        else:
            offer.collateral, offer.lost = collateral, 0

    @precondition(lambda self: self.offers)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.offers)))
        try:
            self.repo.stall.delete(id)
        except InvalidInput:
            assert self.offers[id].slots
        else:
            assert not self.offers.pop(id).slots

    @precondition(lambda self: self.offers)
    @rule(data=st.data(), size=sizes, collateral=amounts)
    def take(self, data: st.DataObject, size: int, collateral: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.offers)))
        offer, slot = self.offers[id], self.new_id()
        try:
            self.repo.stall.take(id, id=slot, request=slot, slot=0, size=size, collateral=collateral, until=0)
        except InvalidInput:
            assert size > offer.free or collateral > offer.remaining
        except QuotaExceeded:
            assert self.used() + self.promised() + size > QUOTA
        else:
            assert self.used() + self.promised() + size <= QUOTA
            offer.slots[slot] = [size, size, collateral, 0]

    @precondition(lambda self: bool(self.slots()))
    @rule(data=st.data(), numbers=st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True))
    def blocks_arrive(self, data: st.DataObject, numbers: list[int]) -> None:
        offer, id = data.draw(st.sampled_from(self.slots()))
        slot = self.offers[offer].slots[id]
        room = next(there.room for there in self.repo.stall.slots() if there.id == id)
        need = 700 * len([number for number in numbers if number not in self.blocks])
        drawn = min(need, slot[1])
        fits = need - drawn <= max(0, QUOTA - self.used() - self.reserved())
        blocks = [BLOCKS[number] for number in numbers]
        (verdict,) = self.repo.take_in([Put(blocks, 1000.0, int(room))])
        assert (verdict is None) == fits, verdict
        if fits:
            slot[1] -= drawn
            self.blocks.update(numbers)

    @rule(number=st.integers(0, 5))
    def a_block_goes(self, number: int) -> None:
        assert self.repo.delete_block(BLOCKS[number].cid) == (number in self.blocks)
        self.blocks.discard(number)

    @precondition(lambda self: bool(self.slots()))
    @rule(data=st.data(), stage=st.sampled_from(Stage))
    def advance(self, data: st.DataObject, stage: Stage) -> None:
        offer, id = data.draw(st.sampled_from(self.slots()))
        slot = self.offers[offer].slots[id]
        slot[3] = stage
        if stage >= Stage.STORED:
            slot[1] = 0
        assert self.repo.stall.advance(id, stage).left == slot[1]

    @precondition(lambda self: bool(self.slots()))
    @rule(data=st.data(), collateral=st.integers(0, 400))
    def give_back(self, data: st.DataObject, collateral: int) -> None:
        offer, id = data.draw(st.sampled_from(self.slots()))
        assert self.repo.stall.give_back(id, collateral)
        held = self.offers[offer].slots.pop(id)[2]
        self.offers[offer].lost += held - min(held, collateral)
        assert not self.repo.stall.give_back(id, collateral)

    @rule()
    def restart(self) -> None:
        self.repo.close()
        self.open()

    @rule(seed=st.integers(0, 2**32))
    def crash(self, seed: int) -> None:
        """A power cut: of what was not flushed, some remains."""
        chance = random.Random(seed)
        self.generation += 1
        after = self.home / f"after {self.generation}"
        self.disk.cut(self.directory, after, lambda: chance.random() < 0.5)
        self.repo.abandon()
        self.directory, self.disk = after, FaultyDisk()
        self.open()
        assert self.repo.catalogue.recount().right

    @precondition(lambda self: bool(self.slots()))
    @rule(data=st.data(), at=st.integers(1, 3), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def the_disk_refuses(self, data: st.DataObject, at: int, code: int) -> None:
        """A slot ends on a bad disk: it has ended as a whole, or not at all."""
        offer, id = data.draw(st.sampled_from(self.slots()))
        self.disk.fail(at, code)
        with suppress(DiskFailed, DiskFull):
            self.repo.stall.give_back(id, 0)
        self.disk.heal()
        if id not in {slot.id for slot in self.repo.stall.slots()}:
            self.offers[offer].lost += self.offers[offer].slots.pop(id)[2]

    @invariant()
    def the_store_is_the_model(self) -> None:
        audit(self.directory)
        listed = {there.id: there for there in self.repo.stall.availabilities()}
        assert listed.keys() == self.offers.keys()
        for id, offer in self.offers.items():
            there = listed[id]
            assert (there.total, there.free) == (offer.total, offer.free)
            assert (there.collateral, there.remaining, there.lost) == (
                offer.collateral,
                offer.remaining,
                offer.lost,
            )
            slots = {s.id: [s.size, s.left, s.collateral, s.stage] for s in self.repo.stall.slots(id)}
            assert slots == offer.slots
        space = self.repo.catalogue.space()
        assert (space.quota_used, space.quota_reserved) == (self.used(), self.reserved())
        assert self.used() + self.promised() <= QUOTA


TestAvailabilityMachine = AvailabilityMachine.TestCase
TestAvailabilityMachine.settings = settings(
    max_examples=12, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
