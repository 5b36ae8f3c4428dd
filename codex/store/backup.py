"""Backups: a copy of the whole store, taken while it goes on, that opens as a store itself.

First the index is copied, as of one moment. It then says how much of which segment belongs to that moment,
and as segments only ever grow, those bytes can be copied at leisure, as long as none is removed or
shortened (the caller sees to that: `Ledger.keep`). Sealed segments get a second name instead of a copy
where the file system allows it.

Everything is gathered in a directory `.….unfinished-backup` beside the target (see gathering.py), and gets
its name as the last step: what has the name is complete and durable.
"""

from contextlib import suppress
from pathlib import Path

from codex.errors import CorruptData, InvalidInput
from codex.store.disk import Disk, disk_errors
from codex.store.gathering import INDEX, SEGMENTS, Gathering
from codex.store.index import Readers, Row
from codex.store.schema import GONE, SEALED
from codex.store.segments import segment_name

_STEP_BYTES = 64 << 20
_READ_BYTES = 16 << 20


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
        self.bytes_done = 0
        self.bytes_total = 0

    def begin(self) -> None:
        """Make the directory and copy the index into it, as it is at this moment.

        Raises InvalidInput when something stands where it would be gathered.
        """
        with disk_errors(f"make {self._gathering.path}"):
            self._gathering.make()
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
        self.bytes_total = sum(row[1] for row in self._segments)

    def step(self) -> bool:
        """Take the next segment, or up to 64 MiB of it; whether there is more."""
        if not self._segments:
            return False
        number, length, state = self._segments[-1]
        name = segment_name(number)
        source, target = self._repo / SEGMENTS / name, self._gathering.path / SEGMENTS / name
        with disk_errors(f"copy {name}"):
            if state == SEALED and self._offset == 0 and self._disk.link(source, target):
                self._offset = length
            else:
                self._copy(source, target, length)
        if self._offset == length:
            self.bytes_done += length
            self._offset = 0
            self._segments.pop()
        return bool(self._segments)

    def _copy(self, source: Path, target: Path, length: int) -> None:
        reader = self._disk.open(source)
        writer = self._disk.open(target, create=self._offset == 0)
        end = min(length, self._offset + _STEP_BYTES)
        while self._offset < end:
            data = reader.pread(min(_READ_BYTES, end - self._offset), self._offset)
            if not data:
                raise CorruptData(f"{source.name} is shorter than it should be", remedy="scrub the store")
            view = memoryview(data)
            while view:
                written = writer.pwritev([view], self._offset)
                self._offset += written
                view = view[written:]
        writer.fdatasync()

    def finish(self) -> None:
        """Make everything durable and give it its name."""
        with disk_errors(f"complete {self._target}"):
            self._disk.open(self._gathering.path / INDEX).fdatasync()
            self._gathering.give_name()

    def cancel(self) -> None:
        """Remove what was gathered so far; harmless when there is nothing. What cannot be removed is left to
        the next backup to the same place.
        """
        with suppress(OSError):
            self._gathering.discard()
