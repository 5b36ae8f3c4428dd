"""Opening: what is refused, with a remedy, and what is cleared away."""

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from codex.errors import CorruptData, DataDirLocked, DiskFailed, DiskFull, WrongVersion
from codex.store.manifests import Record
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, segment_numbers

Upload = Callable[..., Record]
Reopen = Callable[..., Repo]

BLOCKS = make_blocks(range(20), 1000)


@pytest.fixture
def closed(reopen: Reopen, upload: Upload, tmp_path: Path) -> Path:
    """A store with 20 blocks in three segments, closed in good order; its directory."""
    repo = reopen()
    upload(repo, BLOCKS)
    repo.close()
    return tmp_path / "repo"


def test_a_store_is_as_it_was_closed(closed: Path, reopen: Reopen) -> None:
    repo = reopen()
    assert not repo.unclean
    assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    assert repo.take_in([Put(make_blocks([99], 500), 5.0)]) == [None]
    assert segment_numbers(closed) == {1, 2, 3}
    repo.close()


def test_a_store_that_was_not_closed_is_unclean_once(closed: Path, reopen: Reopen) -> None:
    reopen().abandon()
    repo = reopen()
    assert repo.unclean
    repo.close()
    repo = reopen()
    assert not repo.unclean
    repo.close()


def test_a_store_is_open_once(repo: Repo, reopen: Reopen) -> None:
    with pytest.raises(DataDirLocked):
        reopen()
    assert repo.take_in([Put(BLOCKS, 5.0)]) == [None]


def test_what_was_refused_can_be_opened_later(closed: Path, reopen: Reopen) -> None:
    index = closed / "index.sqlite"
    content = index.read_bytes()
    index.write_bytes(b"rubbish" * 1000)
    for _ in range(2):
        with pytest.raises(CorruptData):
            reopen()
    index.write_bytes(content)
    reopen().close()


def test_a_newer_format_is_refused(closed: Path, reopen: Reopen) -> None:
    connection = sqlite3.connect(closed / "index.sqlite")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(WrongVersion):
        reopen()


def test_a_missing_segment_is_refused_and_can_be_written_off(closed: Path, reopen: Reopen) -> None:
    (closed / "segments" / "00000002.seg").unlink()
    with pytest.raises(CorruptData, match="00000002") as caught:
        reopen()
    assert "empty file" in caught.value.remedy
    (closed / "segments" / "00000002.seg").touch()
    repo = reopen()
    found = repo.reader.find([block.cid for block in BLOCKS])
    assert sum(answer in BLOCKS for answer in found.answers) == 12
    assert len(found.rotten) == 8
    repo.mark_bad(found.rotten)
    repo.take_in([Put(BLOCKS, 5.0)])
    assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    repo.close()
    audit(closed)


def test_files_that_the_index_does_not_know_are_removed_and_others_left(closed: Path, reopen: Reopen) -> None:
    for name in ("00000009.seg", "00000004.seg", "notes.txt"):
        (closed / "segments" / name).write_bytes(b"whatever")
    repo = reopen()
    assert sorted(path.name for path in (closed / "segments").iterdir()) == [
        "00000001.seg",
        "00000002.seg",
        "00000003.seg",
        "notes.txt",
    ]
    repo.take_in([Put(make_blocks(range(100, 110), 1000), 5.0)])
    assert (closed / "segments" / "00000010.seg").exists()
    repo.close()


def test_a_tail_that_was_not_recorded_is_cut_off(closed: Path, reopen: Reopen) -> None:
    last = closed / "segments" / "00000003.seg"
    content = last.read_bytes()
    last.write_bytes(content + b"half a block")
    reopen().close()
    assert last.read_bytes() == content


def test_an_active_segment_that_lost_its_end_is_not_appended_to(closed: Path, reopen: Reopen) -> None:
    last = closed / "segments" / "00000003.seg"
    last.write_bytes(last.read_bytes()[:1500])
    repo = reopen()
    repo.take_in([Put(make_blocks([99], 500), 5.0)])
    assert last.stat().st_size == 1500
    assert segment_numbers(closed) == {1, 2, 3, 4}
    found = repo.reader.find([block.cid for block in BLOCKS])
    assert len(found.rotten) == 3
    repo.close()


def test_what_was_being_written_is_gone_from_sight_and_sum(
    repo: Repo, reopen: Reopen, upload: Upload
) -> None:
    upload(repo, BLOCKS[:5])
    used = repo.catalogue.space()
    repo.take_in([Stage(repo.begin(), 0, BLOCKS)])
    repo.abandon()
    again = reopen()
    assert again.catalogue.space() == used
    assert again.reader.has([block.cid for block in BLOCKS]) == [True] * 5 + [False] * 15
    again.abandon()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_at_the_start_leaves_the_store_as_it_was(
    closed: Path, reopen: Reopen, disk: FaultyDisk, code: int
) -> None:
    before = disk.changes
    reopen().abandon()
    for at in range(1, disk.changes - before + 1):
        disk.fail(at, code, times=1000)
        with pytest.raises(DiskFull if code == errno.ENOSPC else DiskFailed):
            reopen()
        disk.heal()
        audit(closed)
    repo = reopen()
    assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    repo.close()


def test_a_full_disk_is_no_reason_not_to_start(closed: Path, reopen: Reopen, disk: FaultyDisk) -> None:
    reopen(ballast_bytes=4096).close()
    assert (closed / "ballast").stat().st_size == 4096
    disk.fail(1, errno.ENOSPC)
    reopen(ballast_bytes=4096).close()
    assert (closed / "ballast").stat().st_size == 0


def test_a_close_that_the_disk_refuses_still_lets_go(closed: Path, reopen: Reopen, disk: FaultyDisk) -> None:
    repo = reopen()
    disk.fail(1, errno.EIO)
    with pytest.raises(DiskFailed):
        repo.close()
    again = reopen()
    assert again.unclean
    again.close()


def test_a_directory_that_cannot_be_made(reopen: Reopen, tmp_path: Path) -> None:
    (tmp_path / "repo").write_bytes(b"")
    with pytest.raises(DiskFailed, match="repo"):
        reopen()
