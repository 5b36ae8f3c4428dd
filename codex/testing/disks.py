"""Disks that fail and forget, for tests of what the store does then.

`FaultyDisk` keeps its files on the real file system. On request its n-th change fails, or all from there
on; writes come out short; flushing is only remembered, and a copy can be taken of what a power cut would
leave: whatever was flushed is there, and of the rest some part or other.
"""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define

from codex.store import File, OsDisk

Buffer = bytes | memoryview

_SQLITE_CODES = {errno.ENOSPC: sqlite3.SQLITE_FULL, errno.EIO: sqlite3.SQLITE_IOERR_FSYNC}


@define
class _Write:
    """A write that was not flushed yet."""

    offset: int
    data: bytes


class FaultyFile:
    """A file of a `FaultyDisk`."""

    def __init__(self, disk: "FaultyDisk", path: Path, file: File) -> None:
        self._disk = disk
        self._path = path
        self._file = file

    def pread(self, size: int, offset: int) -> bytes:
        self._disk.reading(self._path)
        return self._file.pread(self._disk.readable(self._path, offset, size), offset)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        self._disk.changing(f"write {self._path.name}")
        data = b"".join(buffers)[: self._disk.longest_write]
        self._disk.taking(max(0, offset + len(data) - self._file.size()))
        written = self._file.pwritev([data], offset)
        self._disk.unflushed.setdefault(self._path, []).append(_Write(offset, data[:written]))
        return written

    def fdatasync(self) -> None:
        self._disk.changing(f"flush {self._path.name}")
        self._disk.flushed(self._path)

    def truncate(self, length: int) -> None:
        self._disk.changing(f"truncate {self._path.name}")
        self._file.truncate(length)
        self._disk.flushed(self._path)

    def allocate(self, length: int) -> None:
        self._disk.changing(f"allocate {self._path.name}")
        self._disk.taking(length - self._file.size())
        self._file.truncate(length)
        self._disk.flushed(self._path)

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()


