"""Holds: what comes for their sake goes with them, and nothing else does, whatever cuts them off."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from codex.codec import Cid, slot_root_cid
from codex.data import Block
from codex.errors import BlockNotFound, QuotaExceeded
from codex.store import NEVER, Hold, Leaf, SlotRoots
from codex.store.index import Index
from codex.store.manifests import record_of
from codex.store.planning import PutLeaves
from codex.store.repo import Repo
from codex.store.schema import APPLICATION_ID, MIGRATIONS
from codex.store.slot_trees import pages
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, make_dataset, open_test_store

Clear = Callable[..., None]

BLOCKS = make_blocks(range(8), 500)
TREE, MANIFEST = make_dataset(BLOCKS)
RECORD = record_of(Block(MANIFEST.cid, MANIFEST.to_bytes()))
LATER = 1e9


def name_of(slot: int) -> Cid:
    """A slot's name."""
    return slot_root_cid(bytes([slot]) * 32)


def leaves(*indices: int) -> list[Leaf]:
    return [Leaf(n, BLOCKS[n].cid, TREE.proof(n)) for n in indices]


def bring(repo: Repo, *indices: int, key: str | None = None, claim: float = LATER) -> None:
    """Store these leaves, for a hold or with a claim."""
    hold = None if key is None else ("slot", key)
    blocks = [BLOCKS[n] for n in indices]
    [verdict] = repo.take_in([PutLeaves(TREE.root_cid, leaves(*indices), blocks, claim, hold=hold)])
    if verdict is not None:
        raise verdict


