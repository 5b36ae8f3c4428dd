"""What is asked of an open store: ingests that do not fit together, reservations, deletions."""

from collections.abc import Callable

import pytest

from codex.codec import EMPTY_BLOCK
from codex.data import Block, Manifest
from codex.errors import BlockInUse, InvalidInput, QuotaExceeded
from codex.store import Reservation
from codex.store.manifests import Record, record_of
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.stores import make_blocks, make_dataset

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(6), 1000)
TREE, MANIFEST = make_dataset(BLOCKS)


def record(manifest: Manifest) -> Record:
    return record_of(Block(manifest.cid, manifest.to_bytes()))


def test_a_dataset_needs_all_its_leaves(repo: Repo) -> None:
    ingest = repo.begin()
    repo.take_in([Stage(ingest, 0, BLOCKS[:5])])
    with pytest.raises(InvalidInput, match="5 were staged"):
        repo.commit(ingest, TREE, record(MANIFEST), 1e12)
    repo.take_in([Stage(ingest, 5, BLOCKS[5:])])
    repo.commit(ingest, TREE, record(MANIFEST), 1e12)
    assert repo.catalogue.manifest(MANIFEST.cid) == MANIFEST
    with pytest.raises(InvalidInput, match="no open ingest"):
        repo.commit(ingest, TREE, record(MANIFEST), 1e12)


def test_a_manifest_must_describe_the_tree(repo: Repo) -> None:
    ingest = repo.begin()
    repo.take_in([Stage(ingest, 0, BLOCKS)])
    other = make_dataset(BLOCKS[:5])[1]
    shorter = Manifest(tree_cid=TREE.root_cid, dataset_size=5 * 1024, block_size=1024)
    for manifest in (other, shorter):
        with pytest.raises(InvalidInput, match="does not describe"):
            repo.commit(ingest, TREE, record(manifest), 1e12)
    assert repo.catalogue.manifests(None, 5) == []
    repo.commit(ingest, TREE, record(MANIFEST), 1e12)


def test_a_dataset_whose_manifest_does_not_fit_stays_an_ingest(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=6010)
    ingest = repo.begin()
    assert repo.take_in([Stage(ingest, 0, BLOCKS)]) == [None]
    with pytest.raises(QuotaExceeded):
        repo.commit(ingest, TREE, record(MANIFEST), 1e12)
    assert repo.catalogue.space().total_blocks == 6
    repo.abort(ingest)
    assert repo.catalogue.space().total_blocks == 0
    repo.close()


def test_a_single_block_is_deleted_unless_a_dataset_needs_it(
    repo: Repo, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    made = upload(repo, BLOCKS[:3])
    repo.take_in([Put(BLOCKS[2:4], 1e12)])
    assert repo.delete_block(BLOCKS[3].cid)
    assert not repo.delete_block(BLOCKS[3].cid)
    assert not repo.delete_block(EMPTY_BLOCK)
    with pytest.raises(BlockInUse) as caught:
        repo.delete_block(BLOCKS[2].cid)
    assert caught.value.remedy
    repo.drop_dataset(made.cid)
    clear(repo)
    assert repo.delete_block(BLOCKS[2].cid)
    assert repo.catalogue.space().total_blocks == 0


def test_room_is_reserved_and_released(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=10_000)
    repo.take_in([Put(BLOCKS[:3], 1e12)])
    one, two = repo.reserve(5000, "sales"), repo.reserve(1000, "sales")
    other = repo.reserve(0, "other")
    assert repo.catalogue.reservations("sales") == [
        Reservation(str(one), 5000, "sales"),
        Reservation(str(two), 1000, "sales"),
    ]
    with pytest.raises(QuotaExceeded):
        repo.reserve(1001, "sales")
    (verdict,) = repo.take_in([Put(BLOCKS[3:5], 1e12)])
    assert isinstance(verdict, QuotaExceeded)
    repo.release(one, 1500)
    assert repo.catalogue.space().quota_reserved == 4500
    repo.release(one)
    repo.release(other)
    assert repo.catalogue.reservations("sales") == [Reservation(str(two), 1000, "sales")]
    assert repo.catalogue.space().available == 6000
    for wrong in (lambda: repo.release(one), lambda: repo.release(two, 1001), lambda: repo.release(two, -1)):
        with pytest.raises(InvalidInput):
            wrong()
    with pytest.raises(InvalidInput):
        repo.reserve(-1, "sales")
    repo.close()


def test_a_reservation_outlives_a_restart(repo: Repo, reopen: Callable[..., Repo]) -> None:
    number = repo.reserve(500, "sales")
    repo.abandon()
    again = reopen()
    assert again.catalogue.reservations("sales") == [Reservation(str(number), 500, "sales")]
    assert again.reserve(1, "sales") != number
    again.abandon()


def test_a_quota_that_was_lowered_below_what_is_used_stops_only_what_comes(
    reopen: Callable[..., Repo],
) -> None:
    repo = reopen()
    repo.take_in([Put(BLOCKS, 1e12)])
    repo.close()
    repo = reopen(quota=3000)
    space = repo.catalogue.space()
    assert (space.quota_max, space.quota_used, space.available) == (3000, 6000, 0)
    assert repo.reader.find([BLOCKS[5].cid]).answers == [BLOCKS[5]]
    (verdict,) = repo.take_in([Put(make_blocks([9], 1), 1e12)])
    assert isinstance(verdict, QuotaExceeded)
    assert repo.delete_block(BLOCKS[0].cid)
    repo.close()
