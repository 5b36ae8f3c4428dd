"""The index file: opening it, refusing what is not it, and transactions that leave as Codex errors.

One connection writes, used by one thread at a time; any number of others read, each a consistent snapshot
of what was committed when it began. A transaction is durable when it returns (WAL, synchronous=FULL).
"""

import json
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from codex.errors import CorruptData, WrongVersion
from codex.store.disk import Disk, disk_errors, index_errors
from codex.store.schema import APPLICATION_ID, MIGRATIONS, TABLES
from codex.store.sense import REMEDY, nonsense, sensible

Row = tuple[Any, ...]

PARAMETERS = 500
"""Values bound in one IN list: under the limit of every SQLite in use, long enough to make the statement
cheap.
"""
INSERTED = (64, 16, 4, 1)  # rows in one step: few statements to keep ready, and few steps

_CHECKPOINT_PAGES = 4000
"""Pages of 4 KiB in the write-ahead log before they are carried over into the index: 16 MiB."""

_CACHE_KIB = 64 << 10
_READ_CACHE_KIB = 8 << 10


PUT_BACK = (
    "put the newest index.sqlite back, together with its index.sqlite-wal, or restore a backup;"
    " to go on without what is in these segments, move them elsewhere"
)
"""What helps when there are segments that the index does not know."""


def connect(disk: Disk, path: Path, *, new: bool = True) -> sqlite3.Connection:
    """Open the index for writing, making it when it does not exist (unless `new` is False) and bringing it
    up to date when it is older.

    Raises CorruptData for a file that is no index of ours, empty against expectation, or damaged, without
    having changed it; WrongVersion for one from a newer program.
    """
    with disk_errors("open the index"), index_errors("open the index"), sensible("open the index"):
        connection = disk.connect(path)
        try:
            _check(connection, path, new)
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "fullfsync=ON",  # macOS only: reach the medium, not the drive's cache
                "temp_store=MEMORY",
                f"cache_size=-{_CACHE_KIB}",
                f"wal_autocheckpoint={_CHECKPOINT_PAGES}",
                f"journal_size_limit={_CHECKPOINT_PAGES * 4096}",
            ):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            _migrate(connection)
            _check_tables(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def changes_in(disk: Disk, path: Path) -> int | None:
    """How many changes the index knows of; None when it does not say. Nothing is changed by looking.

    Raises CorruptData, DiskFull, DiskFailed.
    """
    with disk_errors("open the index"), index_errors("open the index"), sensible("open the index"):
        if not disk.size(path):
            return None  # SQLite would throw the log of an empty file away
        connection = disk.peek(path)
        try:
            columns = [row[1] for row in connection.execute("PRAGMA table_info(totals)")]
            row = one(connection, "SELECT changes FROM totals") if "changes" in columns else None
        finally:
            connection.close()
    return row[0] if row is not None and type(row[0]) is int else None


def _check(connection: sqlite3.Connection, path: Path, new: bool) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise CorruptData(
            f"{path} is a database of another program, no index of a block store", remedy=REMEDY
        )
    if not version and not new:
        raise CorruptData(f"{path} is empty, but there are segments beside it", remedy=PUT_BACK)
    if version > len(MIGRATIONS):
        raise WrongVersion(
            f"{path} has format {version}; this program knows formats up to {len(MIGRATIONS)}",
            remedy="run the version of codex that wrote it, or a newer one",
        )


def _migrate(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number in range(version, len(MIGRATIONS)):
        # One script, one transaction: a cut leaves the old format, not a mixture.
        connection.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}; PRAGMA application_id={APPLICATION_ID};"
            f" PRAGMA user_version={number + 1}; COMMIT;"
        )


def _check_tables(connection: sqlite3.Connection, path: Path) -> None:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = sorted(TABLES - tables)
    if missing:
        raise nonsense(f"{path} has no table {', '.join(missing)}")


