"""The ballast: some room kept for the day on which the disk is full.

Deleting must still work then, but the index needs room to write down what is deleted. The ballast gives
that room, and is taken on again once there is plenty; until then nothing else may be written, or that room
would be filled as well.
"""

from contextlib import suppress
from pathlib import Path

from codex.errors import DiskFull
from codex.store.disk import FULL_REMEDY, Disk, File, disk_errors

BALLAST_BYTES = 1 << 20
"""Enough to write down the removal of some hundred blocks wherever their rows lie, again and again."""

_PLENTY = 2
"""Free room, in ballasts, from which on the ballast is taken on again."""


class Ballast:
    """A file of `size` really allocated bytes, or of none while they are lent out."""

    def __init__(self, disk: Disk, path: Path, size: int = BALLAST_BYTES) -> None:
        """Raises DiskFailed. A disk without room for the ballast is no error: then there is none."""
        self._disk = disk
        self._path = path
        self._size = size
        with disk_errors(f"open {path.name}"):
            try:
                self._file: File = disk.open(path)
            except FileNotFoundError:
                self._file = disk.open(path, create=True)
            self.aboard = size > 0 and self._file.size() == size
        self.restore()

    def release(self) -> bool:
        """Give the room back to the disk; False when there was none to give."""
        if not self.aboard:
            return False
        self.aboard = False
        with disk_errors(f"release {self._path.name}"):
            self._file.truncate(0)
            self._file.fdatasync()  # some file systems free blocks only then
        return True

    def restore(self) -> bool:
        """Take the room again if the disk has plenty; whether the ballast is aboard."""
        if self.aboard or not self._size:
            return self.aboard
        with suppress(OSError):
            if self._disk.free(self._path.parent) >= _PLENTY * self._size:
                self._file.allocate(self._size)
                self.aboard = True
        if not self.aboard:
            with suppress(OSError):
                self._file.truncate(0)
        return self.aboard

    def require(self) -> None:
        """Raise DiskFull while the ballast is lent out and there is no room to take it on again."""
        if self._size and not self.restore():
            raise DiskFull("the disk is full: what room is left is kept for deleting", remedy=FULL_REMEDY)

    def close(self) -> None:
        """Let go of the file; the room stays taken."""
        self._file.close()
