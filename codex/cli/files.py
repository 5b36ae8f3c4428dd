"""Files that come from a node: named harmlessly, there whole or not at all, and kept for later when broken
off.

What arrives is written to a *part* beside its place, `CID.part`, and takes its place in one step when it is
whole. The part of a large dataset outlives a broken download: since a CID stands for the same bytes for
ever, the next one may go on where it ends.
"""

import errno
import fcntl
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from attrs import define

from codex.cli.exits import Failed
from codex.cli.output import note
from codex.units import MIB, human_size

NAME_LIMIT = 200
"""Bytes of a file name that is taken from elsewhere; file systems allow 255."""
KEPT = MIB
"""Bytes of a broken download that are kept, at least: less is fetched again sooner than it is explained."""
_ENCODING = sys.getfilesystemencoding()


@define
class Part:
    """A file in the making, `size` bytes of it so far; `grown` when some came in the life of this object."""

    path: Path
    stream: FileIO
    size: int
    grown: bool = False

    def cut(self, size: int) -> None:
        """Go on after the first `size` bytes, which is no more than there are. Raises Failed."""
        with written(self.path):
            self.stream.truncate(size)
            self.stream.seek(size)
        self.size = size

    def write(self, piece: bytes) -> None:
        """Append `piece`. Raises Failed."""
        with written(self.path):
            left = memoryview(piece)
            while left:
                left = left[self.stream.write(left) :]
        self.size += len(piece)
        self.grown = True


@contextmanager
def open_part(path: Path, cid: str) -> Iterator[Part]:
    """The part of dataset `cid` for the file or directory `path`, made or as it was left, and ours alone for
    the length of the block. Raises Failed.

    When the block fails, what is worth it is kept, and that is said. The block is to end with `place`.
    """
    folder = path if path.is_dir() else path.parent
    name = safe_name("", cid)
    with written(path):
        # When somebody else fetches the same here, this one is for now only.
        part = _locked(folder / f"{name}.part") or _locked(folder / f"{name}.{os.getpid()}.part")
    if part is None:
        raise Failed(f"{path} cannot be written: a part of it is in use", remedy="Name another file with -o.")
    with part.stream:
        try:
            yield part
        except BaseException:
            if part.size < KEPT:
                part.path.unlink(missing_ok=True)
            elif part.grown:
                note(f"{human_size(part.size)} are kept in {part.path}")
                note("The same command with --continue goes on from there.")
            raise


def _locked(path: Path) -> Part | None:
    """Open the part `path` at its end, and lock it; None when it is in use."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            stream = FileIO(descriptor, "r+")
        except BaseException:
            os.close(descriptor)
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been given its place between the opening and the lock: then it is no part any more.
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                return Part(path, stream, stream.seek(0, os.SEEK_END))
        except BlockingIOError:
            stream.close()
            return None
        except FileNotFoundError:
            pass  # gone; the next round makes one
        except BaseException:
            stream.close()
            raise
        stream.close()


def place(part: Part, path: Path, force: bool) -> None:
    """Give a part that is whole its place, replacing what is there only with `force`. Raises Failed."""
    with written(path):
        if force:
            part.path.replace(path)
            return
        try:
            # Unlike a rename, a link never replaces what appeared there meanwhile.
            os.link(part.path, path)
        except FileExistsError:
            raise taken(path) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # A file system without links.
            check_free(path, force)
            part.path.rename(path)
        else:
            part.path.unlink()


def check_free(path: Path, force: bool) -> None:
    """Raise Failed when something stands at `path` that may not be replaced."""
    if not force and path.is_file():
        raise taken(path)


def taken(path: Path) -> Failed:
    """The error that `path` exists."""
    return Failed(f"{path} exists already", remedy="Name another file with -o, or replace it with --force.")


@contextmanager
def written(what: object) -> Iterator[None]:
    """Say what the file system refuses, so that it is not taken for the connection's failure."""
    try:
        yield
    except OSError as error:
        raise Failed(f"{what} cannot be written: {error.strerror or error}", remedy=_remedy(error)) from error


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "Make room on that disk, or name a file on another with -o."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "Name a file where you may write, with -o."
        case errno.ENOENT | errno.ENOTDIR:
            return "Make the directory first, or name a file elsewhere with -o."
        case errno.ENAMETOOLONG:
            return "Give it a shorter name with -o."
        case errno.EFBIG:
            return "The file system takes no file of that size; name one on another with -o."
    return ""


def safe_name(disposition: str, fallback: str) -> str:
    """The file name in a Content-Disposition header, made fit to be created in a directory of ours.

    It comes from whoever stored the dataset: only its last part counts, without control characters, hidden by
    no leading dot, and not too long. Without one, `fallback` is treated the same way.
    """
    quoted = re.search(r'filename="(.*)"', disposition)
    # The standard library reads headers as Latin-1; the node sends the name's bytes, in UTF-8.
    given = quoted[1].encode("latin-1", "replace").decode("utf-8", "replace") if quoted else ""
    for name in (given, fallback):
        last = re.split(r"[/\\]", name)[-1]
        kept = "".join(char for char in last if char.isprintable()).strip()
        # Letters that the locale has not cannot be in a name either.
        kept = kept.encode(_ENCODING, "replace").decode(_ENCODING)
        kept = re.sub(r"^\.+", "_", kept)
        # Cut between characters: a name is bytes to the file system, and half a letter is none.
        kept = kept.encode()[:NAME_LIMIT].decode("utf-8", "ignore")
        if kept.strip("_"):
            return kept
    return "download"