class Index:
    """The writing connection. Use it from one thread at a time."""

    def __init__(self, disk: Disk, path: Path, *, new: bool = True) -> None:
        self.log = path.with_name(path.name + "-wal")
        self._connection = connect(disk, path, new=new)
        self._doubtful = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for reading outside of a transaction. Raises DiskFailed, CorruptData."""
        with index_errors("read the index"), sensible("read the index"):
            yield self._connection

    @contextmanager
    def transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        """Change rows: all of the block's changes are durable at its end, or none is made.

        Raises DiskFull, DiskFailed or CorruptData, "could not" `doing`; then nothing was changed that can
        be seen. A commit that failed may still come to light after a power cut, as with any database, until
        `settle`.
        """
        tx = self._connection
        with index_errors(doing), sensible(doing):
            try:
                tx.execute("BEGIN IMMEDIATE")
                yield tx
                tx.execute("COMMIT")
            except BaseException as error:
                self._doubtful = self._doubtful or isinstance(error, sqlite3.Error)
                if tx.in_transaction:
                    tx.execute("ROLLBACK")
                raise

    def settle(self) -> None:
        """Make sure that no failed transaction can come to light any more.

        Its pages may stand in the write-ahead log without having been flushed. A new transaction that does
        get through overwrites them. Only then may payload that the failed one spoke of be overwritten.
        """
        if self._doubtful:
            with self.transaction("write to the index") as tx:
                tx.execute("UPDATE totals SET clean = 0")
            self._doubtful = False

    def carry_over(self, *, cut: bool = False) -> None:
        """Begin the write-ahead log anew, as far as readers let it: its room can be used again, or, after a
        `cut`, is the disk's.
        """
        with index_errors("carry the log over into the index"):
            how = "TRUNCATE" if cut else "RESTART"
            self._connection.execute(f"PRAGMA wal_checkpoint({how})").fetchall()

    def close(self) -> None:
        """Let go of the file."""
        with index_errors("close the index"):
            self._connection.close()


class Readers:
    """Connections for reading, as many as are in use at once, kept for later. Any thread may borrow one."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._idle: deque[sqlite3.Connection] = deque()  # its append and pop are atomic

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own for the length of the block. Raises DiskFailed and CorruptData."""
        with disk_errors("read the index"), index_errors("read the index"), sensible("read the index"):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._disk.connect(self._path)
                connection.execute("PRAGMA query_only=ON")
                connection.execute(f"PRAGMA cache_size=-{_READ_CACHE_KIB}")
            try:
                yield connection
            except BaseException:
                # It may be in the middle of anything; a fresh one costs a fraction of a millisecond.
                connection.close()
                raise
            self._idle.append(connection)

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """As `borrow`, and everything read in the block is of one and the same moment."""
        with self.borrow() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close what is idle; nothing may be borrowed any more."""
        while self._idle:
            self._idle.pop().close()


def select_in(
    connection: sqlite3.Connection, before: str, values: Sequence[Any], after: str = ""
) -> Iterator[Row]:
    """Yield the rows of `before IN (values) after`, for any number of values, some hundred at a time.

    `before` and `after` are literal SQL of this package.
    """
    for start in range(0, len(values), PARAMETERS):
        part = values[start : start + PARAMETERS]
        yield from connection.execute(f"{before} IN ({','.join('?' * len(part))}) {after}", part)


def one(connection: sqlite3.Connection, sql: str, *values: Any) -> Row | None:
    """The first row of a query, or None."""
    row: Row | None = connection.execute(sql, values).fetchone()
    return row


def at_once(
    connection: sqlite3.Connection, columns: Sequence[str], blobs: Sequence[str], rows: str, values: Row
) -> list[Row]:
    """These columns of the rows that a query gives; `blobs` names those that have bytes. All are literal SQL.

    SQLite is asked for one row that holds all: between two rows another thread may take the interpreter, and
    keep it for longer than all of this takes.
    """
    texts = [f"CASE WHEN {name} IS NULL THEN NULL ELSE hex({name}) END" for name in columns]
    said = [text if name in blobs else name for name, text in zip(columns, texts, strict=True)]
    try:
        sql = f"SELECT json_group_array(json_array({', '.join(said)})) FROM ({rows})"
        [(text,)] = connection.execute(sql, values)
    except sqlite3.OperationalError as error:
        # JSON has no bytes, which a damaged index may hold anywhere; and an old SQLite has no JSON.
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR:
            raise
        return connection.execute(f"SELECT {', '.join(columns)} FROM ({rows})", values).fetchall()
    found: list[list[Any]] = json.loads(text)
    for place in [place for place, name in enumerate(columns) if name in blobs]:
        for row in found:
            if row[place] is not None:
                row[place] = bytes.fromhex(row[place])
    return [tuple(row) for row in found]


def insert(tx: sqlite3.Connection, before: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run `before` with the values of each row, all literal SQL; several rows in a step, as in `at_once`."""
    if not rows:
        return
    one = f"({','.join('?' * len(rows[0]))})"
    at = 0
    for count in INSERTED:
        if count <= len(rows) - at:
            several = f"{before} VALUES {','.join([one] * count)}"
        while count <= len(rows) - at:
            tx.execute(several, list(chain.from_iterable(rows[at : at + count])))
            at += count
