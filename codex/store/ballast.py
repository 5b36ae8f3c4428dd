"""The ballast: some room kept for the day on which the disk is full.

Deleting must still work then, but the index needs room to write down what is deleted. The ballast gives
that room, half of what is aboard at a time, and is taken on again once there is plenty; until then nothing
else may be written, or that room would be filled as well. The last of it stays aboard for the next start,
for opening the index takes room too, and who cannot open the store cannot delete. What a start did not
need, and what the index gives back at the end of a run, is kept again.
"""

from contextlib import suppress
from pathlib import Path

from codex.errors import DiskFull
from codex.store.disk import FULL_REMEDY, Disk, File, disk_errors

BALLAST_BYTES = 2 << 20
"""Half of it is enough to write down the removal of some hundred blocks wherever their rows lie, again and
again.
"""

_FOR_START = 128 << 10
"""Bytes that are lent for a start only: it takes 32 KiB for the index of the log, and some pages of log."""

_PLENTY = 2
"""Free room, in multiples of what is missing, from which on the ballast is taken on again."""

_LEAST = 16 << 10
"""Bytes worth keeping for a start, at least."""


class Ballast:
    """A file of `size` really allocated bytes, of which some or all may be lent out."""

    def __init__(self, disk: Disk, path: Path, size: int = BALLAST_BYTES) -> None:
        """Raises DiskFailed. A disk without room for the ballast is no error: then there is less."""
        self._disk = disk
        self._path = path
        self._size = size
        with disk_errors(f"open {path.name}"):
            try:
                self._file: File = disk.open(path)
            except FileNotFoundError:
                self._file = disk.open(path, create=True)
            self._held = self._file.size()
        if self._held > size:
            self._cut(size)
        self.restore()

    @property
    def aboard(self) -> bool:
        """Whether there is a ballast, and all of it in place."""
        return self.missing == 0 < self._size

    @property
    def missing(self) -> int:
        """Bytes that are lent out."""
        return self._size - self._held

    def release(self, *, sparing: bool = False) -> bool:
        """Give half of what is aboard back to the disk; False when no more is there than a start needs, or,
        when asked to be `sparing`, than a start and some deleting need.
        """
        least = _FOR_START * 2 if sparing else _FOR_START
        return self._cut(max(self._held // 2, min(least, self._size // 2)))

    def release_all(self) -> bool:
        """Give back what is kept for a start as well; False when there was nothing to give."""
        return self._cut(0)

    def _cut(self, held: int) -> bool:
        if self._held <= held:
            return False
        with disk_errors(f"release {self._path.name}"):
            self._file.truncate(held)
            self._held = held
            self._file.fdatasync()  # some file systems free blocks only then
        return True

    def is_plenty(self, room: int) -> bool:
        """Whether with that much free room what is missing may be taken on again."""
        return room >= _PLENTY * self.missing

    def restore(self) -> bool:
        """Take on what is missing if the disk has plenty; whether all is aboard. Raises DiskFailed."""
        if self.missing:
            with disk_errors(f"take room for {self._path.name}"):
                if self.is_plenty(self._disk.free(self._path.parent)):
                    self._take(self._size)
        return self.aboard

    def stow(self) -> None:
        """Take on as much as there is room for. Raises DiskFailed."""
        with disk_errors(f"take room for {self._path.name}"):
            wanted = min(self.missing, self._disk.free(self._path.parent))
            while wanted >= _LEAST and not self._take(self._held + wanted):
                wanted //= 2

    def _take(self, size: int) -> bool:
        """Make it hold `size` bytes, or leave it as it is; which of the two."""
        try:
            with disk_errors(f"take room for {self._path.name}"):
                self._file.allocate(size)
        except DiskFull:
            with suppress(OSError):
                self._file.truncate(self._held)
            return False
        self._held = size
        return True

    def require(self) -> None:
        """Raise DiskFull while some is lent out and there is no room to take it on again, or DiskFailed."""
        if self._size and not self.restore():
            raise DiskFull("the disk is full: what room is left is kept for deleting", remedy=FULL_REMEDY)

    def close(self) -> None:
        """Let go of the file; the room stays taken."""
        self._file.close()
