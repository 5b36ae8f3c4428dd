"""The index file: what is accepted as one, and what a transaction promises."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codex.errors import CorruptData, DiskFailed, DiskFull, WrongVersion
from codex.store.disk import OsDisk
from codex.store.index import INSERTED, Index, Readers, at_once, insert, one, select_in
from codex.store.schema import APPLICATION_ID, MIGRATIONS
from codex.testing.disks import FaultyDisk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_a_new_index_has_all_tables_and_survives_closing(disk: FaultyDisk, path: Path) -> None:
    index = Index(disk, path)
    with index.transaction("reserve") as tx:
        tx.execute("UPDATE totals SET reserved = 5")
    index.close()
    index = Index(disk, path)
    with index.reading() as connection:
        assert one(connection, "SELECT blocks, used, reserved FROM totals") == (0, 0, 5)
        assert one(connection, "PRAGMA user_version") == (len(MIGRATIONS),)
        assert one(connection, "PRAGMA application_id") == (APPLICATION_ID,)
        assert one(connection, "PRAGMA journal_mode") == ("wal",)
    index.close()


def test_the_real_disk_is_told_to_flush_every_commit(path: Path) -> None:
    index = Index(OsDisk(), path)
    with index.reading() as connection:
        assert one(connection, "PRAGMA synchronous") == (2,)
    index.close()


def test_a_database_of_another_program_is_refused(disk: FaultyDisk, path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE things(x)")
    other.close()
    with pytest.raises(CorruptData, match="another program") as caught:
        Index(disk, path)
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_file_that_is_no_database_is_refused(disk: FaultyDisk, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CorruptData, match="damaged") as caught:
        Index(disk, path)
    assert caught.value.remedy


def test_a_newer_format_is_refused_and_left_alone(disk: FaultyDisk, path: Path) -> None:
    Index(disk, path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(WrongVersion, match="format") as caught:
        Index(disk, path)
    assert caught.value.remedy


def test_an_older_format_is_brought_up_to_date(
    disk: FaultyDisk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Index(disk, path).close()
    monkeypatch.setattr("codex.store.index.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE added(x)"))
    index = Index(disk, path)
    with index.reading() as connection:
        assert one(connection, "SELECT count(*) FROM added") == (0,)
        assert one(connection, "PRAGMA user_version") == (len(MIGRATIONS) + 1,)
    index.close()


def test_a_transaction_that_raises_changes_nothing(disk: FaultyDisk, path: Path) -> None:
    index = Index(disk, path)
    with pytest.raises(sqlite3.OperationalError, match="syntax"), index.transaction("count") as tx:
        tx.execute("UPDATE totals SET used = 1").connection.execute("SELECT * FORM nowhere")
    with index.reading() as connection:
        assert one(connection, "SELECT used FROM totals") == (0,)
    index.close()


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)])
def test_a_commit_that_fails_changes_nothing_and_must_be_settled(
    disk: FaultyDisk, path: Path, code: int, kind: type[Exception]
) -> None:
    index = Index(disk, path)
    disk.fail(1, code)
    with pytest.raises(kind, match="could not count"), index.transaction("count") as tx:
        tx.execute("UPDATE totals SET used = 1")
    with index.reading() as connection:
        assert one(connection, "SELECT used FROM totals") == (0,)
    commits = disk.log.count("commit")
    index.settle()
    assert disk.log.count("commit") == commits + 1
    index.settle()
    assert disk.log.count("commit") == commits + 1
    index.close()


def test_while_the_disk_refuses_nothing_can_be_settled(disk: FaultyDisk, path: Path) -> None:
    index = Index(disk, path)
    disk.fail(1, errno.EIO, times=2)
    with pytest.raises(DiskFailed), index.transaction("count") as tx:
        tx.execute("UPDATE totals SET used = 1")
    with pytest.raises(DiskFailed):
        index.settle()
    index.settle()
    index.close()


def test_a_full_index_is_told_as_a_full_disk(disk: FaultyDisk, path: Path) -> None:
    index = Index(disk, path)
    with index.reading() as connection:
        connection.execute("PRAGMA max_page_count=50")
    with pytest.raises(DiskFull, match="could not fill"), index.transaction("fill") as tx:
        tx.execute(
            "INSERT INTO manifests(cid, tree, data, parity, expiry) VALUES (x'', 0, ?, x'', 0)",
            (bytes(1 << 20),),
        )
    with index.transaction("count") as tx:
        tx.execute("UPDATE totals SET used = 1")
    index.close()


def test_readers_see_what_was_committed_and_a_snapshot_stands_still(disk: FaultyDisk, path: Path) -> None:
    index = Index(disk, path)
    readers = Readers(disk, path)
    with readers.snapshot() as frozen, readers.borrow() as live:
        assert one(frozen, "SELECT used FROM totals") == (0,)
        with index.transaction("count") as tx:
            tx.execute("UPDATE totals SET used = 1")
            assert one(live, "SELECT used FROM totals") == (0,)
        assert one(frozen, "SELECT used FROM totals") == (0,)
        assert one(live, "SELECT used FROM totals") == (1,)
    with readers.borrow() as again, pytest.raises(sqlite3.OperationalError):
        again.execute("UPDATE totals SET used = 2")
    readers.close()
    index.close()


def test_a_reader_that_failed_is_not_lent_again(disk: FaultyDisk, path: Path) -> None:
    Index(disk, path).close()
    readers = Readers(disk, path)
    with pytest.raises(ZeroDivisionError), readers.borrow() as first:
        raise ZeroDivisionError
    with pytest.raises(sqlite3.ProgrammingError):
        first.execute("SELECT 1")
    with readers.borrow() as second:
        assert one(second, "SELECT 1") == (1,)
    with readers.borrow() as third:
        assert third is second
    readers.close()


def test_any_number_of_values_can_be_looked_up() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE numbers(n INTEGER)")
    connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(0, 3000, 2)])
    found = [
        row[0] for row in select_in(connection, "SELECT n FROM numbers WHERE n", range(1700), "AND n > 10")
    ]
    assert sorted(found) == list(range(12, 1700, 2))
    assert list(select_in(connection, "SELECT n FROM numbers WHERE n", [])) == []
    connection.close()


@pytest.fixture
def things() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE things(number, name, bytes)")
    yield connection
    connection.close()


@pytest.mark.parametrize("count", [0, 1, *(size - 1 for size in INSERTED[:-1]), 64, 64 + 16 + 4 + 1, 211])
def test_what_is_inserted_several_rows_in_a_step_is_all_there(things: sqlite3.Connection, count: int) -> None:
    rows = [(number, f"name {number}", bytes([number, 0, 255])) for number in range(count)]
    insert(things, "INSERT INTO things(number, name, bytes)", rows)
    assert things.execute("SELECT * FROM things").fetchall() == rows


NAMES = ("number", "name", "bytes")
SENSE: list[tuple[Any, ...]] = [
    (3, "three", b"\x00\xff"),
    (2**62, None, b""),
    (-1, 'quo"te\\ ü', None),
    (None, "1", bytes(300)),
    (2.5, "", b"a"),
]


@pytest.mark.parametrize("more", [[], [(1, b"bytes where none should be", b"")]])
def test_rows_at_once_are_what_they_are_one_by_one(
    things: sqlite3.Connection, more: list[tuple[Any, ...]]
) -> None:
    rows = SENSE + more
    insert(things, "INSERT INTO things(number, name, bytes)", rows)
    asked = "SELECT * FROM things WHERE number IS NOT ? ORDER BY rowid DESC"
    assert at_once(things, NAMES, ("bytes",), asked, ("none",)) == rows[::-1]
    assert at_once(things, NAMES, ("bytes",), "SELECT * FROM things WHERE number = ?", (7,)) == []


def test_rows_at_once_are_one_question(
    things: sqlite3.Connection,
) -> None:
    insert(things, "INSERT INTO things(number, name, bytes)", SENSE)
    asked: list[str] = []
    things.set_trace_callback(asked.append)
    assert at_once(things, NAMES, ("bytes",), "SELECT * FROM things", ()) == SENSE
    assert len(asked) == 1


def test_rows_at_once_of_a_table_that_is_missing_are_an_error(things: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        at_once(things, NAMES, ("bytes",), "SELECT * FROM others", ())
