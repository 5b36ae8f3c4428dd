"""What discovery writes down, so that a restart costs nothing: an SQLite file in the node's `dht` directory.

It holds nodes to ask first, providers of contents, and when our own contents were announced. All of it is
hearsay or can be done again. So a transaction may be lost in a power cut, and a file that is damaged or makes
no sense is set aside and begun anew. A disk that refuses to write is told, and the node goes on from memory.

For one thread at a time; every method may block.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from attrs import frozen

from codex.codec import Cid
from codex.discovery.providers import Changes, Said
from codex.discovery.seeds import Seed
from codex.errors import CodexError, CorruptData, DecodeError, DiskFailed
from codex.p2p import PeerId, SignedPeerRecord

T = TypeVar("T")

_REFUSED = "what discovery knows could not be written down or read: {}"
_VERSION = 1
_APPLICATION = 0x63647864
_TABLES = """
CREATE TABLE seeds (record BLOB NOT NULL, seen_at REAL NOT NULL);
CREATE TABLE records (peer BLOB PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE said (
    content BLOB NOT NULL, peer BLOB NOT NULL, expiry REAL NOT NULL, source TEXT NOT NULL,
    PRIMARY KEY (content, peer)
) WITHOUT ROWID;
CREATE TABLE announced (cid BLOB PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
"""
_REACHED = "CREATE TABLE IF NOT EXISTS reached (addresses TEXT NOT NULL, since REAL NOT NULL)"


@frozen
class Remembered:
    """What was written down of others: seeds, records of providers, and what they have, oldest first."""

    seeds: tuple[Seed, ...]
    records: tuple[SignedPeerRecord, ...]
    said: tuple[Said, ...]


@frozen
class Announced:
    """What was written down of our own contents: when each was announced last, and the addresses that others
    are told of since then. Times are unix seconds.
    """

    times: dict[Cid, float]
    addresses: str
    since: float


class Archive:
    """The file. Open it with `open_archive`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def remembered(self, now: float) -> Remembered:
        """Read what was written down and has not expired. Raises CorruptData, DiskFailed."""
        with _errors():
            seeds = self._connection.execute("SELECT record, seen_at FROM seeds").fetchall()
            records = self._connection.execute("SELECT record FROM records").fetchall()
            said = self._connection.execute(
                "SELECT content, peer, expiry, source FROM said WHERE expiry > ? ORDER BY expiry", (now,)
            ).fetchall()
            return Remembered(
                tuple(Seed(SignedPeerRecord.from_bytes(record), float(at)) for record, at in seeds),
                tuple(SignedPeerRecord.from_bytes(record) for (record,) in records),
                tuple(
                    Said(bytes(content), PeerId(bytes(peer)), float(expiry), str(source))
                    for content, peer, expiry, source in said
                ),
            )

    def save(self, changes: Changes, seeds: Sequence[Seed] | None, now: float) -> None:
        """Write what has changed, and the seeds in place of those before unless they are None; drop what has
        expired. Raises DiskFailed, CorruptData.
        """
        with _errors(), self._transaction() as tx:
            tx.executemany("DELETE FROM said WHERE content = ? AND peer = ?", _pairs(changes.gone))
            tx.executemany(
                "INSERT OR REPLACE INTO said VALUES (?, ?, ?, ?)",
                [(one.content, one.provider.raw, one.expiry, one.source) for one in changes.said],
            )
            tx.executemany(
                "INSERT OR REPLACE INTO records VALUES (?, ?)",
                [(record.record.peer_id.raw, record.to_bytes()) for record in changes.records],
            )
            if seeds is not None:
                tx.execute("DELETE FROM seeds")
                tx.executemany(
                    "INSERT INTO seeds VALUES (?, ?)",
                    [(seed.record.to_bytes(), seed.seen_at) for seed in seeds],
                )
                tx.execute("DELETE FROM said WHERE expiry <= ?", (now,))
                tx.execute("DELETE FROM records WHERE peer NOT IN (SELECT peer FROM said)")

    def announced(self) -> Announced:
        """Read what was written down of our own contents. Raises DiskFailed, CorruptData."""
        with _errors():
            rows = self._connection.execute("SELECT cid, at FROM announced").fetchall()
            times = {Cid.from_bytes(bytes(cid)): float(at) for cid, at in rows}
            reached = self._connection.execute("SELECT addresses, since FROM reached").fetchone()
            addresses, since = reached or ("", 0.0)
            return Announced(times, str(addresses), float(since))

    def save_announced(
        self, times: Iterable[tuple[Cid, float]], dropped: Iterable[Cid], addresses: str, since: float
    ) -> None:
        """Write when contents were announced, drop those that are ours no more, and write which addresses
        others are told of, and since when. Raises DiskFailed, CorruptData.
        """
        with _errors(), self._transaction() as tx:
            tx.executemany("DELETE FROM announced WHERE cid = ?", [(cid.raw,) for cid in dropped])
            tx.executemany("INSERT OR REPLACE INTO announced VALUES (?, ?)", [(c.raw, at) for c, at in times])
            tx.execute("DELETE FROM reached")
            tx.execute("INSERT INTO reached VALUES (?, ?)", (addresses, since))

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        tx = self._connection
        try:
            tx.execute("BEGIN IMMEDIATE")
            yield tx
            tx.execute("COMMIT")
        except BaseException:
            if tx.in_transaction:
                tx.execute("ROLLBACK")
            raise


def open_archive(path: Path, read: Callable[[Archive], T]) -> tuple[Archive, T, bool]:
    """Open or make the file at `path`, and return what `read` makes of it, and whether it was begun anew
    because what stood there was no such file, or damaged; that one is renamed to `….damaged`.

    Raises DiskFailed.
    """
    try:
        return (*_open(path, read), False)
    except CorruptData:
        with _errors():
            os.replace(path, path.with_name(f"{path.name}.damaged"))
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
        return (*_open(path, read), True)


def _open(path: Path, read: Callable[[Archive], T]) -> tuple[Archive, T]:
    with _errors():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            connection.execute("PRAGMA synchronous=NORMAL")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if (application, version) == (0, 0):
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id={_APPLICATION};"
                    f" PRAGMA user_version={_VERSION}; COMMIT;"
                )
            elif (application, version) != (_APPLICATION, _VERSION):
                raise CorruptData(f"{path} is another program's, or another version's")
            connection.execute(_REACHED)
            archive = Archive(connection)
            return archive, read(archive)
        except BaseException:
            connection.close()
            raise


def _pairs(gone: Iterable[tuple[bytes, PeerId]]) -> list[tuple[bytes, bytes]]:
    return [(content, peer.raw) for content, peer in gone]


@contextmanager
def _errors() -> Iterator[None]:
    """Translate what goes wrong with the file into CorruptData, when that is in the file, or DiskFailed."""
    try:
        yield
    except CodexError as error:
        if isinstance(error, DecodeError):
            raise CorruptData(f"what discovery wrote down makes no sense: {error.message}") from error
        raise
    except OSError as error:
        raise DiskFailed(_REFUSED.format(error)) from error
    except (sqlite3.Error, ValueError, TypeError) as error:
        # The plain code means that a statement does not fit the tables: they are not what they should be.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
            raise DiskFailed(_REFUSED.format(error)) from error
        raise CorruptData(f"what discovery wrote down is damaged: {error}") from error
