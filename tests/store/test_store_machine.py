"""The store against a simple model of it: any order of everything, with crashes and failures in between.

The model keeps, for each payload, what the rules of lifetime.py say about it. After every step the store is
audited and must hold exactly what the model holds: everything acknowledged, verified, and nothing else
charged.
"""

import errno
import random
import shutil
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path

import hypothesis.strategies as st
import pytest
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from codex.codec import EMPTY_BLOCK, Cid
from codex.data import Block, LeafAddress, Manifest, MerkleTree
from codex.errors import BlockInUse, BlockNotFound, DiskFailed, DiskFull, InvalidInput, QuotaExceeded
from codex.store import NEVER, Hold, Leaf
from codex.store.manifests import Record, record_of
from codex.store.opening import open_repo
from codex.store.planning import Put, PutLeaves, Request, Stage
from codex.store.reads import blocks_of
from codex.store.schema import GONE
from codex.store.stretches import Stretch
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_dataset, payload, read_alone

POOL = [Block.of(payload(number, 200 + 150 * number)) for number in range(7)]
EMPTY = Block(EMPTY_BLOCK, b"")
QUOTA = 14_000
SEGMENT = 4096

# Datasets that share blocks, repeat them, and have empty ones.
LAYOUTS = [(0, 1, 2, 3), (2, 3, 2), (4, 4, 9, 5), (5,)]
NAMES = (None, "alice")


@define
class Row:
    """A payload that is here: until when for its own sake, for whose leaves, and whether it can be seen."""

    expiry: float = 0.0
    refs: Counter[str] = field(factory=Counter)
    seen: bool = False


@define
class Tree:
    """A tree with a name: its leaves by index, and who wants it."""

    leaves: dict[int, int] = field(factory=dict)
    claim: float = 0.0


@define
class Ingest:
    dataset: int
    leaves: dict[int, int] = field(factory=dict)
    is_open: bool = True


def blocks_for(layout: tuple[int, ...]) -> list[Block]:
    return [POOL[number] if number < len(POOL) else EMPTY for number in layout]


DATASETS: list[tuple[tuple[int, ...], MerkleTree, list[tuple[Manifest, Record]]]] = []
for _layout in LAYOUTS:
    _tree, _ = make_dataset(blocks_for(_layout))
    _named = [make_dataset(blocks_for(_layout), name)[1] for name in NAMES]
    DATASETS.append((_layout, _tree, [(m, record_of(Block(m.cid, m.to_bytes()))) for m in _named]))

