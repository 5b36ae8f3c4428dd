"""Where a backup is gathered: a hidden directory beside its target, and nobody else's.

The directory is made anew, never found, and bears a mark: a file that is locked as long as the backup is
being made. So one that a cut backup has left is known by its mark, and is cleared away by the next; whatever
else has that name, be it a link, somebody's own directory or a backup in the making, is left as it is.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path

from codex.errors import InvalidInput
from codex.store.disk import Disk, File, OsDisk
from codex.store.segments import segment_number

MARK = ".codex-backup"
INDEX = "index.sqlite"
SEGMENTS = "segments"

_NAMES = frozenset({MARK, SEGMENTS, INDEX, *[INDEX + end for end in ("-wal", "-shm", "-journal")]})


class Gathering:
    """The directory for one backup. Methods raise OSError."""

    def __init__(self, disk: Disk, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.unfinished-backup")
        self._target = target
        self._disk = disk
        self._mark: File | None = None

    def make(self) -> None:
        """Make it, after clearing away what a cut backup has left. Raises InvalidInput when something else
        has its name.
        """
        try:
            if not self._disk.discard(self.path, MARK, _is_ours):
                raise FileExistsError
            self._disk.mkdir(self.path)
        except FileExistsError as error:
            raise InvalidInput(
                f"{self.path} exists",
                remedy="a backup to this place is being made, or the name is somebody's: wait for it, move it"
                " away, or name another directory",
            ) from error
        self._mark = self._disk.lock(self.path / MARK)
        self._disk.mkdir(self.path / SEGMENTS)

    def give_name(self) -> None:
        """Make everything in it durable, and let it be the target."""
        self._disk.sync_dir(self.path / SEGMENTS)
        self._disk.sync_dir(self.path)
        self._disk.rename(self.path, self._target)
        self._disk.sync_dir(self._target.parent)
        self._release()
        with suppress(OSError):  # in a backup that is complete the mark does no harm
            self._disk.unlink(self._target / MARK)

    def discard(self) -> None:
        """Remove it, if it was made here and has not become the target."""
        if self._mark is not None:
            self._release()
            self._disk.discard(self.path, MARK, _is_ours)

    def _release(self) -> None:
        if self._mark is not None:
            self._mark.close()
            self._mark = None


def _is_ours(name: str) -> bool:
    return name in _NAMES or segment_number(name) is not None


def try_target(target: Path) -> None:
    """Find out whether a backup can be gathered for this target, by beginning one. Raises OSError, with the
    reason why not, or InvalidInput.
    """
    gathering = Gathering(OsDisk(), target)
    try:
        gathering.make()
        OsDisk().connect(gathering.path / INDEX).close()
    except sqlite3.Error as error:
        # SQLite takes shorter paths than the system: about 500 bytes.
        raise OSError(f"no index can be made there, perhaps the path is too long ({error})") from error
    finally:
        gathering.discard()
