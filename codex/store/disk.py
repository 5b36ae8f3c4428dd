"""The file system as the store needs it, and what its errors mean to a user.

`Disk` is a parameter of everything below, so that a test may give one that fails at a chosen call, or
forgets what was never flushed. `OsDisk` is the real one. Errors leave this package as `DiskFull` or
`DiskFailed`; `disk_errors` and `index_errors` are the two places where they are translated.
"""

import errno
import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from codex.errors import CodexError, DataDirLocked, DiskFailed, DiskFull, IndexDamaged

Buffer = bytes | memoryview

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_F_FULLFSYNC = 51  # fcntl.F_FULLFSYNC, which exists on macOS only


class File(Protocol):
    """An open file. Offsets and sizes are in bytes; every method may raise OSError."""

    def pread(self, size: int, offset: int) -> bytes:
        """Read at most `size` bytes; fewer only at the end of the file."""

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        """Write the buffers one after another; how many bytes were written, which may be fewer."""

    def fdatasync(self) -> None:
        """Return when what was written, and the length needed to find it, is on the medium."""

    def truncate(self, length: int) -> None:
        """Cut or extend to `length`."""

    def allocate(self, length: int) -> None:
        """Claim real space for the first `length` bytes."""

    def size(self) -> int:
        """The length."""

    def close(self) -> None:
        """Give the descriptor back. Closing twice is harmless; dropping the last reference closes too."""


class Disk(Protocol):
    """Where files live. Methods may raise OSError; `lock` raises DataDirLocked."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open for reading and writing; with `create`, a new and empty file."""

    def listdir(self, path: Path) -> list[str]:
        """The names in a directory."""

    def makedirs(self, path: Path) -> None:
        """Make a directory, which only this user may enter, and those above it, unless they exist.

        One that exists is closed to others.
        """

    def mkdir(self, path: Path) -> None:
        """Make a new directory, which only this user may enter. FileExistsError also for a link."""

    def discard(self, path: Path, mark: str, known: Callable[[str], bool]) -> bool:
        """Remove a directory that is closed to other users and bears a `mark`, a file that nobody has locked,
        with the files and directories in it that are `known` by their names. Links are not followed.

        False when something else stands there, or would be left in it; nothing unknown is removed. True also
        when there is nothing.
        """

    def unlink(self, path: Path) -> None:
        """Remove a name."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file or directory another name on the same file system."""

    def link(self, source: Path, target: Path) -> bool:
        """Give a file a second name; False where that is impossible (another file system, no links)."""

    def links(self, path: Path) -> int:
        """How many names the file has."""

    def size(self, path: Path) -> int:
        """The length of a file."""

    def sync_dir(self, path: Path) -> None:
        """Return when names made and removed in this directory are on the medium."""

    def free(self, path: Path) -> int:
        """Bytes that an unprivileged process may still allocate on this file system."""

    def connect(self, path: Path) -> sqlite3.Connection:
        """Open the SQLite file, usable from any one thread at a time, without implicit transactions.

        A file that is made is readable by this user only. Raises OSError too.
        """

    def peek(self, path: Path) -> sqlite3.Connection:
        """Open the SQLite file to look at it: neither it nor its log is changed, by closing it neither."""

    def lock(self, path: Path) -> File:
        """Hold the only lock on this file until it is closed. Raises DataDirLocked."""