some_numbers = st.lists(st.integers(0, len(POOL) - 1), min_size=1, max_size=5)
some_time = st.sampled_from([10.0, 100.0, NEVER])
datasets = st.integers(0, len(DATASETS) - 1)
names = st.integers(0, len(NAMES) - 1)


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def begin_at_all(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="store"))
        self.generation = 0
        self.directory = self.home / "0"
        self.disk = FaultyDisk()
        self.now = 1000.0
        self.rows: dict[int, Row] = {}
        self.trees: dict[int, Tree] = {}
        self.manifests: dict[tuple[int, int], tuple[float, bool]] = {}
        self.holds: dict[str, tuple[int, int, int, float]] = {}
        self.ingests: dict[int, Ingest] = {}
        self.reservations: dict[int, int] = {}
        self.open()

    def open(self) -> None:
        self.repo = open_repo(
            self.directory, quota=QUOTA, disk=self.disk, segment_bytes=SEGMENT, ballast_bytes=0
        )

    def teardown(self) -> None:
        if hasattr(self, "repo"):
            self.repo.abandon()
            shutil.rmtree(self.home)

    # -- the model

    def size(self, number: int) -> int:
        return len(POOL[number].data)

    def counted(self, number: int) -> bool:
        """Whether a payload counts as used: it can be seen, or an open ingest wants it."""
        row = self.rows.get(number)
        return row is not None and (
            row.seen or any(self.ingests[int(who)].is_open for who in row.refs if who.isdigit())
        )

    def used(self) -> tuple[int, int]:
        counted = [number for number in self.rows if self.counted(number)]
        manifests = [len(DATASETS[d][2][n][1].data) for d, n in self.manifests]
        return len(counted) + len(manifests), sum(map(self.size, counted)) + sum(manifests)

    def available(self) -> int:
        return QUOTA - self.used()[1] - sum(self.reservations.values())

    def refer(self, number: int, who: str) -> None:
        if number < len(POOL):
            self.rows.setdefault(number, Row()).refs[who] += 1

    def unrefer(self, number: int, who: str) -> None:
        if number < len(POOL):
            row = self.rows[number]
            row.refs[who] -= 1
            row.refs += Counter()  # drops what is not positive
            if not row.refs and row.expiry <= self.now:
                del self.rows[number]

    def wanted(self, dataset: int) -> bool:
        return self.trees[dataset].claim > 0 or any(d == dataset for d, _ in self.manifests)

    def settle(self, dataset: int) -> None:
        """What the store's settle and a whole sweep make of a tree."""
        tree = self.trees[dataset]
        if not self.wanted(dataset):
            held = [(first, first + count) for d, first, count, _ in self.holds.values() if d == dataset]
            for index in [i for i in tree.leaves if not any(a <= i < b for a, b in held)]:
                self.unrefer(tree.leaves.pop(index), f"tree{dataset}")
            if not held:
                del self.trees[dataset]
        self.sweep_named()

    def sweep_named(self) -> None:
        """Have the store remove the leaves of all trees but those of ingests, as its service does at once."""
        ingests = {row[0] for row in self.query("SELECT tree FROM ingests")}
        for (tree,) in self.query("SELECT id FROM trees WHERE swept IS NOT NULL"):
            if tree not in ingests:
                while self.repo.sweep(tree, self.now, 2):
                    pass

    def query(self, sql: str) -> list[tuple[int, ...]]:
        with self.repo.catalogue._readers.borrow() as connection:
            return connection.execute(sql).fetchall()

    def take_in(self, request: Request, fits: bool) -> bool:
        """Have a request done; whether it was, as it must be if it fits."""
        (verdict,) = self.repo.take_in([request])
        if fits:
            assert verdict is None, verdict
        else:
            assert isinstance(verdict, QuotaExceeded)
        return fits

    # -- blocks

    def need(self, numbers: list[int]) -> int:
        return sum(self.size(number) for number in set(numbers) if not self.counted(number))

    @rule(numbers=some_numbers, ttl=some_time, data=st.data())
    def put(self, numbers: list[int], ttl: float, data: st.DataObject) -> None:
        reservation = data.draw(st.sampled_from([None, *self.reservations]))
        need = self.need(numbers)
        drawn = min(need, self.reservations[reservation]) if reservation else 0
        request = Put([POOL[number] for number in numbers], self.now + ttl, reservation)
        if self.take_in(request, need - drawn <= self.available()):
            if reservation:
                self.reservations[reservation] -= drawn
            for number in numbers:
                row = self.rows.setdefault(number, Row())
                row.seen, row.expiry = True, max(row.expiry, self.now + ttl)

    @rule(number=st.integers(0, len(POOL) - 1))
    def delete_block(self, number: int) -> None:
        row = self.rows.get(number)
        try:
            gone = self.repo.delete_block(POOL[number].cid)
        except BlockInUse:
            assert row is not None
            assert row.seen
            assert row.refs
        else:
            assert gone == (row is not None and row.seen)
            if gone:
                assert row is not None
                assert not row.refs
                del self.rows[number]

    @rule(number=st.integers(0, len(POOL) - 1), until=some_time)
    def extend(self, number: int, until: float) -> None:
        row = self.rows.get(number)
        try:
            self.repo.extend([POOL[number].cid], self.now + until)
        except BlockNotFound:
            assert row is None or not row.seen
        else:
            assert row is not None
            row.expiry = max(row.expiry, self.now + until)

    # -- ingests

    def open_ingests(self) -> list[int]:
        return [number for number, ingest in self.ingests.items() if ingest.is_open]

    @precondition(lambda self: len(self.open_ingests()) < 3)
    @rule(dataset=datasets, part=st.integers(0, 4))
    def begin(self, dataset: int, part: int) -> None:
        number = self.repo.begin()
        self.ingests[number] = Ingest(dataset)
        self.stage_part(number, part, by_name=False)

    @precondition(open_ingests)
    @rule(data=st.data(), part=st.integers(1, 4), by_name=st.booleans())
    def stage(self, data: st.DataObject, part: int, by_name: bool) -> None:
        self.stage_part(data.draw(st.sampled_from(self.open_ingests())), part, by_name)

    def stage_part(self, number: int, part: int, by_name: bool) -> None:
        ingest = self.ingests[number]
        first = len(ingest.leaves)
        coming = LAYOUTS[ingest.dataset][first : first + part]
        known = by_name and all(n >= len(POOL) or (n in self.rows and self.rows[n].seen) for n in coming)
        blocks = blocks_for(coming)
        request = Stage(number, first, [block.cid for block in blocks] if known else blocks)
        if self.take_in(request, self.need([n for n in coming if n < len(POOL)]) <= self.available()):
            for index, n in enumerate(coming, first):
                ingest.leaves[index] = n
                self.refer(n, str(number))

    @precondition(open_ingests)
    @rule(data=st.data(), name=names, ttl=some_time)
    def commit(self, data: st.DataObject, name: int, ttl: float) -> None:
        """Stage what is missing, and make it a dataset."""
        number = data.draw(st.sampled_from(self.open_ingests()))
        self.stage_part(number, 4, by_name=False)
        ingest = self.ingests[number]
        dataset = ingest.dataset
        _, tree, named = DATASETS[dataset]
        record = named[name][1]
        new = (dataset, name) not in self.manifests
        try:
            self.repo.commit(number, tree, record, self.now + ttl)
        except InvalidInput:
            assert len(ingest.leaves) < len(LAYOUTS[dataset])
            return
        except QuotaExceeded:
            assert new
            assert len(record.data) > self.available()
            return
        assert len(ingest.leaves) == len(LAYOUTS[dataset])
        assert not new or len(record.data) <= self.available()
        del self.ingests[number]
        old = self.trees.pop(dataset, Tree())
        for n in set(ingest.leaves.values()):
            if n < len(POOL):
                row = self.rows[n]
                row.seen = True
                row.refs[f"tree{dataset}"] = row.refs.pop(str(number))
        self.trees[dataset] = Tree(dict(ingest.leaves), old.claim)
        expiry, pinned = self.manifests.get((dataset, name), (0.0, False))
        self.manifests[dataset, name] = (max(expiry, self.now + ttl), pinned)
        self.sweep_named()

    @precondition(open_ingests)
    @rule(data=st.data())
    def abort(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.open_ingests()))
        self.repo.abort(number)
        self.ingests[number].is_open = False

    @rule()
    def clear_away(self) -> None:
        """Remove what is left of all ingests that were given up."""
        while (tree := self.repo.next_tree()) is not None:
            while self.repo.sweep(tree, self.now, 2):
                pass
        for number in [n for n, ingest in self.ingests.items() if not ingest.is_open]:
            for n in self.ingests.pop(number).leaves.values():
                self.unrefer(n, str(number))

    # -- leaves from the network, and manifests

    @rule(dataset=datasets, chosen=st.sets(st.integers(0, 4), min_size=1), ttl=some_time)
    def put_leaves(self, dataset: int, chosen: set[int], ttl: float) -> None:
        layout, tree, _ = DATASETS[dataset]
        indices = [index for index in chosen if index < len(layout)]
        blocks = blocks_for(tuple(layout[index] for index in indices))
        leaves = [Leaf(i, block.cid, tree.proof(i)) for i, block in zip(indices, blocks, strict=True)]
        request = PutLeaves(tree.root_cid, leaves, blocks, self.now + ttl)
        need = self.need([layout[index] for index in indices if layout[index] < len(POOL)])
        if indices and self.take_in(request, need <= self.available()):
            here = self.trees.setdefault(dataset, Tree())
            here.claim = max(here.claim, self.now + ttl)
            for index in indices:
                number = layout[index]
                if index not in here.leaves:
                    here.leaves[index] = number
                    self.refer(number, f"tree{dataset}")
                if number < len(POOL):
                    self.rows[number].seen = True

    @rule(dataset=datasets, name=names, ttl=some_time)
    def put_manifest(self, dataset: int, name: int, ttl: float) -> None:
        record = DATASETS[dataset][2][name][1]
        new = (dataset, name) not in self.manifests
        try:
            self.repo.put_manifest(record, self.now + ttl)
        except QuotaExceeded:
            assert new
            assert len(record.data) > self.available()
            return
        assert not new or len(record.data) <= self.available()
        self.trees.setdefault(dataset, Tree())
        expiry, pinned = self.manifests.get((dataset, name), (0.0, False))
        self.manifests[dataset, name] = (max(expiry, self.now + ttl), pinned)

    @precondition(lambda self: self.manifests)
    @rule(data=st.data())
    def delete_dataset(self, data: st.DataObject) -> None:
        dataset, name = data.draw(st.sampled_from(sorted(self.manifests)))
        cid = DATASETS[dataset][2][name][0].cid
        assert self.repo.drop_dataset(cid) is not None
        del self.manifests[dataset, name]
        if not any(d == dataset for d, _ in self.manifests):
            self.trees[dataset].claim = 0.0
        self.settle(dataset)
        assert self.repo.drop_dataset(cid) is None

    @rule(dataset=datasets, name=names, pinned=st.booleans())
    def pin(self, dataset: int, name: int, pinned: bool) -> None:
        try:
            self.repo.pin(DATASETS[dataset][2][name][0].cid, pinned)
        except BlockNotFound:
            assert (dataset, name) not in self.manifests
        else:
            self.manifests[dataset, name] = (self.manifests[dataset, name][0], pinned)

    @rule(
        data=st.data(),
        key=st.sampled_from("xy"),
        first=st.integers(0, 3),
        count=st.integers(1, 3),
        ttl=some_time,
    )
    def hold(self, data: st.DataObject, key: str, first: int, count: int, ttl: float) -> None:
        dataset = data.draw(st.sampled_from(sorted(self.trees)) if self.trees else datasets)
        self.repo.hold(Hold("slot", key, DATASETS[dataset][1].root_cid, first, count, self.now + ttl))
        before = self.holds.get(key)
        self.trees.setdefault(dataset, Tree())
        self.holds[key] = (dataset, first, count, self.now + ttl)
        if before is not None:
            self.settle(before[0])

    @rule(key=st.sampled_from("xy"))
    def drop_hold(self, key: str) -> None:
        assert (self.repo.drop_hold("slot", key) is not None) == (key in self.holds)
        if key in self.holds:
            self.settle(self.holds.pop(key)[0])

    # -- room and time

    @rule(size=st.sampled_from([0, 500, 5000, 20_000]))
    def reserve(self, size: int) -> None:
        try:
            number = self.repo.reserve(size, "sales")
        except QuotaExceeded:
            assert size > self.available()
        else:
            assert size <= self.available()
            self.reservations[number] = size

    @precondition(lambda self: self.reservations)
    @rule(data=st.data(), part=st.booleans())
    def release(self, data: st.DataObject, part: bool) -> None:
        number = data.draw(st.sampled_from(list(self.reservations)))
        if part:
            self.reservations[number] -= (size := self.reservations[number] // 2)
            self.repo.release(number, size)
        else:
            del self.reservations[number]
            self.repo.release(number)

    @rule(seconds=st.sampled_from([0.0, 5.0, 50.0, 500.0]))
    def expire(self, seconds: float) -> None:
        self.now += seconds
        while self.repo.expire(self.now, 2):
            pass
        gone = {key for key, (expiry, pinned) in self.manifests.items() if expiry <= self.now and not pinned}
        ended = {key for key, (*_, expiry) in self.holds.items() if expiry <= self.now}
        settled = {dataset for dataset, _ in gone} | {self.holds[key][0] for key in ended}
        for key in gone:
            del self.manifests[key]
        for key in ended:
            del self.holds[key]
        for dataset, tree in self.trees.items():
            if 0 < tree.claim <= self.now:
                tree.claim = 0.0
                settled.add(dataset)
        for number in [n for n, row in self.rows.items() if not row.refs and row.expiry <= self.now]:
            del self.rows[number]
        for dataset in settled:
            self.settle(dataset)

    @rule()
    def compact(self) -> None:
        self.repo.release(self.repo.reserve(0, "any change records which segments were sealed"))
        while self.repo.compact():
            pass
        for live, length, state in self.query(
            f"SELECT live, length, state FROM segments WHERE state <> {GONE}"
        ):
            assert 2 * live >= length or (not state and length < SEGMENT // 8)

    # -- misfortune

    @rule(at=st.integers(1, 6), code=st.sampled_from([errno.ENOSPC, errno.EIO]), numbers=some_numbers)
    def fail(self, at: int, code: int, numbers: list[int]) -> None:
        """The disk refuses one change during a put: it is done, or refused and nothing happened."""
        fits = self.need(numbers) <= self.available()
        self.disk.fail(at, code)
        (verdict,) = self.repo.take_in([Put([POOL[n] for n in numbers], self.now + 10)])
        self.disk.heal()
        if verdict is None:
            for number in numbers:
                row = self.rows.setdefault(number, Row())
                row.seen, row.expiry = True, max(row.expiry, self.now + 10)
        elif isinstance(verdict, QuotaExceeded):
            assert not fits
        else:
            assert type(verdict) is (DiskFull if code == errno.ENOSPC else DiskFailed)

    @rule(at=st.integers(1, 4), code=st.sampled_from([errno.ENOSPC, errno.EIO]))
    def fail_to_compact(self, at: int, code: int) -> None:
        self.disk.fail(at, code)
        refusal = DiskFull if code == errno.ENOSPC else DiskFailed
        with suppress(refusal):
            self.repo.compact()
        self.disk.heal()

    @rule(seed=st.integers(0, 2**32))
    def crash(self, seed: int) -> None:
        """A power cut: of what was not flushed, some remains."""
        chance = random.Random(seed)
        self.generation += 1
        after = self.home / str(self.generation)
        self.disk.cut(self.directory, after, lambda: chance.random() < 0.5)
        self.repo.abandon()
        self.directory, self.disk = after, FaultyDisk()
        self.open()
        assert self.repo.unclean
        assert self.repo.catalogue.recount().right
        for ingest in self.ingests.values():
            ingest.is_open = False

    @rule()
    def restart(self) -> None:
        self.repo.close()
        self.open()
        assert not self.repo.unclean
        for ingest in self.ingests.values():
            ingest.is_open = False

    @rule()
    def back_up(self) -> None:
        """A backup is a store with the content of when it began, in which nobody is writing."""
        self.generation += 1
        target = self.home / str(self.generation)
        self.repo.keep()
        backup = self.repo.backup(target)
        backup.begin()
        # What happens meanwhile is not in it: here, that the room of whatever is dead is taken back.
        self.compact()
        while backup.step():
            pass
        backup.finish()
        self.repo.let_go()
        mine, self.repo = self.repo, open_repo(target, quota=QUOTA, disk=self.disk, ballast_bytes=0)
        ours = {number for number, ingest in self.ingests.items() if ingest.is_open}
        for number in ours:
            self.ingests[number].is_open = False
        self.compare()
        for number in ours:
            self.ingests[number].is_open = True
        self.repo.abandon()
        self.repo = mine
        audit(target)

    # -- what must always hold

    @invariant()
    def everything_adds_up(self) -> None:
        audit(self.directory)

    @invariant()
    def the_store_is_the_model(self) -> None:
        self.compare()

    def compare(self) -> None:
        space = self.repo.catalogue.space()
        assert (space.total_blocks, space.quota_used) == self.used()
        assert space.quota_reserved == sum(self.reservations.values())
        seen = [number in self.rows and self.rows[number].seen for number in range(len(POOL))]
        assert self.repo.reader.has([block.cid for block in POOL]) == seen
        here = [block for block, is_seen in zip(POOL, seen, strict=True) if is_seen]
        asked = [block.cid for block in here]
        assert blocks_of(self.repo.reader.find(asked), asked) == here
        listed = dict(self.repo.catalogue.manifests(None, 100))
        assert listed == {DATASETS[d][2][n][0].cid: DATASETS[d][2][n][0] for d, n in self.manifests}
        for dataset, (layout, tree, _) in enumerate(DATASETS):
            self.compare_tree(tree.root_cid, layout, self.trees.get(dataset, Tree()), tree)

    def compare_tree(self, cid: Cid, layout: tuple[int, ...], here: Tree, tree: MerkleTree) -> None:
        indices = sorted(here.leaves)
        leaves = self.repo.catalogue.leaves(cid, 0, 100)
        assert [leaf.index for leaf in leaves] == indices
        assert all(leaf.proof == tree.proof(leaf.index) for leaf in leaves)
        expected = blocks_for(tuple(layout[index] for index in indices))
        assert [leaf.cid for leaf in leaves] == [block.cid for block in expected]
        addresses = [LeafAddress(cid, index) for index in indices]
        assert blocks_of(self.repo.reader.find(addresses), addresses) == expected
        assert self.repo.reader.missing(cid, 0, len(layout)) == len(layout) - len(indices)
        if len(indices) == len(layout):
            run: list[memoryview] = []
            fed = read_alone(
                Stretch(self.repo.reader, cid, 0, len(layout), 64, lambda view: run.append(view) is None)
            )
            assert fed.next == len(layout)
            assert b"".join(run) == b"".join(bytes(block.data) for block in expected)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.soak
def test_many_more_lives_of_a_store() -> None:
    run_state_machine_as_test(
        StoreMachine, settings=settings(TestStoreMachine.settings, max_examples=60, stateful_step_count=50)
    )
