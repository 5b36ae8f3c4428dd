"""The file system behind its seam, and what its errors are turned into."""

import errno
import sqlite3
import stat
from pathlib import Path

import pytest

from codex.errors import CodexError, CorruptData, DataDirLocked, DiskFailed, DiskFull
from codex.store.disk import OsDisk, disk_errors, index_errors


@pytest.fixture
def disk() -> OsDisk:
    return OsDisk()


def test_a_file_is_written_at_any_place_and_read_back(disk: OsDisk, tmp_path: Path) -> None:
    file = disk.open(tmp_path / "file", create=True)
    assert file.pwritev([b"alice", memoryview(b"bob")], 2) == 8
    file.fdatasync()
    assert file.size() == 10
    assert file.pread(100, 0) == b"\0\0alicebob"
    assert file.pread(3, 9) == b"b"
    assert file.pread(3, 10) == b""
    file.truncate(4)
    assert file.pread(100, 0) == b"\0\0al"
    file.close()
    file.close()


def test_making_a_file_that_exists_and_opening_one_that_does_not_fail(disk: OsDisk, tmp_path: Path) -> None:
    disk.open(tmp_path / "file", create=True)
    with pytest.raises(FileExistsError):
        disk.open(tmp_path / "file", create=True)
    with pytest.raises(FileNotFoundError):
        disk.open(tmp_path / "other")


def test_allocated_room_is_really_taken(disk: OsDisk, tmp_path: Path) -> None:
    file = disk.open(tmp_path / "file", create=True)
    file.allocate(100_000)
    assert file.size() == 100_000
    assert (tmp_path / "file").stat().st_blocks * 512 >= 100_000


def test_directories_names_and_links(disk: OsDisk, tmp_path: Path) -> None:
    disk.makedirs(tmp_path / "a" / "b")
    disk.makedirs(tmp_path / "a" / "b")
    disk.open(tmp_path / "a" / "x", create=True)
    assert disk.link(tmp_path / "a" / "x", tmp_path / "a" / "y")
    assert disk.links(tmp_path / "a" / "x") == 2
    disk.rename(tmp_path / "a" / "y", tmp_path / "a" / "z")
    disk.sync_dir(tmp_path / "a")
    assert sorted(disk.listdir(tmp_path / "a")) == ["b", "x", "z"]
    disk.unlink(tmp_path / "a" / "z")
    disk.mkdir(tmp_path / "a" / "c")
    with pytest.raises(FileExistsError):
        disk.mkdir(tmp_path / "a" / "c")
    assert disk.size(tmp_path / "a" / "x") == 0
    for name in ("b", "c", "none"):
        assert disk.discard(tmp_path / "a" / name, "mark", lambda name: True)
    assert disk.listdir(tmp_path / "a") == ["x"]
    assert disk.free(tmp_path) > 0


def test_what_is_made_is_for_this_user_only(disk: OsDisk, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "open").mkdir(mode=0o755)
    disk.makedirs(tmp_path / "open")
    disk.makedirs(tmp_path / "a" / "b")
    disk.connect(tmp_path / "a" / "index").close()
    disk.open(tmp_path / "a" / "file", create=True)
    disk.lock(tmp_path / "a" / "lock")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"open": 0o700, "a": 0o700, "b": 0o700, "index": 0o600, "file": 0o600, "lock": 0o600}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755  # not ours


def test_where_a_second_name_is_impossible_there_is_none(
    disk: OsDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [errno.EXDEV, errno.EPERM, errno.ENOSPC]

    def refuse(source: Path, target: Path) -> None:
        raise OSError(codes.pop(0), "no")

    monkeypatch.setattr("os.link", refuse)
    assert not disk.link(tmp_path / "a", tmp_path / "b")
    assert not disk.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(OSError, match="no"):
        disk.link(tmp_path / "a", tmp_path / "b")


def test_a_lock_is_held_by_one_until_it_is_closed(disk: OsDisk, tmp_path: Path) -> None:
    lock = disk.lock(tmp_path / "lock")
    with pytest.raises(DataDirLocked, match="open in another process") as caught:
        disk.lock(tmp_path / "lock")
    assert caught.value.remedy
    lock.close()
    disk.lock(tmp_path / "lock")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EIO, DiskFailed),
        (errno.EROFS, DiskFailed),
        (errno.EFBIG, DiskFailed),
    ],
)
def test_an_error_of_the_system_becomes_an_answer(code: int, kind: type[CodexError]) -> None:
    with pytest.raises(kind, match="could not write to it") as caught, disk_errors("write to it"):
        raise OSError(code, "whatever")
    assert caught.value.remedy
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, DiskFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, DiskFull),
        (sqlite3.SQLITE_IOERR_FSYNC, DiskFailed),
        (sqlite3.SQLITE_READONLY, DiskFailed),
        (sqlite3.SQLITE_CANTOPEN, DiskFailed),
        (sqlite3.SQLITE_CORRUPT, CorruptData),
        (sqlite3.SQLITE_NOTADB, CorruptData),
        (sqlite3.SQLITE_BUSY, DataDirLocked),
    ],
)
def test_an_error_of_the_index_becomes_an_answer(code: int, kind: type[CodexError]) -> None:
    error = sqlite3.OperationalError("whatever")
    error.sqlite_errorcode = code
    with pytest.raises(kind, match="could not count") as caught, index_errors("count"):
        raise error
    assert caught.value.remedy


def test_mistakes_in_sql_are_no_answers() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError, match="syntax"), index_errors("count"):
        connection.execute("SELECT * FORM nowhere")
    with pytest.raises(sqlite3.ProgrammingError), index_errors("count"):
        connection.execute("SELECT ?")
    connection.close()
