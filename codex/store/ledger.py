"""The ledger: the one way in which anything in the store changes.

A `Change` is one transaction. Rows are changed through its `tx`; whatever makes them count is told to the
change beside it (`block`, `move`, `charge`, …) and is written to the counters in the same transaction,
together with the lengths of segments that were appended to and the count of changes, of which the tally is
told as well. When it is committed, segments without live
bytes are removed from the disk, and their rows with a later change. So at any moment `totals`,
`segments.live` and the charges of ingests are the sums of the rows, and no other code touches them.

What makes the store grow is refused while the ballast is lent out: that room is for deleting.

Used by one thread at a time.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from codex.errors import DiskFailed, DiskFull, QuotaExceeded
from codex.store.ballast import Ballast
from codex.store.disk import Buffer, Disk, disk_errors
from codex.store.index import Index, one
from codex.store.schema import ACTIVE, GONE, SEALED
from codex.store.segments import Appender, Place, SegmentFiles, segment_name
from codex.store.sense import counted, nonsense
from codex.store.tally import Tally
from codex.store.values import Space

T = TypeVar("T")


class Change:
    """One transaction in the making, and what it does to the counters."""

    def __init__(self, tx: sqlite3.Connection) -> None:
        self.tx = tx
        self._blocks = 0
        self._used = 0
        self._reserved = 0
        self._live: dict[int, int] = defaultdict(int)
        self._charges: dict[int, list[int]] = {}

    def block(self, sign: int, segment: int, length: int) -> None:
        """A block row came (`sign` 1) or went (-1)."""
        length = counted(length)
        self._blocks += sign
        self._used += sign * length
        self._live[segment] += sign * length

    def manifest(self, sign: int, length: int) -> None:
        """A manifest row came or went."""
        self._blocks += sign
        self._used += sign * length

    def move(self, length: int, source: int, target: int) -> None:
        """A block of that length changed its segment."""
        length = counted(length)
        self._live[source] -= length
        self._live[target] += length

    def reserve(self, size: int) -> None:
        """Reserved bytes became more, or fewer."""
        self._reserved += size

    def charge(self, ingest: int, sign: int, length: int) -> None:
        """A block came to be here only because of that ingest (`sign` 1), or is no longer."""
        charge = self._charges.setdefault(ingest, [0, 0])
        charge[0] += sign
        charge[1] += sign * counted(length)

    def write(self, number: int) -> None:
        """Add everything up in the counters; this is the `number`-th change."""
        self.tx.execute(
            "UPDATE totals SET blocks = blocks + ?, used = used + ?, reserved = reserved + ?, changes = ?",
            (self._blocks, self._used, self._reserved, number),
        )
        self.tx.executemany(
            "UPDATE segments SET live = live + ? WHERE id = ?",
            [(bytes_, segment) for segment, bytes_ in self._live.items() if bytes_],
        )
        self.tx.executemany(
            "UPDATE ingests SET blocks = blocks + ?, bytes = bytes + ? WHERE id = ?",
            [(blocks, bytes_, ingest) for ingest, (blocks, bytes_) in self._charges.items()],
        )


class Ledger:
    """The index, the segments and the ballast, kept in step. `quota` is in bytes."""

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        *,
        index: Index,
        appender: Appender,
        files: SegmentFiles,
        ballast: Ballast,
        tally: Tally,
        quota: int,
    ) -> None:
        self.index = index
        self.ballast = ballast
        self.quota = quota
        self._disk = disk
        self._directory = directory
        self._appender = appender
        self._files = files
        self._tally = tally
        self.refused = False  # something did not fit on the disk since all that could be was given back
        self._keepers = 0
        self._unwanted: list[int] = []  # segments that are gone, with files to be removed
        self._removed: list[int] = []  # those without, whose rows may go
        with index.reading() as connection:
            row = one(connection, "SELECT max(id) FROM blocks")
            (changes,) = connection.execute("SELECT changes FROM totals").fetchone()
        self._last_block: int = (row and row[0]) or 0
        if type(changes) is not int:
            raise nonsense("its changes are not counted")
        self._changes = changes

    def append(self, payloads: Sequence[Buffer], *, growing: bool = True) -> list[Place]:
        """Put payload where it is durable, to be recorded by the next change.

        Raises DiskFull or DiskFailed; then nothing was appended.
        """
        try:
            if growing:
                self.ballast.require()
            self.index.settle()
            return self._appender.append(payloads)
        except DiskFull:
            self.refused = self.refused or growing
            raise

    def number_blocks(self, count: int) -> range:
        """Row numbers for new blocks. A number is never given twice while the store is open."""
        first = self._last_block + 1
        self._last_block += count
        return range(first, first + count)

    @property
    def active(self) -> int | None:
        """The segment that grows, if there is one."""
        return self._appender.active

    def seal(self) -> None:
        """Let nothing be added to the active segment any more; recorded by the change this is called in."""
        self._appender.seal()

    @contextmanager
    def change(self, doing: str, *, growing: bool = True) -> Iterator[Change]:
        """Change rows and counters in one transaction, durable at the end of the block.

        When the block raises, or the commit fails (DiskFull, DiskFailed, "could not" `doing`), nothing has
        changed, and what was appended since the last change is forgotten.
        """
        try:
            if growing:
                self.ballast.require()
            with self.index.transaction(doing) as tx:
                change = Change(tx)
                yield change
                self._record_segments(tx)
                change.write(self._changes + 1)
                dead = self._give_up_dead_segments(tx)
                forget_segments(tx, self._removed)
        except BaseException as error:
            self.refused = self.refused or (growing and isinstance(error, DiskFull))
            self._appender.rewind()
            raise
        self._changes += 1
        self._appender.recorded()
        self._removed.clear()
        self._unwanted += dead
        self._remove_unwanted()
        self._tally.note(self._changes)

    def shrink(self, doing: str, work: Callable[[Change], T]) -> T:
        """As `change`, for work that gives room back: on a full disk it is tried again with the room of the
        ballast, and with that of the write-ahead log, whose content is carried over into the index.
        """
        try:
            with self.change(doing, growing=False) as change:
                return work(change)
        except DiskFull:
            self.make_room()
        with self.change(doing, growing=False) as change:
            return work(change)

    def close(self) -> None:
        """Let go of the index and of the files beside it."""
        self._tally.close()
        try:
            self.index.close()
        finally:
            # The log of the index is gone now: its room must not go to others, the next start needs some.
            with suppress(DiskFailed):
                self.ballast.stow()
            self.ballast.close()

    def make_room(self, *, sparing: bool = False) -> None:
        """On a full disk: give back what is kept for that case, or, when `sparing`, leave some of it for
        deleting. Raises DiskFailed.
        """
        self.ballast.release(sparing=sparing)
        with suppress(DiskFull):
            self.index.carry_over()

    def _record_segments(self, tx: sqlite3.Connection) -> None:
        tails = self._appender.tails()
        tx.executemany(
            "UPDATE segments SET length = ?, state = ? WHERE id = ?",
            [(tail.length, SEALED if tail.sealed else ACTIVE, tail.segment) for tail in tails],
        )

    def _give_up_dead_segments(self, tx: sqlite3.Connection) -> list[int]:
        active = self._appender.active
        if active and one(tx, "SELECT 1 FROM segments WHERE id = ? AND live = 0 AND length > 0", active):
            # Everything in it was deleted: its room is wanted back now, not when the segment is full.
            self.seal()
            tx.execute("UPDATE segments SET state = ? WHERE id = ?", (SEALED, active))
        dead = [
            row[0] for row in tx.execute("SELECT id FROM segments WHERE live = 0 AND state = ?", (SEALED,))
        ]
        tx.executemany("UPDATE segments SET state = ? WHERE id = ?", [(GONE, segment) for segment in dead])
        return dead

    def give_back(self) -> None:
        """On a disk short of room, when nothing dead is left: give up the room of the write-ahead log too, if
        there is then enough for the ballast, which keeps some of it for deleting. Raises DiskFailed.
        """
        self.refused = False
        with disk_errors("look at the index's log"):
            room = self._disk.free(self._directory) + self._disk.size(self.index.log)
        if self.ballast.is_plenty(room):
            with suppress(DiskFull):
                self.index.carry_over(cut=True)
            self.ballast.restore()

    # -- segments that are no longer wanted

    def keep(self) -> None:
        """Begin to keep all segments; may be nested."""
        self._keepers += 1

    def let_go(self) -> None:
        """End what `keep` began. Segments given up meanwhile go with the next change."""
        self._keepers -= 1

    def _remove_unwanted(self) -> None:
        if self._keepers or not self._unwanted:
            return
        for segment in self._unwanted:
            self._files.forget(segment)
        # What cannot be removed now is tried again with the next change, and at the next start.
        with suppress(OSError):
            remove_segments(self._disk, self._directory, self._unwanted)
            self._removed += self._unwanted
            self._unwanted.clear()

    def may_shorten(self, segment: int) -> bool:
        """Whether the file of a sealed segment may be cut.

        Not while segments are kept, nor when it has a second name: then it is part of a backup as well.
        """
        with disk_errors(f"look at {segment_name(segment)}"):
            return not self._keepers and self._disk.links(self._directory / segment_name(segment)) == 1

    def shorten(self, segment: int, length: int) -> None:
        """Give back the room behind the first `length` bytes of a sealed segment, where nothing lies."""
        with suppress(OSError):
            self._disk.open(self._directory / segment_name(segment)).truncate(length)


def begin_segment(index: Index) -> int:
    """Name a new segment in the index, before there is a file: an unknown file is never one of ours."""
    with index.transaction("begin a segment") as tx:
        number = tx.execute("INSERT INTO segments(length, live, state) VALUES (0, 0, ?)", (ACTIVE,)).lastrowid
        assert number is not None
        return number


def remove_segments(disk: Disk, directory: Path, segments: Sequence[int]) -> None:
    """Remove the files of these segments, if they are there, so that no power cut brings one back.

    Raises OSError.
    """
    for segment in segments:
        with suppress(FileNotFoundError):
            disk.unlink(directory / segment_name(segment))
    if segments:
        disk.sync_dir(directory)


def forget_segments(tx: sqlite3.Connection, segments: Sequence[int]) -> None:
    """Remove the rows of segments that have no files."""
    tx.executemany("DELETE FROM segments WHERE id = ?", [(segment,) for segment in segments])


def space_of(connection: sqlite3.Connection, quota: int) -> Space:
    """The counters, without what is only left over from ingests that were given up."""
    blocks, used, reserved, left_blocks, left_bytes = connection.execute(
        "SELECT t.blocks, t.used, t.reserved, coalesce(sum(i.blocks), 0), coalesce(sum(i.bytes), 0)"
        " FROM totals t LEFT JOIN (SELECT blocks, bytes FROM ingests WHERE open = 0) i"
    ).fetchone()
    return Space(blocks - left_blocks, quota, used - left_bytes, reserved)


def no_room(quota: int, available: int, size: int) -> QuotaExceeded:
    """What to say when `size` bytes do not fit."""
    return QuotaExceeded(
        f"the quota of {quota} bytes has room for {available} more bytes, not for {size}",
        remedy="delete datasets, or raise --storage-quota",
    )
