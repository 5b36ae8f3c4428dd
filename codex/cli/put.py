"""`codex put`: files into a node."""

import errno
import os
import shlex
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from attrs import frozen

from codex.cli.connection import PIECE, ask, read_text
from codex.cli.exits import Failed
from codex.cli.finding import Target
from codex.cli.media import media_type
from codex.cli.progress import progress
from codex.errors import InvalidInput

STDIN = "-"
_REMEDIES = {422: "Give another name or type with --name or --type."}


@frozen
class Stored:
    """A dataset that the node has taken: `size` bytes from `source`, and what is kept with them."""

    cid: str
    source: str
    name: str | None
    mimetype: str | None
    size: int

    def as_told(self) -> dict[str, str | int | None]:
        """This for programs."""
        return {
            "cid": self.cid,
            "file": self.source,
            "bytes": self.size,
            "filename": self.name,
            "mimetype": self.mimetype,
        }


def put(node: Target, source: str, name: str | None, mimetype: str | None) -> Stored:
    """Store the file `source`, or standard input for `-`.

    `name` and `mimetype` are kept with it; None takes the name of the file, and the type that its name tells.
    A file goes out with its length, so that a cut upload is known for one; anything else goes out in chunks.
    Raises Failed when it cannot be read or the node refuses it, NoNode, InvalidInput for a name that cannot
    be sent.
    """
    with _opened(source) as (stream, size):
        if name is None and source != STDIN:
            name = Path(source).name
        if mimetype is None and name is not None:
            mimetype = media_type(name)
        headers: dict[str, str | bytes] = {}
        if name is not None:
            headers["Content-Disposition"] = _disposition(name)
        if mimetype is not None:
            headers["Content-Type"] = _header(mimetype, "media type")
        if size is not None:
            headers["Content-Length"] = str(size)
        sent = 0
        with progress(name or "standard input", size) as bar:

            def moved(count: int) -> None:
                nonlocal sent
                sent += count
                bar.moved(count)

            body = _pieces(stream, source, size, moved)
            with ask(node, "POST", "/data", body=body, headers=headers, quiet=True) as reply:
                cid = read_text(reply, source, remedies=_REMEDIES).strip()
    return Stored(cid, source, name, mimetype, sent)


@contextmanager
def _opened(source: str) -> Iterator[tuple[FileIO, int | None]]:
    """The bytes of `source`, and how many there are; None when that is known at the end only."""
    try:
        # Unbuffered: pieces are large, and those of a pipe go on as they come.
        stream = FileIO(sys.stdin.fileno(), closefd=False) if source == STDIN else FileIO(source)
    except OSError as error:
        raise _unreadable(source, error) from error
    with stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            yield stream, None
        elif status.st_size == 0:
            if not _begins(stream, source):
                raise Failed(f"{source} is empty", remedy="A dataset has at least one byte.")
            yield stream, None  # made as it is read, like those in /proc
        else:
            yield stream, status.st_size


def _begins(stream: FileIO, source: str) -> bool:
    """Whether there is anything to read; the stream is at its beginning afterwards. Raises Failed."""
    try:
        first = stream.read(1)
        stream.seek(0)
    except OSError as error:
        raise _unreadable(source, error) from error
    return bool(first)


def _pieces(stream: FileIO, source: str, size: int | None, moved: Callable[[int], None]) -> Iterator[bytes]:
    """The content in pieces: to the end, or exactly `size` bytes of it. Raises Failed, never OSError."""
    left = size
    while left is None or left > 0:
        try:
            piece = stream.read(PIECE if left is None else min(PIECE, left))
        except OSError as error:
            raise _unreadable(source, error) from error
        if piece == b"" and left is None:
            return
        if piece is None:
            raise Failed(f"{source} has nothing to read yet and does not wait (it is non-blocking)")
        if piece == b"":
            raise Failed(
                f"{source} has become shorter while it was read",
                remedy="Put it again when nobody writes to it.",
            )
        left = None if left is None else left - len(piece)
        yield piece
        moved(len(piece))


def _unreadable(source: str, error: OSError) -> Failed:
    remedy = ""
    if error.errno == errno.EISDIR:
        whole = Path(source)
        with suppress(OSError):  # the present directory may be gone
            whole = whole.resolve()
        name = shlex.quote(f"{whole.name or 'files'}.tar")
        remedy = f"Put it as an archive: tar c {shlex.quote(source)} | codex put - --name={name}"
    elif error.errno == errno.EACCES:
        remedy = "Let this user read it first."
    return Failed(f"{source} cannot be read: {error.strerror or error}", remedy=remedy)


def _disposition(name: str) -> bytes:
    """The header with a file name, as the file system's own bytes: any name arrives as it is."""
    return b'attachment; filename="' + os.fsencode(_header(name, "file name")) + b'"'


def _header(value: str, what: str) -> str:
    if not value or any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        raise InvalidInput(
            f"the {what} {value!r} cannot be sent",
            remedy="Give another with --name or --type, without control characters.",
        )
    return value
