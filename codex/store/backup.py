"""Backups: a copy of the whole store, taken while it goes on, that opens as a store itself.

First the index is copied, as of one moment. It then says how much of which segment belongs to that moment,
and as segments only ever grow, those bytes can be copied at leisure, as long as none is removed or
shortened (the caller sees to that: `Ledger.keep`). Sealed segments get a second name instead of a copy
where the file system allows it.

What the disk does not give of a segment is left out: there the copy has a hole, so that the blocks in it are
damaged there as they are here, and the rest can be had.

Everything is gathered in a directory `.….unfinished-backup` beside the target (see gathering.py), and gets
its name as the last step: what has the name is complete and durable.
"""

import errno
from contextlib import suppress
from pathlib import Path

from codex.codec import Cid
from codex.errors import DiskFailed, InvalidInput
from codex.store.disk import FAILED_REMEDY, Disk, disk_errors, index_errors
from codex.store.gathering import INDEX, SEGMENTS, Gathering
from codex.store.index import Readers, Row, one
from codex.store.schema import GONE, SEALED
from codex.store.segments import segment_name
from codex.store.sense import COUNTED, is_cid
from codex.store.values import Findings

_STEP_BYTES = 64 << 20
_READ_BYTES = 16 << 20

# What a system says of a file that it does not give any more, and not of the program or of the other disk.
_LOST = {errno.EIO, errno.EBADMSG, getattr(errno, "EUCLEAN", errno.EIO)}

_NEXT_BLOCK = (
    f"SELECT cid, offset, offset + {COUNTED} AS behind FROM blocks"
    " WHERE segment = ? AND typeof(offset) = 'integer' AND behind > ? ORDER BY offset LIMIT 1"
)


class Backup:
    """One backup in the making. Call `begin`, then `step` until it returns False, then `finish`; or else
    `cancel`.

    Its methods may run in any thread, one at a time. They raise DiskFull, DiskFailed and CorruptData.
    """

    def __init__(self, disk: Disk, repo: Path, readers: Readers, target: Path) -> None:
        """Raises InvalidInput when something stands at the target already."""
        if target.exists():
            raise InvalidInput(f"{target} exists", remedy="name a directory that does not exist yet")
        self._disk = disk
        self._repo = repo
        self._readers = readers
        self._target = target
        self._gathering = Gathering(disk, target)
        self._segments: list[Row] = []
        self._offset = 0
        self._copied = False
        self.bytes_done = 0
        self.bytes_total = 0
        self.unreadable: Findings[Cid] = Findings()  # the blocks that could not be read, as far as is known
        self.unreadable_bytes = 0

    def begin(self) -> None:
        """Make the directory and copy the index into it, as it is at this moment.

        Raises InvalidInput when something stands where it would be gathered.
        """
        with disk_errors(f"make {self._gathering.path}"):
            self._gathering.make()
        with disk_errors("copy the index"), index_errors("copy the index"):
            self._copy_index()
        self.bytes_total = sum(row[1] for row in self._segments)

    def _copy_index(self) -> None:
        copy = self._disk.connect(self._gathering.path / INDEX)
        try:
            # Within a read transaction the copying starts at one moment and is never begun anew.
            with self._readers.snapshot() as connection:
                connection.execute("SELECT 1 FROM totals").fetchone()
                connection.backup(copy)
            # Those that are empty or gone may have no file, and need none: a start forgets them then.
            self._segments = copy.execute(
                "SELECT id, length, state FROM segments WHERE length > 0 AND state <> ? ORDER BY id DESC",
                (GONE,),
            ).fetchall()
        finally:
            copy.close()

    def step(self) -> bool:
        """Take the next segment, or up to 64 MiB of it; whether there is more. A step ends where the disk
        does not give a block: it may have taken its time about that.
        """
        if not self._segments:
            return False
        number, length, state = self._segments[-1]
        name = segment_name(number)
        source, target = self._repo / SEGMENTS / name, self._gathering.path / SEGMENTS / name
        with disk_errors(f"copy {name}"):
            if state == SEALED and self._offset == 0 and self._link(source, target):
                self._offset = length
                self._copied = True
            else:
                self._copy(source, target, number, length)
        if self._offset == length:
            self.bytes_done += length
            self._offset = 0
            self._segments.pop()
        return bool(self._segments)

    def _link(self, source: Path, target: Path) -> bool:
        try:
            return self._disk.link(source, target)
        except OSError as error:
            if error.errno not in _LOST:
                raise
            return False

    def _copy(self, source: Path, target: Path, number: int, length: int) -> None:
        writer = self._disk.open(target, create=self._offset == 0)
        end = min(length, self._offset + _STEP_BYTES)
        while self._offset < end:
            data = self._read(source, min(_READ_BYTES, end - self._offset))
            if not data:
                self._leave_out(number, length)
                break
            self._copied = True
            view = memoryview(data)
            while view:
                written = writer.pwritev([view], self._offset)
                self._offset += written
                view = view[written:]
        if writer.size() < self._offset:
            writer.truncate(self._offset)
        writer.fdatasync()

    def _read(self, source: Path, size: int) -> bytes:
        """What the disk gives there; nothing where it refuses, or where the segment ends too early."""
        try:
            return self._disk.open(source).pread(size, self._offset)
        except OSError as error:
            if error.errno not in _LOST:
                raise
            return b""

    def _leave_out(self, number: int, length: int) -> None:
        """Go on behind the block that could not be read, or at the next one if that place is in none."""
        with index_errors("read the copy of the index"):
            copy = self._disk.peek(self._gathering.path / INDEX)
            try:
                block = one(copy, _NEXT_BLOCK, number, self._offset)
            finally:
                copy.close()
        if block is None:
            self._offset = length
        elif block[1] > self._offset:
            self._offset = min(block[1], length)
        else:
            self._offset = min(block[2], length)
            self.unreadable = self.unreadable.further([Cid(block[0])] if is_cid(block[0]) else [])
            self.unreadable_bytes += block[2] - block[1]

    def finish(self) -> None:
        """Make everything durable and give it its name. Raises DiskFailed when nothing could be read."""
        if self.unreadable_bytes and not self._copied:
            raise DiskFailed(
                f"the disk failed: it gives none of the segments in {self._repo}", remedy=FAILED_REMEDY
            )
        with disk_errors(f"complete {self._target}"):
            self._disk.open(self._gathering.path / INDEX).fdatasync()
            self._gathering.give_name()

    def cancel(self) -> None:
        """Remove what was gathered so far; harmless when there is nothing. What cannot be removed is left to
        the next backup to the same place.
        """
        with suppress(OSError):
            self._gathering.discard()
