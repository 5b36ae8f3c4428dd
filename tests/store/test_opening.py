"""Opening: what is refused, with a remedy, and what is cleared away."""

import errno
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from codex.errors import CorruptData, DataDirLocked, DiskFailed, DiskFull, WrongVersion
from codex.store.manifests import Record
from codex.store.opening import open_repo
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


def files_of(directory: Path) -> dict[str, bytes]:
    """Everything in a store's directory but what opening it always makes or takes."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in paths if path.name not in ("lock", "ballast")}


def test_segments_that_the_index_does_not_know_are_refused_and_left(closed: Path, reopen: Reopen) -> None:
    for name in ("00000009.seg", "00000004.seg", "notes.txt"):
        (closed / "segments" / name).write_bytes(b"whatever")
    before = files_of(closed)
    for _ in range(2):
        with pytest.raises(CorruptData, match=r"00000004\.seg, 00000009\.seg") as caught:
            reopen()
        assert "put the newest index.sqlite back" in caught.value.remedy
        assert files_of(closed) == before
    # What the remedy says helps.
    for name in ("00000009.seg", "00000004.seg"):
        (closed / "segments" / name).rename(closed / name)
    repo = reopen()
    assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    repo.close()


@pytest.fixture
def running(reopen: Reopen, upload: Upload) -> Repo:
    """A store with a dataset, of whose index nothing was carried over from the log yet."""
    repo = reopen()
    upload(repo, BLOCKS)
    return repo


def copy_of(directory: Path, target: Path) -> Path:
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns("*-shm"))
    return target


@pytest.mark.parametrize("loss", ["log", "content", "file", "header"])
def test_an_index_that_was_lost_takes_no_segment_along(
    running: Repo, disk: FaultyDisk, tmp_path: Path, loss: str
) -> None:
    directory = copy_of(tmp_path / "repo", tmp_path / "copy")
    index, log = directory / "index.sqlite", directory / "index.sqlite-wal"
    whole = {path: path.read_bytes() for path in (index, log)}
    log.unlink()
    if loss == "content":
        index.write_bytes(b"")
    elif loss == "file":
        index.unlink()
    elif loss == "header":
        index.write_bytes(index.read_bytes()[:100])
    before = files_of(directory)
    for _ in range(2):
        with pytest.raises(CorruptData) as caught:
            open_repo(directory, quota=1 << 20, disk=disk, ballast_bytes=0)
        assert caught.value.remedy
        assert files_of(directory) == before
    for path, content in whole.items():
        path.write_bytes(content)
    again = open_repo(directory, quota=1 << 20, disk=disk, ballast_bytes=0)
    assert again.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    again.close()
    running.abandon()


def test_an_older_index_takes_no_payload_along(closed: Path, reopen: Reopen, upload: Upload) -> None:
    index = closed / "index.sqlite"
    older = index.read_bytes()
    repo = reopen()
    upload(repo, make_blocks(range(100, 103), 1000))  # into the last segment
    repo.close()
    newer, segments = index.read_bytes(), closed / "segments"
    index.write_bytes(older)
    before = files_of(closed)
    with pytest.raises(CorruptData, match=r"lacks its last 5 of \d+ changes") as caught:
        reopen()
    assert files_of(closed) == before
    assert f"remove the file {closed / 'tally'}" in caught.value.remedy
    (closed / "tally").unlink()
    repo = reopen()  # nothing tells that this index is old
    assert repo.kept == ["00000003.seg"]
    assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    repo.take_in([Put(make_blocks(range(200, 205), 1000), 1e12)])
    repo.close()
    index.write_bytes(newer)
    (closed / "tally").unlink()
    with pytest.raises(CorruptData, match=r"00000004\.seg"):
        reopen()
    (segments / "00000004.seg").rename(closed / "00000004.seg")
    repo = reopen()
    for blocks in (BLOCKS, make_blocks(range(100, 103), 1000)):
        assert repo.reader.find([block.cid for block in blocks]).answers == blocks
    repo.close()


def test_an_older_index_that_lacks_segments_is_refused(closed: Path, reopen: Reopen, upload: Upload) -> None:
    index = closed / "index.sqlite"
    older = index.read_bytes()
    repo = reopen()
    blocks = make_blocks(range(100, 120), 1000)
    upload(repo, blocks)
    repo.close()
    newer = index.read_bytes()
    index.write_bytes(older)
    (closed / "tally").unlink()
    before = files_of(closed)
    with pytest.raises(CorruptData, match=r"does not know 2 segments .*00000004\.seg"):
        reopen()
    assert files_of(closed) == before
    index.write_bytes(newer)
    repo = reopen()
    for those in (BLOCKS, blocks):
        assert repo.reader.find([block.cid for block in those]).answers == those
    repo.close()


def test_the_number_of_a_segment_is_never_given_twice(repo: Repo, reopen: Reopen, tmp_path: Path) -> None:
    (block,) = make_blocks([1])
    for number in (1, 2, 3):
        again = repo if number == 1 else reopen()
        again.take_in([Put([block], 1e12)])
        assert segment_numbers(tmp_path / "repo") == {number}
        again.delete_block(block.cid)
        assert segment_numbers(tmp_path / "repo") == set()
        again.close()


def test_a_segment_is_named_before_it_is_made(repo: Repo, disk: FaultyDisk) -> None:
    disk.log.clear()
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    assert disk.log[:2] == ["commit", "create 00000001.seg"]


def test_what_is_beyond_the_end_is_kept_where_nothing_is_certain(closed: Path, reopen: Reopen) -> None:
    last = closed / "segments" / "00000003.seg"
    content = last.read_bytes() + b"half a block"
    last.write_bytes(content)
    (closed / "tally").write_bytes(b"rubbish")
    repo = reopen()
    assert repo.kept == ["00000003.seg"]
    repo.take_in([Put(make_blocks([99], 500), 5.0)])
    repo.close()
    assert last.read_bytes() == content
    assert segment_numbers(closed) == {1, 2, 3, 4}
    repo = reopen()
    assert repo.kept == []
    repo.close()


def test_what_is_beyond_the_end_of_a_whole_index_is_written_over(closed: Path, reopen: Reopen) -> None:
    last = closed / "segments" / "00000003.seg"
    content = last.read_bytes()
    last.write_bytes(content + b"half a block")
    repo = reopen()
    assert repo.kept == []
    assert last.read_bytes() == content + b"half a block"
    (block,) = make_blocks([99], 500)
    repo.take_in([Put([block], 5.0)])
    repo.close()
    assert last.read_bytes() == content + block.data


@pytest.mark.parametrize("certain", [True, False])
def test_a_segment_of_which_nothing_is_recorded_is_kept_unless_it_is_certain(
    repo: Repo, reopen: Reopen, disk: FaultyDisk, tmp_path: Path, certain: bool
) -> None:
    disk.fail(6, errno.EIO)  # the commit after the first payload of a new segment
    (verdict,) = repo.take_in([Put(BLOCKS[:2], 5.0)])
    assert isinstance(verdict, DiskFailed)
    repo.abandon()
    segments = tmp_path / "repo" / "segments"
    content = (segments / "00000001.seg").read_bytes()
    assert content == BLOCKS[0].data + BLOCKS[1].data
    if not certain:
        (tmp_path / "repo" / "tally").unlink()
    again = reopen()
    assert again.kept == ([] if certain else ["00000001.seg.kept"])
    assert again.take_in([Put(BLOCKS[:1], 5.0)]) == [None]
    assert sorted(path.name for path in segments.iterdir()) == (
        ["00000001.seg"] if certain else ["00000001.seg.kept", "00000002.seg"]
    )
    assert certain or (segments / "00000001.seg.kept").read_bytes() == content
    again.close()


def test_any_flipped_bit_of_the_log_is_noticed_and_nothing_destroyed(
    running: Repo, tmp_path: Path, upload: Upload
) -> None:
    upload(running, make_blocks(range(100, 110), 1000))
    whole = copy_of(tmp_path / "repo", tmp_path / "whole")
    running.abandon()
    size = (whole / "index.sqlite-wal").stat().st_size
    for number in range(40):
        copy = copy_of(whole, tmp_path / str(number))
        log = copy / "index.sqlite-wal"
        content = bytearray(log.read_bytes())
        content[40 + (size - 41) * number // 39] ^= 1 << number % 8
        log.write_bytes(content)
        before = files_of(copy)
        for _ in range(2):
            with pytest.raises(CorruptData, match="lacks its") as caught:
                open_repo(copy, quota=1 << 20)
            assert caught.value.remedy
            assert {name: data for name, data in files_of(copy).items() if name in before} == before
        log.write_bytes((whole / "index.sqlite-wal").read_bytes())
        again = open_repo(copy, quota=1 << 20)
        assert again.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
        again.close()


def test_a_log_that_is_torn_where_nothing_was_acknowledged_is_no_damage(
    running: Repo, tmp_path: Path, upload: Upload
) -> None:
    directory = tmp_path / "repo"
    log = directory / "index.sqlite-wal"
    acknowledged, tally = log.stat().st_size, (directory / "tally").read_bytes()
    upload(running, make_blocks(range(100, 103), 1000))
    for keep in (24, 4000, 9000):
        # As after a power cut: of the next commit some reached the disk, and of its pages not the first.
        torn = copy_of(directory, tmp_path / str(keep))
        content = log.read_bytes()[: acknowledged + keep]
        (torn / log.name).write_bytes(content[:acknowledged] + bytes(24) + content[acknowledged + 24 :])
        (torn / "tally").write_bytes(tally)
        repo = open_repo(torn, quota=1 << 20)
        assert repo.kept == []
        assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
        repo.close()
        audit(torn)
    running.abandon()


def test_an_older_tally_and_a_damaged_one_raise_no_alarm(closed: Path, reopen: Reopen) -> None:
    tally = (closed / "tally").read_bytes()
    reopen().close()
    for content in (tally, b"", tally[:5], bytes(len(tally)), tally[:-1] + bytes([tally[-1] ^ 1]), tally * 2):
        (closed / "tally").write_bytes(content)
        repo = reopen()
        assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
        repo.close()
        assert (closed / "tally").read_bytes()[: len(tally)] > tally


def test_a_tally_that_cannot_be_written_stops_nobody(repo: Repo, reopen: Reopen, disk: FaultyDisk) -> None:
    disk.fail(7, errno.EIO)
    assert repo.take_in([Put(BLOCKS[:2], 5.0)]) == [None]
    assert disk.log[-1] == "write tally"
    repo.abandon()
    again = reopen()
    assert again.reader.find([BLOCKS[0].cid]).answers == BLOCKS[:1]
    again.abandon()


@pytest.mark.parametrize("kind", ["directory", "dangling"])
def test_a_lock_that_cannot_be_held_is_named(closed: Path, reopen: Reopen, kind: str) -> None:
    lock = closed / "lock"
    lock.unlink()
    if kind == "directory":
        lock.mkdir()
    else:
        lock.symlink_to(closed / "no" / "where")
    with pytest.raises(DiskFailed, match=f"could not lock {lock}"):
        reopen()


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
    assert (closed / "ballast").stat().st_size == 2048


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
