"""The ledger: rows and counters change together or not at all, and room given back is given back."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from codex.errors import CodexError, DiskFailed, DiskFull
from codex.store.manifests import Record
from codex.store.planning import Put
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, segment_numbers

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(10), 1000)


def test_a_change_that_raises_changes_no_counter(repo: Repo, tmp_path: Path) -> None:
    repo.take_in([Put(BLOCKS[:2], 5.0)])
    with pytest.raises(ZeroDivisionError), repo._ledger.change("divide") as change:
        change.reserve(change.block(1, 1, 5000) or 1 // 0)
    audit(tmp_path / "repo")
    assert repo.catalogue.space().quota_used == 2000


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_after_a_failed_commit_the_room_is_used_again_but_not_at_once(
    repo: Repo, disk: FaultyDisk, tmp_path: Path, code: int
) -> None:
    """What the failed transaction spoke of must not be overwritten before it can never come to light."""
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    disk.fail(3, code)
    (verdict,) = repo.take_in([Put(BLOCKS[1:3], 5.0)])
    assert isinstance(verdict, DiskFull | DiskFailed)
    disk.log.clear()
    assert repo.take_in([Put(BLOCKS[3:5], 5.0)]) == [None]
    assert disk.log == ["commit", "write 00000001.seg", "flush 00000001.seg", "commit", "write tally"]
    assert (tmp_path / "repo" / "segments" / "00000001.seg").stat().st_size == 3000


def test_a_failed_commit_of_a_new_segment_leaves_the_store_sound(
    repo: Repo, disk: FaultyDisk, reopen: Callable[..., Repo], tmp_path: Path
) -> None:
    disk.fail(6, errno.EIO)
    (verdict,) = repo.take_in([Put(BLOCKS[:2], 5.0)])
    assert isinstance(verdict, DiskFailed)
    repo.abandon()
    again = reopen()
    segment = tmp_path / "repo" / "segments" / "00000001.seg"
    assert segment.stat().st_size == 2000
    assert again.take_in([Put(BLOCKS[2:3], 5.0)]) == [None]
    assert segment.read_bytes() == BLOCKS[2].data + BLOCKS[1].data
    again.abandon()


@pytest.mark.parametrize("rows", [1, 3])
def test_deleting_uses_the_ballast_when_the_disk_is_full(
    reopen: Callable[..., Repo], disk: FaultyDisk, upload: Upload, rows: int, tmp_path: Path
) -> None:
    repo = reopen(ballast_bytes=4096)
    record = upload(repo, BLOCKS)
    repo.take_in([Put(make_blocks([50], 100), 5.0)])
    ballast = tmp_path / "repo" / "ballast"
    assert ballast.stat().st_size == 4096
    disk.fail(1, errno.ENOSPC)
    tree = repo.drop_dataset(record.cid)
    assert tree is not None
    assert ballast.stat().st_size == 2048
    while repo.sweep(tree, 0.0, rows):
        pass
    assert repo.catalogue.space().quota_used == 100
    assert segment_numbers(tmp_path / "repo") == {2}
    disk.fail(1, errno.ENOSPC)
    assert repo.delete_block(make_blocks([50], 100)[0].cid)
    repo.take_in([Put(make_blocks([50], 100), 5.0)])
    disk.fail(1, errno.ENOSPC, times=2)
    with pytest.raises(DiskFull):
        repo.delete_block(make_blocks([50], 100)[0].cid)
    assert repo.delete_block(make_blocks([50], 100)[0].cid)
    assert repo.restore_ballast()
    assert ballast.stat().st_size == 4096
    repo.close()


def test_every_way_of_giving_room_back_uses_the_ballast(
    reopen: Callable[..., Repo], disk: FaultyDisk, upload: Upload
) -> None:
    repo = reopen(ballast_bytes=4096)
    record = upload(repo, BLOCKS, expiry=10.0)
    number = repo.reserve(10, "sales")
    ingest = repo.begin()
    ways: list[Callable[[], object]] = [
        lambda: repo.abort(ingest),
        lambda: repo.release(number),
        lambda: repo.drop_hold("slot", "a"),
        lambda: repo.expire(20.0, 10),
        lambda: repo.sweep(1, 20.0, 100),
        lambda: repo.delete_block(BLOCKS[0].cid),
        lambda: repo.drop_dataset(record.cid),
    ]
    for way in ways:
        assert repo.restore_ballast()
        disk.fail(1, errno.ENOSPC)
        way()
    assert repo.catalogue.space().quota_used == 0
    repo.close()


def test_other_changes_leave_the_ballast_alone(reopen: Callable[..., Repo], disk: FaultyDisk) -> None:
    repo = reopen(ballast_bytes=4096)
    disk.fail(1, errno.ENOSPC)
    with pytest.raises(DiskFull):
        repo.reserve(10, "sales")
    assert not disk.log[-1].startswith("truncate")
    repo.close()


def test_while_the_ballast_is_lent_out_nothing_may_grow(
    reopen: Callable[..., Repo], disk: FaultyDisk, tmp_path: Path
) -> None:
    repo = reopen(ballast_bytes=4096)
    repo.take_in([Put(BLOCKS[:2], 1e12)])
    disk.fail(1, errno.ENOSPC)
    assert repo.delete_block(BLOCKS[0].cid)
    assert (tmp_path / "repo" / "ballast").stat().st_size == 2048
    disk.capacity = disk._taken() + 4000
    (verdict,) = repo.take_in([Put(BLOCKS[2:3], 1e12)])
    assert isinstance(verdict, DiskFull)
    with pytest.raises(DiskFull):
        repo.begin()
    assert repo.delete_block(BLOCKS[1].cid)
    repo.mark_bad([1])
    disk.capacity += 1000
    assert repo.take_in([Put(BLOCKS[2:3], 1e12)]) == [None]
    assert (tmp_path / "repo" / "ballast").stat().st_size == 4096
    repo.close()


def test_a_segment_that_cannot_be_removed_is_tried_again_with_the_next_change(
    repo: Repo, disk: FaultyDisk, tmp_path: Path
) -> None:
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    for at in (2, 3):  # removing the file, and making that durable
        disk.fail(at, errno.EIO)
        assert repo.delete_block(BLOCKS[0].cid)
        audit(tmp_path / "repo")
        disk.heal()
        repo.reserve(1, "sales")
        assert segment_numbers(tmp_path / "repo") == set()
        repo.take_in([Put(BLOCKS[:1], 5.0)])
    with repo.catalogue._readers.borrow() as connection:
        assert connection.execute("SELECT state FROM segments").fetchall() == [(0,)]


def test_a_segment_that_cannot_be_removed_is_removed_at_the_next_start(
    repo: Repo, disk: FaultyDisk, reopen: Callable[..., Repo], tmp_path: Path
) -> None:
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    disk.fail(2, errno.EIO)
    assert repo.delete_block(BLOCKS[0].cid)
    assert segment_numbers(tmp_path / "repo") == {1}
    repo.abandon()
    reopen().abandon()
    assert segment_numbers(tmp_path / "repo") == set()


def test_every_refusal_says_what_to_do(repo: Repo, disk: FaultyDisk) -> None:
    for code in (errno.ENOSPC, errno.EIO):
        for at in (1, 2, 3):
            disk.fail(at, code, times=9)
            (verdict,) = repo.take_in([Put(BLOCKS, 5.0)])
            disk.heal()
            assert isinstance(verdict, CodexError)
            assert verdict.remedy
            assert "could not" in verdict.message
