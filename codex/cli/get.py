"""`codex get`: a dataset out of a node, into a file that is there whole or not at all."""

import errno
import http.client
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from codex.cli.connection import PIECE, ask, data_path, refused
from codex.cli.exits import Failed
from codex.cli.progress import progress
from codex.lock import RunningNode

STDOUT = "-"
NAME_LIMIT = 200
"""Bytes of a file name that is taken from elsewhere; file systems allow 255."""


def get(node: RunningNode, cid: str, output: str | None, *, force: bool, local: bool) -> Path | None:
    """Fetch the dataset `cid` and return the file it is in now; None for standard output (`-`).

    Without `output`, or when that is a directory, the file is named as the dataset is, or by its CID. An
    existing file is replaced only with `force`. With `local`, only what this node has counts; else what it
    has not is fetched from others. Raises Failed, and leaves no file, when the dataset is not to be had or
    does not arrive whole; NoNode.
    """
    if output is not None and output != STDOUT and not os.path.isdir(output):
        _check_free(Path(output), force)
    with _reply(node, cid, local) as reply:
        if output == STDOUT:
            _copy(reply, sys.stdout.buffer, cid)
            with _written("the output"):
                sys.stdout.buffer.flush()
            return None
        path = Path(output or ".")
        if path.is_dir():
            path /= safe_name(reply.getheader("Content-Disposition") or "", cid)
        with new_file(path, force) as stream:
            _copy(reply, stream, cid)
        return path


@contextmanager
def _reply(node: RunningNode, cid: str, local: bool) -> Iterator[http.client.HTTPResponse]:
    """A reply with the dataset's bytes to come: from this node, or else through it."""
    with ask(node, "GET", data_path(cid)) as reply:
        if reply.status == 200:
            yield reply
            return
        if local or reply.status != 404:
            raise refused(reply, cid)
    with ask(node, "GET", data_path(cid, "network", "stream")) as reply:
        if reply.status != 200:
            raise refused(reply, cid)
        yield reply


def _copy(reply: http.client.HTTPResponse, stream: BinaryIO, cid: str) -> None:
    """Move the body. Raises Failed when it ends before its announced length, or cannot be written."""
    length = reply.length
    arrived = 0
    with progress(cid, length) as moved:
        while piece := reply.read(PIECE):
            with _written("the output"):
                stream.write(piece)
            arrived += len(piece)
            moved(len(piece))
    if length is not None and arrived != length:
        raise Failed(
            f"{cid} was cut off after {arrived} of {length} bytes",
            remedy="Try again; the node's log says what it could not read or fetch.",
        )


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
        kept = re.sub(r"^\.+", "_", kept)
        # Cut between characters: a name is bytes to the file system, and half a letter is none.
        kept = kept.encode()[:NAME_LIMIT].decode("utf-8", "ignore")
        if kept.strip("_"):
            return kept
    return "download"


@contextmanager
def new_file(path: Path, force: bool) -> Iterator[BinaryIO]:
    """Give a file to write; it appears as `path` when the block ends well, and vanishes when not. Raises
    Failed.

    What is no regular file (a device, a pipe) is written to as it is.
    """
    if path.exists() and not path.is_file():
        with _written(str(path)), path.open("wb") as stream:
            yield stream
        return
    _check_free(path, force)
    # Made beside its place, so that it can take it in one step; the number tells apart two fetches at once.
    part = path.with_name(f".codex-{os.getpid()}.part")
    with _written(str(path)):
        stream = part.open("xb")
    try:
        with _written(str(path)), stream:
            yield stream
        with _written(str(path)):
            _take_place(part, path, force)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _take_place(part: Path, path: Path, force: bool) -> None:
    if force:
        part.replace(path)
        return
    try:
        # Unlike a rename, a link never replaces what appeared there meanwhile.
        os.link(part, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # A file system without links.
        _check_free(path, force)
        part.rename(path)


def _check_free(path: Path, force: bool) -> None:
    if not force and path.is_file():
        raise _taken(path)


def _taken(path: Path) -> Failed:
    return Failed(f"{path} exists already", remedy="Name another file with -o, or replace it with --force.")


@contextmanager
def _written(what: str) -> Iterator[None]:
    """Say what the file system refuses, so that it is not taken for the connection's failure."""
    try:
        yield
    except OSError as error:
        raise Failed(f"{what} cannot be written: {error.strerror or error}") from error
