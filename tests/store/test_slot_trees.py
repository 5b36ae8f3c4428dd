"""What trees of slots are built of: found by the slot's name, as long as the dataset's tree is here."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from codex.codec import Cid
from codex.codec.cid import slot_root_cid
from codex.data import Block
from codex.errors import BlockNotFound, InvalidInput
from codex.store import Hold, SlotRoots
from codex.store.backup import Backup
from codex.store.index import Index, one
from codex.store.manifests import Record, record_of
from codex.store.planning import PutLeaves, Stage
from codex.store.repo import Repo
from codex.store.schema import APPLICATION_ID, MIGRATIONS
from codex.store.slot_trees import PAGE_BYTES, STEP_PAGES, pages
from codex.store.values import Leaf
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, make_dataset, open_test_store, store_dataset

Upload = Callable[..., Record]
Reopen = Callable[..., Repo]
Clear = Callable[[Repo], None]

BLOCKS = make_blocks(range(8), 1000)
TREE, MANIFEST = make_dataset(BLOCKS)


def name(number: int) -> Cid:
    return slot_root_cid(number.to_bytes(32, "little"))


def roots(number: int, count: int) -> bytes:
    return b"".join([(number * 1_000_003 + n).to_bytes(32, "little") for n in range(count)])


def slot(number: int, count: int = 3) -> SlotRoots:
    return SlotRoots(number, name(number), roots(number, count))


def keep(repo: Repo, owner: Cid | int, *slots: SlotRoots) -> None:
    repo.keep_slot_roots(owner, list(pages(slots)), slots)


def rows(repo: Repo) -> tuple[int, int]:
    """Of the slots, and of their pages."""
    with repo.catalogue._readers.borrow() as connection:
        found = one(connection, "SELECT (SELECT count(*) FROM slot_trees), (SELECT count(*) FROM slot_roots)")
    assert found is not None
    return found[0], found[1]


def begin(repo: Repo) -> int:
    """An ingest of the blocks."""
    ingest = repo.begin()
    assert repo.take_in([Stage(ingest, 0, BLOCKS)]) == [None]
    return ingest


def finish(repo: Repo, ingest: int) -> Record:
    record = record_of(Block(MANIFEST.cid, MANIFEST.to_bytes()))
    repo.commit(ingest, TREE, record, 1e12)
    return record


async def test_a_slot_is_found_by_its_name_as_it_was_given(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        await store_dataset(store, BLOCKS)
        for number in range(3):
            await store.put_slot_tree(TREE.root_cid, number, name(number), roots(number, 5))
        assert [await store.get_slot_tree(name(number)) for number in range(4)] == [
            *(roots(number, 5) for number in range(3)),
            None,
        ]
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        assert await store.get_slot_tree(name(2)) == roots(2, 5)
    audit(tmp_path / "repo")


@pytest.mark.parametrize("count", [1, PAGE_BYTES // 32, PAGE_BYTES // 32 + 1, 3 * PAGE_BYTES // 32 - 1])
async def test_a_slot_of_any_size_comes_back(tmp_path: Path, count: int) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        await store_dataset(store, BLOCKS)
        await store.put_slot_tree(TREE.root_cid, 0, name(0), roots(0, count))
        assert await store.get_slot_tree(name(0)) == roots(0, count)


async def test_a_large_slot_is_written_in_steps_and_seen_when_it_is_whole(tmp_path: Path) -> None:
    count = PAGE_BYTES // 32 * STEP_PAGES + 7
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        await store_dataset(store, BLOCKS)
        given = roots(0, count)

        async def put() -> None:
            await store.put_slot_tree(TREE.root_cid, 0, name(0), given)

        async def check() -> None:
            assert await store.get_slot_tree(name(0)) in (None, given)

        assert await cancel_at_every_checkpoint(put, check) > 2
        assert await store.get_slot_tree(name(0)) == given
        # Another one in its place is not mixed with it at any moment.
        other = roots(9, count + 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.put_slot_tree, TREE.root_cid, 0, name(9), other)
            for _ in range(20):
                assert await store.get_slot_tree(name(0)) in (None, given)
                assert await store.get_slot_tree(name(9)) in (None, other)
        assert await store.get_slot_tree(name(0)) is None
        assert await store.get_slot_tree(name(9)) == other


async def test_what_is_no_slot_is_refused(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        await store_dataset(store, BLOCKS)
        tree = TREE.root_cid
        for number, root, given in [
            (-1, name(0), roots(0, 1)),
            (65536, name(0), roots(0, 1)),
            (0, MANIFEST.cid, roots(0, 1)),
            (0, name(0), b""),
            (0, name(0), roots(0, 1)[:-1]),
        ]:
            with pytest.raises(InvalidInput):
                await store.put_slot_tree(tree, number, root, given)
        with pytest.raises(BlockNotFound):
            await store.put_slot_tree(make_dataset(BLOCKS[:2])[0].root_cid, 0, name(0), roots(0, 1))
        with pytest.raises(InvalidInput, match="no open ingest"):
            await store.stage_slot_trees("99", [slot(0)])
        assert await store.get_slot_tree(name(0)) is None


def test_slots_of_an_ingest_are_seen_when_it_is_committed(repo: Repo) -> None:
    ingest = begin(repo)
    keep(repo, ingest, slot(0), slot(1))
    assert repo.catalogue.slot_tree(name(0)) is None
    finish(repo, ingest)
    assert repo.catalogue.slot_tree(name(0)) == roots(0, 3)
    assert repo.catalogue.slot_tree(name(1)) == roots(1, 3)


def test_slots_go_with_an_ingest_that_is_given_up(repo: Repo, reopen: Reopen, clear: Clear) -> None:
    ingest = begin(repo)
    keep(repo, ingest, slot(0), slot(1))
    repo.abort(ingest)
    clear(repo)
    assert rows(repo) == (0, 0)
    keep(repo, begin(repo), slot(0))
    repo.abandon()
    again = reopen()
    assert again.catalogue.slot_tree(name(0)) is None
    clear(again)
    assert rows(again) == (0, 0)
    again.abandon()


def test_slots_go_with_the_tree_and_not_before(repo: Repo, upload: Upload, clear: Clear) -> None:
    first = upload(repo, BLOCKS, "one name")
    second = upload(repo, BLOCKS, "another")
    keep(repo, TREE.root_cid, slot(0), slot(1, PAGE_BYTES // 32 * STEP_PAGES))
    repo.hold(Hold("slot", "a", TREE.root_cid, 2, 2, 1e12))
    repo.drop_dataset(first.cid)
    clear(repo)
    assert repo.catalogue.slot_tree(name(0)) == roots(0, 3)
    repo.drop_dataset(second.cid)
    clear(repo)
    assert repo.catalogue.slot_tree(name(0)) == roots(0, 3)
    repo.drop_hold("slot", "a")
    assert repo.catalogue.slot_tree(name(0)) is None
    clear(repo)
    assert rows(repo) == (0, 0)


def test_a_slot_that_was_fetched_belongs_to_its_tree(repo: Repo, clear: Clear) -> None:
    leaves = [Leaf(index, BLOCKS[index].cid, TREE.proof(index)) for index in (2, 3)]
    assert repo.take_in([PutLeaves(TREE.root_cid, leaves, BLOCKS[2:4], 5.0)]) == [None]
    keep(repo, TREE.root_cid, slot(1))
    assert repo.catalogue.slot_tree(name(1)) == roots(1, 3)
    repo.expire(6.0, 100)
    clear(repo)
    assert rows(repo) == (0, 0)


def test_a_tree_that_is_stored_again_keeps_its_slots(repo: Repo, upload: Upload, clear: Clear) -> None:
    upload(repo, BLOCKS)
    keep(repo, TREE.root_cid, slot(0), slot(1))
    ingest = begin(repo)
    keep(repo, ingest, slot(1), slot(2))
    finish(repo, ingest)
    clear(repo)
    assert [repo.catalogue.slot_tree(name(number)) for number in range(3)] == [
        roots(number, 3) for number in range(3)
    ]
    assert rows(repo) == (3, 3)


def test_slots_of_one_name_are_found_while_one_is_left(repo: Repo, upload: Upload, clear: Clear) -> None:
    others = make_blocks(range(20, 24), 1000)
    record = upload(repo, BLOCKS)
    upload(repo, others)
    for tree in (TREE.root_cid, make_dataset(others)[0].root_cid):
        keep(repo, tree, slot(0), SlotRoots(1, name(0), roots(0, 3)))
    repo.drop_dataset(record.cid)
    clear(repo)
    assert repo.catalogue.slot_tree(name(0)) == roots(0, 3)
    assert rows(repo) == (2, 2)


def test_a_slot_with_a_page_lost_is_not_here(repo: Repo, upload: Upload) -> None:
    upload(repo, BLOCKS)
    keep(repo, TREE.root_cid, slot(0, 3 * PAGE_BYTES // 32))
    with repo._ledger.change("damage") as change:
        change.tx.execute("DELETE FROM slot_roots WHERE page = 1")
    assert repo.catalogue.slot_tree(name(0)) is None


def test_slots_are_in_a_backup(repo: Repo, upload: Upload, tmp_path: Path, reopen: Reopen) -> None:
    upload(repo, BLOCKS)
    keep(repo, TREE.root_cid, slot(0, 5000))
    backup = repo.backup(tmp_path / "copy")
    _take(backup)
    repo.abandon()
    (tmp_path / "repo").rename(tmp_path / "lost")
    (tmp_path / "copy").rename(tmp_path / "repo")
    again = reopen()
    assert again.catalogue.slot_tree(name(0)) == roots(0, 5000)
    again.abandon()


def _take(backup: Backup) -> None:
    backup.begin()
    while backup.step():
        pass
    backup.finish()


def test_an_index_from_before_slots_is_brought_up_to_date(disk: FaultyDisk, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    old = sqlite3.connect(path)
    scripts = ";".join(MIGRATIONS[:2])
    old.executescript(f"{scripts}; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=2;")
    old.close()
    index = Index(disk, path)
    with index.reading() as connection:
        assert one(connection, "SELECT count(*) FROM slot_trees JOIN slot_roots") == (0,)
        assert one(connection, "PRAGMA user_version") == (len(MIGRATIONS),)
    index.close()