def begin(repo: Repo, key: str, first: int, count: int, *, record: bool = True) -> None:
    """Begin to fill a hold that names the manifest."""
    hold = Hold("slot", key, TREE.root_cid, first, count, LATER, MANIFEST.cid, first // 4, filling=True)
    repo.hold(hold, RECORD if record else None)


def fill(repo: Repo, key: str, first: int, *indices: int, record: bool = True) -> None:
    """Have a hold of four leaves, of which these come for it, and the tree of its slot."""
    begin(repo, key, first, 4, record=record)
    bring(repo, *indices, key=key)
    assert repo.keep_hold("slot", key, LATER, True)
    roots = SlotRoots(first // 4, name_of(first), bytes(64))
    repo.keep_slot_roots(TREE.root_cid, list(pages([roots])), [roots])


def here(repo: Repo) -> list[int]:
    return [leaf.index for leaf in repo.catalogue.leaves(TREE.root_cid, 0, 9)]


def used(repo: Repo) -> tuple[int, int]:
    space = repo.catalogue.space()
    return space.total_blocks, space.quota_used


def test_what_came_for_a_hold_goes_with_it(repo: Repo, clear: Clear) -> None:
    fill(repo, "a", 0, 0, 1, 2, 3)
    fill(repo, "b", 4, 4, 5, 6, 7)
    assert repo.catalogue.expiry(MANIFEST.cid) == LATER
    assert repo.drop_hold("slot", "a") is not None
    assert repo.catalogue.slot_tree(name_of(0)) is None
    clear(repo)
    assert here(repo) == [4, 5, 6, 7]
    assert repo.catalogue.manifest(MANIFEST.cid) == MANIFEST
    assert repo.catalogue.slot_tree(name_of(4)) is not None
    repo.drop_hold("slot", "b")
    clear(repo)
    assert used(repo) == (0, 0)
    assert repo.drop_hold("slot", "b") is None


@pytest.mark.parametrize("swept", [False, True])
def test_holds_that_end_together_leave_nothing(
    reopen: Callable[..., Repo], tmp_path: Path, clear: Clear, swept: bool
) -> None:
    repo = reopen()
    for key, first in (("a", 0), ("b", 4)):
        fill(repo, key, first, *range(first, first + 4))
    for key in ("a", "b"):
        repo.drop_hold("slot", key)
        if swept:
            clear(repo)
    repo.abandon()
    repo = reopen()
    clear(repo)
    assert used(repo) == (0, 0)
    repo.abandon()
    audit(tmp_path / "repo")


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_hold_that_was_being_filled_is_undone_at_the_start(
    reopen: Callable[..., Repo], tmp_path: Path, clear: Clear, whole: bool, steps: int
) -> None:
    repo = reopen()
    if whole:
        repo.put_manifest(RECORD, LATER)
        bring(repo, 1, 6)
    before = used(repo), here(repo), repo.catalogue.manifests(None, 9)
    begin(repo, "a", 0, 4, record=not whole)
    for indices in ((0, 1), (2, 3))[:steps]:
        bring(repo, *indices, key="a")
    repo.abandon()
    repo = reopen()
    clear(repo)
    assert repo.catalogue.holds("slot") == []
    assert (used(repo), here(repo), repo.catalogue.manifests(None, 9)) == before
    repo.abandon()
    audit(tmp_path / "repo")


def test_only_what_a_hold_brought_goes_from_a_dataset(repo: Repo, clear: Clear) -> None:
    repo.put_manifest(RECORD, LATER)
    bring(repo, 1, 2, 5, claim=10.0)
    while repo.expire(20.0, 2):
        pass
    fill(repo, "a", 0, 0, 1, 2, 3, record=False)
    repo.drop_hold("slot", "a")
    clear(repo)
    assert here(repo) == [1, 2, 5]
    assert repo.catalogue.manifest(MANIFEST.cid) == MANIFEST


def test_who_wants_the_dataset_again_before_it_is_swept_keeps_all(repo: Repo, clear: Clear) -> None:
    repo.put_manifest(RECORD, LATER)
    fill(repo, "a", 0, 0, 1, 2, 3, record=False)
    repo.drop_hold("slot", "a")
    bring(repo, 7, claim=10.0)
    clear(repo)
    assert here(repo) == [0, 1, 2, 3, 7]
    # They are the dataset's from then on, whatever else goes later.
    while repo.expire(10.0, 9):
        pass
    fill(repo, "b", 4, 4, 5, 6, record=False)
    repo.drop_hold("slot", "b")
    clear(repo)
    assert here(repo) == [0, 1, 2, 3, 7]


def test_a_new_hold_owns_what_an_old_one_left(repo: Repo, clear: Clear) -> None:
    repo.put_manifest(RECORD, LATER)
    fill(repo, "a", 0, 0, 1, 2, 3, record=False)
    repo.drop_hold("slot", "a")
    fill(repo, "b", 0, record=False)
    clear(repo)
    assert here(repo) == [0, 1, 2, 3]
    repo.drop_hold("slot", "b")
    clear(repo)
    assert here(repo) == []


def test_another_hold_of_the_same_leaves_inherits_them(repo: Repo, clear: Clear) -> None:
    repo.put_manifest(RECORD, LATER)
    fill(repo, "a", 0, 0, 1, 2, 3, record=False)
    fill(repo, "b", 0, record=False)
    repo.drop_hold("slot", "a")
    clear(repo)
    assert here(repo) == [0, 1, 2, 3]
    assert repo.catalogue.slot_tree(name_of(0)) is not None
    repo.drop_hold("slot", "b")
    clear(repo)
    assert here(repo) == []
    assert repo.catalogue.slot_tree(name_of(0)) is None
    assert used(repo) == (1, len(RECORD.data))


def test_a_claim_keeps_leaves_and_manifest_for_as_long(repo: Repo, clear: Clear) -> None:
    fill(repo, "a", 0, 0, 1, 2, 3)
    bring(repo, 5, claim=500.0)
    repo.drop_hold("slot", "a")
    clear(repo)
    assert here(repo) == [0, 1, 2, 3, 5]
    assert repo.catalogue.expiry(MANIFEST.cid) == 500.0
    while repo.expire(500.0, 9):
        pass
    clear(repo, 500.0)
    assert used(repo) == (0, 0)


def test_a_manifest_comes_with_its_hold_unless_it_is_here(repo: Repo, clear: Clear) -> None:
    hold = Hold("slot", "a", TREE.root_cid, 0, 4, LATER, MANIFEST.cid, 0)
    with pytest.raises(BlockNotFound):
        repo.hold(hold)
    with pytest.raises(BlockNotFound, match="of the tree"):
        repo.hold(evolve(hold, tree=make_dataset(BLOCKS[1:])[0].root_cid), RECORD)
    assert used(repo) == (0, 0)
    assert repo.hold(hold, RECORD)
    assert used(repo) == (1, len(RECORD.data))
    assert not repo.hold(evolve(hold, key="b"), RECORD)
    repo.drop_hold("slot", "a")
    assert repo.catalogue.manifest(MANIFEST.cid) == MANIFEST
    repo.drop_hold("slot", "b")
    assert used(repo) == (0, 0)
    # A dataset stays one.
    repo.put_manifest(RECORD, LATER)
    assert not repo.hold(hold, RECORD)
    repo.drop_hold("slot", "a")
    clear(repo)
    assert repo.catalogue.manifest(MANIFEST.cid) == MANIFEST


def test_a_manifest_comes_only_where_there_is_room(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=len(RECORD.data) - 1)
    with pytest.raises(QuotaExceeded):
        repo.hold(Hold("slot", "a", TREE.root_cid, 0, 4, LATER, MANIFEST.cid, 0), RECORD)
    assert used(repo) == (0, 0)
    assert repo.catalogue.holds("slot") == []
    repo.abandon()


@pytest.mark.parametrize("whole", [False, True])
async def test_whoever_uses_a_dataset_keeps_what_a_hold_brought(tmp_path: Path, whole: bool) -> None:
    block = Block(MANIFEST.cid, MANIFEST.to_bytes())
    async with open_test_store(tmp_path) as store:
        for use in (False, True):
            if whole:
                await store.put_manifest(MANIFEST.to_bytes())
            hold = Hold("slot", "a", TREE.root_cid, 0, 4, NEVER, MANIFEST.cid, 0)
            assert await store.hold(hold, manifest=block) is not whole
            await store.put_leaves(TREE.root_cid, leaves(0, 1), BLOCKS[:2], hold=("slot", "a"))
            assert await store.get_manifest(MANIFEST.cid, use=use) == MANIFEST
            assert await store.drop_hold("slot", "a")
            await store.maintain()
            assert await store.has_many([MANIFEST.cid]) == [whole or use]
            assert await store.missing(TREE.root_cid, 0, 2) == (0 if use else 2)
    audit(tmp_path / "repo")


def test_a_dataset_that_is_deleted_or_expires_leaves_its_manifest_to_the_hold(
    repo: Repo, clear: Clear
) -> None:
    for end in ("delete", "expire"):
        repo.put_manifest(RECORD, 100.0)
        bring(repo, 0, 1, 5, claim=100.0)
        fill(repo, "a", 0, 2, 3, record=False)
        if end == "delete":
            repo.pin(MANIFEST.cid, True)
            assert repo.drop_dataset(MANIFEST.cid) is not None
            assert repo.drop_dataset(MANIFEST.cid) is None
        else:
            while repo.expire(100.0, 9):
                pass
        clear(repo)
        assert here(repo) == [0, 1, 2, 3]
        assert [cid for cid, _ in repo.catalogue.manifests(None, 9)] == [MANIFEST.cid]
        assert not repo.catalogue.is_pinned(MANIFEST.cid)
        repo.drop_hold("slot", "a")
        clear(repo, 100.0)
        assert used(repo) == (0, 0)


@pytest.mark.parametrize("how", ["pin", "extend", "put"])
def test_the_manifest_of_a_hold_becomes_a_dataset_again(repo: Repo, clear: Clear, how: str) -> None:
    fill(repo, "a", 0, 0, 1, 2, 3)
    match how:
        case "pin":
            repo.pin(MANIFEST.cid, True)
        case "extend":
            repo.extend([MANIFEST.cid], 500.0)
        case "put":
            repo.put_manifest(RECORD, 500.0)
    repo.drop_hold("slot", "a")
    clear(repo)
    assert repo.catalogue.manifest(MANIFEST.cid) == MANIFEST
    assert here(repo) == ([0, 1, 2, 3] if how == "pin" else [])
    assert repo.catalogue.expiry(MANIFEST.cid) == (NEVER if how == "pin" else 500.0)


def test_an_upload_of_the_same_dataset_owns_all(
    repo: Repo, clear: Clear, upload: Callable[..., object]
) -> None:
    fill(repo, "a", 0, 0, 1, 2, 3)
    upload(repo, BLOCKS)
    repo.drop_hold("slot", "a")
    clear(repo)
    assert here(repo) == list(range(8))


def test_nothing_is_brought_for_a_hold_that_is_not_there(repo: Repo) -> None:
    with pytest.raises(BlockNotFound, match="any more"):
        bring(repo, 0, key="a")
    begin(repo, "a", 0, 4)
    bring(repo, 0, key="a")
    repo.drop_hold("slot", "a")
    with pytest.raises(BlockNotFound, match="any more"):
        bring(repo, 1, key="a")
    with pytest.raises(BlockNotFound, match="no dataset"):
        begin(repo, "a", 0, 4, record=False)
    assert repo.catalogue.holds("slot") == []


def test_a_hold_is_kept_longer_but_not_shorter(repo: Repo) -> None:
    assert not repo.keep_hold("slot", "a", 5.0, False)
    begin(repo, "a", 0, 4)
    assert not repo.keep_hold("slot", "a", 2 * LATER, False)
    for until, filled, expiry in ((5.0, True, LATER), (LATER + 5, False, LATER + 5), (7.0, False, LATER + 5)):
        assert repo.keep_hold("slot", "a", until, filled)
        [hold] = repo.catalogue.holds("slot")
        assert (hold.expiry, hold.filling, hold.manifest, hold.slot) == (expiry, False, MANIFEST.cid, 0)


def test_a_hold_of_an_older_index_keeps_its_manifest(disk: FaultyDisk, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    old = sqlite3.connect(path)
    old.executescript(
        f"{';'.join(MIGRATIONS[:4])}; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=4;"
    )
    old.execute("INSERT INTO trees(id, cid, state) VALUES (1, ?, 1)", (TREE.root_cid.raw,))
    old.execute(
        "INSERT INTO manifests(cid, tree, data, parity, expiry) VALUES (?, 1, x'00', x'00', 9)",
        (MANIFEST.cid.raw,),
    )
    old.execute("INSERT INTO holds VALUES ('slot', 'a', 1, 0, 4, 7.0)")
    old.commit()
    old.close()
    index = Index(disk, path)
    with index.reading() as connection:
        assert connection.execute("SELECT manifest, slot, filling FROM holds").fetchall() == [
            (MANIFEST.cid.raw, None, 0)
        ]
        assert connection.execute("SELECT whole FROM manifests").fetchall() == [(1,)]
    index.close()
