"""`codex get`: a dataset out of a node, into a file that is there whole or not at all."""

import http.client
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from codex.cli import jobs
from codex.cli.connection import OF_A_CID, PIECE, ask, data_path, refused, understood
from codex.cli.exits import Failed, NoNode
from codex.cli.files import Part, check_free, open_part, place, safe_name, written
from codex.cli.finding import Target
from codex.cli.output import note
from codex.cli.progress import progress

STDOUT = "-"


@frozen
class Order:
    """What is to be fetched, and how. With `local`, only what the node itself has counts; else what it has
    not is fetched from others. With `force`, a file that exists is replaced. With `resume`, a download that
    broke off goes on where it ended.
    """

    cid: str
    output: str | None
    """A file, a directory, `-` for standard output, or None for the present directory."""
    force: bool = False
    local: bool = False
    resume: bool = False


def get(node: Target, order: Order) -> Path | None:
    """Fetch a dataset and return the file it is in now; None for standard output.

    In a directory the file is named as the dataset is, or by its CID. Raises Failed when the dataset is not
    to be had or does not arrive whole: then there is no file, but perhaps a part of one that `resume` goes
    on with (see `files`). Raises NoNode.
    """
    if order.output == STDOUT:
        with _reply(node, order, 0) as reply:
            _stream(node, reply, sys.stdout.buffer, "the output", order.cid)
        return None
    path = Path(order.output or ".")
    with written(path):  # what a name is too long for is found out here
        special = path.exists() and not path.is_file() and not path.is_dir()
    if special:
        # A device or a pipe is written to as it is.
        with _reply(node, order, 0) as reply, written(path), path.open("wb", buffering=0) as stream:
            _stream(node, reply, stream, str(path), order.cid)
        return path
    if not path.is_dir():
        check_free(path, order.force)
    with open_part(path, order.cid) as part:
        # The last byte is asked for again: so a part that lacks nothing is no special case.
        offset = max(part.size - 1, 0) if order.resume else 0
        with _reply(node, order, offset) as reply:
            if path.is_dir():
                path /= safe_name(reply.getheader("Content-Disposition") or "", order.cid)
                check_free(path, order.force)
            _fill(node, part, reply, path.name, order.cid)
        place(part, path, order.force)
    return path


@contextmanager
def _reply(node: Target, order: Order, offset: int) -> Iterator[http.client.HTTPResponse]:
    """A reply with the dataset's bytes to come, from `offset` on (206) or from the start (200): from this
    node, or else through it.
    """
    headers: dict[str, str | bytes] = {}
    if offset:
        headers = {"Range": f"bytes={offset}-", "If-Range": f'"{order.cid}"'}
    paths = [data_path(order.cid), data_path(order.cid, "network", "stream")]
    while True:
        with ask(node, "GET", paths[0], headers=headers) as reply:
            if reply.status in (200, 206):
                yield reply
                return
            if reply.status == 416 and headers:
                headers = {}  # what is here is longer than the dataset, so it is something else
            elif reply.status == 404 and not order.local and len(paths) > 1:
                del paths[0]
                if sys.stderr.isatty():
                    note(f"Not all of {order.cid} is on this node; asking others for it.")
            else:
                raise refused(reply, order.cid, OF_A_CID)


def _fill(node: Target, part: Part, reply: http.client.HTTPResponse, name: str, cid: str) -> None:
    """Move the body to its place in the part. Raises Failed unless the part is whole afterwards."""
    start, total = _extent(reply, part.size)
    part.cut(start)
    _move(reply, part.write, name, start, total)
    if total is not None and part.size != total:
        raise _cut_off(node, reply, cid, part.size, total)


def _stream(
    node: Target, reply: http.client.HTTPResponse, stream: FileIO | BinaryIO, what: str, cid: str
) -> None:
    """Move the body into an open stream. Raises Failed unless all of it arrives, and can be written."""
    total, arrived = reply.length, 0

    def write(piece: bytes) -> None:
        nonlocal arrived
        with written(what):
            left = memoryview(piece)
            while left:
                left = left[stream.write(left) or 0 :]
        arrived += len(piece)

    _move(reply, write, cid, 0, total)
    with written(what):
        stream.flush()
    if total is not None and arrived != total:
        raise _cut_off(node, reply, cid, arrived, total)


def _extent(reply: http.client.HTTPResponse, here: int) -> tuple[int, int | None]:
    """Where in the dataset the body begins, and how long the dataset is, if the reply says so.

    Raises Failed for a body that does not go on with the first `here` bytes.
    """
    if reply.status != 206:
        return 0, reply.length
    with understood():
        found = _RANGE.fullmatch(reply.getheader("Content-Range") or "")
        first, last, total = map(int, found.groups() if found else ())
        if first > here or last != total - 1:
            raise ValueError
    return first, total


def _move(
    reply: http.client.HTTPResponse, write: Callable[[bytes], None], name: str, done: int, total: int | None
) -> None:
    with progress(name, total, done) as bar:
        while piece := reply.read(PIECE):
            write(piece)
            bar.moved(len(piece))


def _cut_off(node: Target, reply: http.client.HTTPResponse, cid: str, arrived: int, total: int) -> Failed:
    """What to say of a body that broke off: what became of the node's job, where that says why."""
    text = f"{cid} was cut off after {arrived} of {total} bytes"
    id = reply.getheader("X-Job-Id")
    try:
        # That a node does not say why is not what went wrong first.
        with suppress(Failed):
            job = jobs.fetch(node, id, quiet=True) if id else None
            if job is not None and job.error is not None:
                with understood():
                    error = {name: str(job.error.get(name) or "") for name in ("message", "remedy", "code")}
                return Failed(f"{text}: {error['message']}", remedy=error["remedy"], told=error["code"])
    except NoNode:
        return Failed(
            f"{text}: the node has stopped",
            remedy=f"Start it again; `codex get -c {cid}` goes on with what came, where that is a file.",
        )
    return Failed(text, remedy="Try again; the node's log says what it could not read or fetch.")


_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20})")
