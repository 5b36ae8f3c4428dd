"""The data directory as one node's own: made private, locked while the node runs, and with a note of where to
find it.

Two files stand in it. `lock` is locked (flock) from start to stop; its lock, not its existence, says that a
node runs. `node.json` names the running node's process and API address, for the commands that talk to it; the
node holds a lock on that file too, so a note that a killed node left behind is recognised without disturbing
a node that is just starting. Locks vanish with the process that holds them, however it ends.
"""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from codex.errors import CodexError, ConfigError, DataDirLocked, DiskFailed, DiskFull

LOCK_FILE = "lock"
NOTE_FILE = "node.json"
_NOTE_LIMIT = 4096


@frozen
class RunningNode:
    """A node that is running on a data directory, and where its API listens."""

    pid: int
    host: str
    """IP address or name to connect to."""
    port: int

    @property
    def url(self) -> str:
        """The API's base, as in `http://127.0.0.1:8080`."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def reachable(bind: str) -> str:
    """The address to connect to on this machine, for an API that listens on `bind`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(bind, bind)


class DataDir:
    """A data directory that this process has locked. Made by `open_data_dir` only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note: int | None = None

    def publish(self, bind: str, port: int) -> None:
        """Say that the API listens on `bind` and `port`: readers see the whole note or none. Raises DiskFull,
        DiskFailed.
        """
        note = self.path / NOTE_FILE
        fresh = self.path / (NOTE_FILE + ".new")
        content = {"pid": os.getpid(), "host": reachable(bind), "port": port}
        with _told(self.path, "written to"):
            with suppress(FileNotFoundError):
                fresh.unlink()
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Locked before it has its name, so that nobody ever finds it unlocked while we run.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.write(descriptor, json.dumps(content).encode() + b"\n")
                os.replace(fresh, note)
            except OSError:
                os.close(descriptor)
                raise
        self._drop()
        self._note = descriptor

    def withdraw(self) -> None:
        """Take the note away again; nothing happens when there is none."""
        if self._note is not None:
            with suppress(FileNotFoundError):
                (self.path / NOTE_FILE).unlink()
            self._drop()

    def _drop(self) -> None:
        if self._note is not None:
            os.close(self._note)
            self._note = None


@contextmanager
def open_data_dir(path: Path) -> Iterator[DataDir]:
    """Make `path` (mode 0700, parents too where missing), lock it for this process, and let go of it at the
    end.

    A directory that others may enter is closed to them. Raises DataDirLocked when another node runs on it,
    ConfigError when it cannot be a data directory, DiskFull or DiskFailed when the file system refuses.
    """
    with _told(path, "made"):
        # mkdir follows a link only where it leads to something, and exist_ok then looks at what is there.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _told(path, "made private (mode 0700)"):
        if stat.S_IMODE(path.stat().st_mode) != 0o700:
            _refuse_foreign(path)
            path.chmod(0o700)
    with _told(path, "locked"):
        descriptor = os.open(
            path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600
        )
    try:
        with _told(path, "locked"):
            _lock(descriptor, path)
        held = DataDir(path)
        try:
            yield held
        finally:
            held.withdraw()
    finally:
        os.close(descriptor)


def _refuse_foreign(path: Path) -> None:
    """Raise ConfigError for a directory in use that no node has made: closing it would lock others out."""
    names = set(os.listdir(path))
    if names and not names & {LOCK_FILE, NOTE_FILE, "key", "repo"}:
        raise ConfigError(
            f"the data directory {path} holds other things and is open to others",
            remedy="Name an empty or a new directory with --data-dir.",
        )


def running_node(path: Path) -> RunningNode | None:
    """The node that runs on the data directory `path` and has its API open; None when there is none.

    A note that nobody holds any more, or that is no note, counts as none. Raises ConfigError when it may not
    be read.
    """
    try:
        descriptor = os.open(path / NOTE_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise _refusal(path, "read", error) from error
    try:
        if not _is_held(descriptor):
            return None
        note = json.loads(os.read(descriptor, _NOTE_LIMIT))
        return RunningNode(int(note["pid"]), str(note["host"]), int(note["port"]))
    except (ValueError, KeyError, TypeError, OSError):
        return None
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _locked(descriptor, path) from None
    # Written over what stands there, and cut afterwards: on a full disk a file that exists can still be.
    os.ftruncate(descriptor, os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0))


def _locked(descriptor: int, path: Path) -> DataDirLocked:
    """Name the node that holds the lock, with as much as it has said about itself so far."""
    node = running_node(path)
    pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    if node is not None:
        other = f"process {node.pid}, API at {node.url}"
    else:
        other = f"process {pid}, its API not open yet" if pid.isdigit() else "just starting"
    return DataDirLocked(
        f"another node is running on {path} ({other})",
        remedy="Stop it first, or give this node a data directory of its own with --data-dir.",
    )


def _is_held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@contextmanager
def _told(path: Path, purpose: str) -> Iterator[None]:
    """Translate what the file system says about the data directory."""
    try:
        yield
    except OSError as error:
        raise _refusal(path, purpose, error) from error


def _refusal(path: Path, purpose: str, error: OSError) -> CodexError:
    start = f"the data directory {path} cannot be {purpose}"
    match error.errno:
        case errno.EEXIST | errno.ENOTDIR:
            return ConfigError(
                f"{start}: what stands there is not a directory", remedy="Name a directory with --data-dir."
            )
        case errno.EACCES | errno.EPERM:
            return ConfigError(
                f"{start}: no permission",
                remedy="Make this user its owner, or name another directory with --data-dir.",
            )
        case errno.ENOENT:
            return ConfigError(
                f"{start}: the directory that it lies in is gone, or takes none",
                remedy="Change to one that is there, or name another directory with --data-dir.",
            )
        case errno.ELOOP:
            return ConfigError(
                f"{start}: a symbolic link stands in the way",
                remedy="Remove it, or name another directory with --data-dir.",
            )
        case errno.EROFS:
            return DiskFailed(
                f"{start}: the file system is read-only",
                remedy="Mount it writable, or name a directory elsewhere with --data-dir.",
            )
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull(
                f"{start}: no space left", remedy="Make room, or name a directory elsewhere with --data-dir."
            )
        case errno.ENOLCK | errno.EOPNOTSUPP:
            return DiskFailed(
                f"{start}: its file system has no locks",
                remedy="Name a directory on a local disk with --data-dir.",
            )
    return DiskFailed(f"{start}: {error.strerror or error}", remedy="Name another directory with --data-dir.")