class OsFile:
    """A file of the operating system."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pread(self, size: int, offset: int) -> bytes:
        return os.pread(self._fd, size, offset)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        return os.pwritev(self._fd, buffers, offset)

    def fdatasync(self) -> None:
        if hasattr(os, "fdatasync"):
            os.fdatasync(self._fd)
        else:
            # macOS: fsync there leaves data in the drive's own cache; only this command empties it.
            fcntl.fcntl(self._fd, _F_FULLFSYNC)

    def truncate(self, length: int) -> None:
        os.ftruncate(self._fd, length)

    def allocate(self, length: int) -> None:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._fd, 0, length)
                return
            except OSError as error:
                # Some file systems cannot, and some C libraries then leave it to the caller.
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
        zeros = bytes(1 << 20)
        for offset in range(0, length, len(zeros)):
            os.pwrite(self._fd, zeros[: length - offset], offset)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    # Readers share open files through a bounded cache. A file dropped from it is closed when the last
    # reader that is in the middle of a read lets go of it, and not before.
    __del__ = close


class OsDisk:
    """The file system of this machine."""

    def open(self, path: Path, *, create: bool = False) -> File:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT | os.O_EXCL if create else 0)
        file = OsFile(os.open(path, flags, 0o600))
        if not stat.S_ISREG(os.fstat(file._fd).st_mode):
            raise OSError(f"{path} is no regular file")
        return file

    def listdir(self, path: Path) -> list[str]:
        return os.listdir(path)

    def makedirs(self, path: Path) -> None:
        for directory in reversed((path, *path.parents)):
            directory.mkdir(mode=0o700, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path, 0o700)

    def discard(self, path: Path, mark: str, known: Callable[[str], bool]) -> bool:
        try:
            directory = os.open(path, _DIRECTORY)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                return False
            raise
        try:
            state = os.fstat(directory)
            if state.st_uid != os.geteuid() or state.st_mode & 0o077:
                return False
            if os.listdir(directory) and not (_is_marked(directory, mark) and _empty(directory, mark, known)):
                return False
        finally:
            os.close(directory)
        os.rmdir(path)
        return True

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> bool:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                return False
            raise
        return True

    def links(self, path: Path) -> int:
        return os.stat(path).st_nlink

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def sync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free(self, path: Path) -> int:
        state = os.statvfs(path)
        return state.f_bavail * state.f_frsize

    def connect(self, path: Path) -> sqlite3.Connection:
        # SQLite would let others read what it makes; its log gets the mode of the file itself. A file that
        # exists is not opened here: closing it would end the locks of all connections of this process.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)

    def peek(self, path: Path) -> sqlite3.Connection:
        log = path.with_name(path.name + "-wal")
        # Where there is no log, even making one for the length of a look is left out.
        how = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)

    def lock(self, path: Path) -> OsFile:
        file = OsFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            fcntl.flock(file._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise DataDirLocked(
                f"the block store in {path.parent} is open in another process",
                remedy="stop the other node, or give this one its own --data-dir",
            ) from None
        return file


def _is_marked(directory: int, mark: str) -> bool:
    """Whether that open directory has a file of this name, which nobody has locked."""
    try:
        file = os.open(mark, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return stat.S_ISREG(os.fstat(file).st_mode)
    except BlockingIOError:
        return False
    finally:
        os.close(file)


def _empty(directory: int, last: str, known: Callable[[str], bool]) -> bool:
    """Remove what is known from an open directory, the file `last` when all else is gone; whether it is
    empty then.
    """
    for name in os.listdir(directory):
        if name == last or not known(name):
            continue
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                emptied = _empty(inner, "", known)
            finally:
                os.close(inner)
            if emptied:
                os.rmdir(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    if os.listdir(directory) == [last]:
        os.unlink(last, dir_fd=directory)
    return not os.listdir(directory)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

FULL_REMEDY = "free space on the file system of the data directory, or delete datasets; nothing was lost"
FAILED_REMEDY = "look into the system's log for the state of the disk; what was acknowledged before is kept"


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Raise DiskFull or DiskFailed, saying what was being done, in place of an OSError of the block."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _FULL:
            raise DiskFull(f"the disk is full: could not {doing} ({reason})", remedy=FULL_REMEDY) from error
        raise DiskFailed(f"the disk failed: could not {doing} ({reason})", remedy=FAILED_REMEDY) from error


@contextmanager
def index_errors(doing: str) -> Iterator[None]:
    """Raise DiskFull, DiskFailed, IndexDamaged or DataDirLocked in place of SQLite's errors about its files.

    Errors of SQLite that are about the statement, and not about the disk, are bugs and pass unchanged.
    """
    try:
        yield
    except sqlite3.Error as error:
        answer = _index_error(error, doing)
        if answer is None:
            raise
        raise answer from error


def _index_error(error: sqlite3.Error, doing: str) -> CodexError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    what = f"could not {doing} ({error})"
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"the disk is full: {what}", remedy=FULL_REMEDY)
        case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_SHMSIZE:
            # The one place where SQLite reports a full disk as a failed write: growing its shared-memory
            # file.
            return DiskFull(f"the disk is full: {what}", remedy=FULL_REMEDY)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return DiskFailed(f"the disk failed: {what}", remedy=FAILED_REMEDY)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return IndexDamaged(
                f"the index of the block store is damaged: {what}",
                remedy="restore it from a backup, or move the repo folder away and start empty",
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DataDirLocked(
                f"another program holds the index of the block store: {what}",
                remedy="close the program that has index.sqlite open",
            )
    return None