class FaultyDisk(OsDisk):
    """A disk whose next failures are known beforehand.

    Changes are counted in `changes`: making, writing, flushing, cutting and removing files, flushing
    directories and committing to SQLite files. `longest_write` bytes are written by one call, at most.
    """

    def __init__(self) -> None:
        self.changes = 0
        self.log: list[str] = []
        self.longest_write = 1 << 40
        self.capacity: int | None = None
        """Bytes that the files opened here and the SQLite files beside them may have together."""
        self.unreadable: set[str] = set()
        """Names of files of which every read fails with EIO."""
        self.damaged: dict[str, range] = {}
        """Of files by name, the bytes that cannot be read: a read ends before them, and fails with EIO if it
        begins in them.
        """
        self.unflushed: dict[Path, list[_Write]] = {}
        self._fail_at = 0
        self._fail_until = 0
        self._errno = 0
        self._flushed: dict[Path, bytes] = {}
        self._unnamed: set[Path] = set()
        self._removed: dict[Path, bytes] = {}  # names that a power cut may bring back
        self._databases: set[Path] = set()
        self._renamed: list[tuple[Path, Path]] = []  # what a power cut may take back

    def fail(self, at: int, code: int, *, times: int = 1) -> None:
        """Let the `at`-th change from now on (1 is the next) fail with this errno, and so many in all."""
        self._fail_at = self.changes + at
        self._fail_until = self._fail_at + times
        self._errno = code

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._fail_at = self._fail_until = 0
        self.unreadable.clear()
        self.damaged.clear()

    def changing(self, what: str) -> None:
        """Count a change; raise if its turn to fail has come."""
        self.changes += 1
        self.log.append(what)
        if self._fail_at <= self.changes < self._fail_until:
            raise OSError(self._errno, os.strerror(self._errno))

    def taking(self, size: int) -> None:
        """Raise when `size` more bytes are more than the disk has."""
        if self.capacity is not None and self._taken() + size > self.capacity:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _taken(self) -> int:
        places = {*self._flushed, *self._databases}
        places |= {path.with_name(path.name + "-wal") for path in self._databases}
        return sum(path.stat().st_size for path in places if path.exists())

    def free(self, path: Path) -> int:
        return super().free(path) if self.capacity is None else max(0, self.capacity - self._taken())

    def reading(self, path: Path) -> None:
        """Raise if this file cannot be read."""
        if path.name in self.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def readable(self, path: Path, offset: int, size: int) -> int:
        """How many of these bytes of a file can be read. Raises when the first one cannot."""
        place = self.damaged.get(path.name, range(0))
        if offset in place:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return min(size, place.start - offset) if place and offset < place.start else size

    def flushed(self, path: Path) -> None:
        """All of the file is on the medium now."""
        self.unflushed.pop(path, None)
        self._flushed[path] = path.read_bytes() if path.exists() else b""

    # -- the disk

    def open(self, path: Path, *, create: bool = False) -> FaultyFile:
        if create:
            self.changing(f"create {path.name}")
            self._unnamed.add(path)
        file = super().open(path, create=create)
        if path not in self._flushed:
            self._flushed[path] = path.read_bytes()
        return FaultyFile(self, path, file)

    def unlink(self, path: Path) -> None:
        self.changing(f"unlink {path.name}")
        super().unlink(path)
        if path in self._flushed and path not in self._unnamed:
            self._removed[path] = self._flushed[path]
        for known in (self._flushed, self.unflushed):
            known.pop(path, None)
        self._unnamed.discard(path)

    def mkdir(self, path: Path) -> None:
        self.changing(f"make directory {path.name}")
        super().mkdir(path)
        self._unnamed.add(path)

    def discard(self, path: Path, mark: str, known: Callable[[str], bool]) -> bool:
        self.changing(f"discard {path.name}")
        discarded = super().discard(path, mark, known)
        if discarded:
            for places in (self._flushed, self.unflushed, self._removed):
                for place in [place for place in places if place.is_relative_to(path)]:
                    del places[place]
            for names in (self._unnamed, self._databases):
                names -= {name for name in names if name.is_relative_to(path)}
        return discarded

    def link(self, source: Path, target: Path) -> bool:
        self.changing(f"link {target.name}")
        linked = super().link(source, target)
        if linked:
            self._unnamed.add(target)
        return linked

    def rename(self, source: Path, target: Path) -> None:
        self.changing(f"rename {source.name}")
        super().rename(source, target)
        self._renamed.append((source, target))

        def moved(path: Path) -> Path:
            return target / path.relative_to(source) if path.is_relative_to(source) else path

        self._flushed = {moved(path): content for path, content in self._flushed.items()}
        self.unflushed = {moved(path): writes for path, writes in self.unflushed.items()}
        self._removed = {moved(path): content for path, content in self._removed.items()}
        self._unnamed = {moved(path) for path in self._unnamed}
        self._databases = {moved(path) for path in self._databases}

    def sync_dir(self, path: Path) -> None:
        self.changing(f"flush directory {path.name}")
        self._renamed = [(source, target) for source, target in self._renamed if target.parent != path]
        self._unnamed = {name for name in self._unnamed if name.parent != path}
        self._removed = {name: content for name, content in self._removed.items() if name.parent != path}

    def connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=_FaultyConnection,
        )
        connection.disk = self
        if path not in self._databases and not path.stat().st_size:
            self._unnamed.add(path)
        self._databases.add(path)
        return connection

    # -- the power cut

    def cut(self, source: Path, target: Path, keep: Callable[[], bool]) -> None:
        """Copy `source` to the new directory `target` as a power cut at this moment could leave it.

        Of what was not flushed, `keep` decides piece by piece. SQLite files are copied as they are: their
        commits are flushed, and what is not committed does not count.
        """
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("*-shm"))
        for path, flushed in self._removed.items():
            if path.is_relative_to(source) and keep():
                (target / path.relative_to(source)).write_bytes(flushed)
        for path in [
            path for path in self._unnamed if path.is_relative_to(source) and path not in self._flushed
        ]:
            copy = target / path.relative_to(source)
            if not keep():
                shutil.rmtree(copy) if copy.is_dir() else copy.unlink(missing_ok=True)
        for path in [path for path in self._flushed if path.is_relative_to(source)]:
            copy = target / path.relative_to(source)
            if not copy.parent.exists():
                continue
            if path in self._unnamed and not keep():
                copy.unlink(missing_ok=True)
                continue
            content = bytearray(self._flushed[path])
            for write in self.unflushed.get(path, ()):
                if keep():
                    end = write.offset + (len(write.data) if keep() else len(write.data) // 2)
                    content.extend(bytes(max(0, end - len(content))))
                    content[write.offset : end] = write.data[: end - write.offset]
            copy.write_bytes(content)
        for old, new in reversed(self._renamed):
            copy = target / new.relative_to(source) if new.is_relative_to(source) else new
            if copy.is_relative_to(target) and copy.exists() and not keep():
                copy.rename(target / old.relative_to(source))


class _FaultyConnection(sqlite3.Connection):
    """Counts commits as changes of the disk, and fails them when told to. Flushes cost nothing here."""

    disk: FaultyDisk | None = None

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "COMMIT" and self.disk is not None:
            try:
                self.disk.changing("commit")
                self.disk.taking(0)
            except OSError as error:
                failure = sqlite3.OperationalError(error.strerror)
                failure.sqlite_errorcode = _SQLITE_CODES[error.errno or 0]
                raise failure from error
        if sql == "PRAGMA synchronous=FULL":
            sql = "PRAGMA synchronous=OFF"
        return super().execute(sql, parameters)
