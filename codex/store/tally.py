"""The tally: how many changes were made, noted beside the index, so that the loss of some is noticed.

The index counts its changes in `totals`, each in its own transaction. Once one is durable the count is noted
here as well, without a flush of its own: the tally is never ahead of the index, it is exact after a process
was killed, and may only be behind after a power cut. An index behind the tally has lost changes that were
acknowledged: its log was damaged, or an older index was put in its place.
"""

import struct
import zlib
from contextlib import suppress
from pathlib import Path

from codex.store.disk import Disk, File, disk_errors

_COUNT = struct.Struct(">Q")
_SUM = struct.Struct(">I")  # CRC-32 of the count: damage here must not look like a loss there
_SIZE = _COUNT.size + _SUM.size


class Tally:
    """The file. `noted` is the count that stood in it when it was opened; None when no sound one did."""

    def __init__(self, disk: Disk, path: Path) -> None:
        """Raises DiskFailed."""
        self._disk = disk
        self._path = path
        self._file: File | None = None
        self.noted: int | None = None
        with disk_errors(f"read {path.name}"), suppress(FileNotFoundError):
            self._file = disk.open(path)
            self.noted = _read(self._file.pread(_SIZE + 1, 0))

    def note(self, count: int) -> None:
        """Write the count down. A disk that refuses leaves an older one, which raises no false alarm."""
        data = _COUNT.pack(count)
        with suppress(OSError):
            if self._file is None:
                self._file = self._disk.open(self._path, create=True)
            self._file.pwritev([data + _SUM.pack(zlib.crc32(data))], 0)

    def flush(self) -> None:
        """Have what was noted survive a power cut, if the disk lets it."""
        with suppress(OSError):
            if self._file is not None:
                self._file.fdatasync()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def _read(data: bytes) -> int | None:
    if len(data) != _SIZE or _SUM.pack(zlib.crc32(data[: _COUNT.size])) != data[_COUNT.size :]:
        return None
    (count,) = _COUNT.unpack_from(data)
    return int(count)
