"""Talking to a running node over HTTP: asking, and what can go wrong on the way."""

import http.client
import json
import select
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from codex.cli.exits import Failed, NoNode
from codex.cli.finding import Target
from codex.cli.output import note

BASE = "/api/codex/v1"
PIECE = 256 * 1024
"""Bytes read and sent at a time; with less, the calls cost more than the copying."""
CONNECT_LIMIT = 5.0
"""Seconds for a connection to come about; on this machine it takes none."""
IDLE_LIMIT = 300.0
"""Seconds without a byte before the node counts as stuck. Finishing a large upload, or searching, takes a
while.
"""
QUICK_LIMIT = 60.0
"""The same for what a node has at hand."""
HINT_AFTER = 5.0
"""Seconds without an answer after which somebody who looks is told what is waited for."""
ERROR_LIMIT = 4096
"""Bytes of an error message that are read."""
PROBLEM = "application/problem+json"
"""How errors are asked for: with a remedy. A node that does not know the form answers with text."""


def data_path(cid: str, *more: str) -> str:
    """The path of a dataset. A CID is text from outside: nothing in it may change the path."""
    return "/".join(["/data", quote(cid, safe=""), *more])


NOBODY = "Start one with `codex`, or name a running one with --data-dir or --api-port."
"""What to do when there is no node."""
OF_A_CID = MappingProxyType(
    {
        400: "A CID is one word as `codex put` and `codex ls` print it; check that it is whole.",
        404: "`codex ls` shows what this node has.",
    }
)
"""Remedies, by status, for a request about a CID."""
NO_REMEDIES: Mapping[int, str] = MappingProxyType({})
_GENERAL = {
    404: "What answers there does not know this call: another program, or another version of the node.",
    503: "The node runs without the part that this needs, or is stopping; its log says more.",
}


@contextmanager
def ask(
    node: Target,
    method: str,
    path: str,
    *,
    body: Iterable[bytes] | None = None,
    headers: Mapping[str, str | bytes] | None = None,
    limit: float = IDLE_LIMIT,
    quiet: bool = False,
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and give the reply, whatever its status; the connection ends with the block.

    Without a Content-Length in `headers`, a `body` goes out in chunks; what iterating it raises must be no
    OSError. The node may be silent for `limit` seconds; after a few of them somebody who looks is told so,
    unless `quiet`. Raises NoNode when nothing listens there, Failed when the node wants another token or the
    exchange breaks, also while the reply is read.
    """
    sent: dict[str, str | bytes] = {"Accept": f"{PROBLEM}, */*;q=0.9", **(headers or {})}
    if node.token is not None:
        sent["Authorization"] = f"Bearer {node.token}"
    connection = http.client.HTTPConnection(node.host, node.port, timeout=min(CONNECT_LIMIT, limit))
    try:
        try:
            connection.connect()
        except OSError as error:
            raise NoNode(
                f"no node answers at {node.url}: {error.strerror or error}",
                remedy=NOBODY,
            ) from error
        connection.sock.settimeout(limit)
        with _explained(node, limit):
            with suppress(BrokenPipeError, ConnectionResetError):
                # When the node stops listening, its reply says why; without one, the next line fails.
                connection.request(method, BASE + path, body, sent)
            # It may own the socket by now, so that closing the connection would not close it.
            if not quiet:
                _say_what_is_waited_for(connection.sock, node, limit)
            with connection.getresponse() as reply:
                if reply.status == 401:
                    raise not_let_in(node)
                yield reply
    finally:
        connection.close()


def ask_json(
    node: Target,
    method: str,
    path: str,
    what: str,
    *,
    given: object = None,
    accepted: Sequence[int] = (200,),
    remedies: Mapping[int, str] = NO_REMEDIES,
    limit: float = QUICK_LIMIT,
    quiet: bool = False,
) -> dict[str, Any]:
    """The node's answer to `what`, a JSON object; with `given` (not None) as the JSON that is sent.

    Raises Failed for any status that is not `accepted`, NoNode.
    """
    body: list[bytes] | None = None
    headers: dict[str, str | bytes] = {}
    if given is not None:
        body = [json.dumps(given).encode()]
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body[0]))}
    elif method == "POST":
        headers = {"Content-Length": "0"}
    with ask(node, method, path, body=body, headers=headers, limit=limit, quiet=quiet) as reply:
        text = read_text(reply, what, accepted=accepted, remedies=remedies)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(
            f"{what}: the answer is no JSON", remedy="Check that --api-port is that of a Codex node."
        ) from error
    with understood():
        if not isinstance(answer, dict):
            raise TypeError
    return answer


def not_let_in(node: Target) -> Failed:
    """The error that the node wants another token than it was given."""
    if node.token is None:
        return Failed(
            f"the node at {node.url} answers only to those who know its token",
            remedy="Name the file that it was started with: --api-token-file or CODEX_API_TOKEN_FILE.",
        )
    return Failed(
        f"the node at {node.url} does not take the token that was given",
        remedy="Name the file that it was started with, by --api-token-file. A token that was changed there "
        "since then counts after a restart.",
    )


def _say_what_is_waited_for(sock: socket.socket, node: Target, limit: float) -> None:
    if limit <= HINT_AFTER or not sys.stderr.isatty():
        return
    waiting = select.poll()  # unlike select, for any number of open files
    waiting.register(sock, select.POLLIN)
    if not waiting.poll(HINT_AFTER * 1000):
        note(
            f"The node at {node.url} has not answered for {HINT_AFTER:.0f} seconds; it is given {limit:.0f}. "
            "^C ends the waiting."
        )


@contextmanager
def _explained(node: Target, limit: float) -> Iterator[None]:
    """Say what a broken exchange means."""
    try:
        yield
    except TimeoutError as error:
        raise Failed(
            f"the node at {node.url} was silent for {limit:.0f} seconds",
            remedy="Look at the node's log; it may be stuck, or its disk may be.",
        ) from error
    except http.client.RemoteDisconnected as error:
        raise Failed(
            f"the node at {node.url} closed the connection without an answer",
            remedy="Look at the node's log; it may have been stopped.",
        ) from error
    except http.client.HTTPException as error:
        raise Failed(
            f"what answers at {node.url} does not speak as a node does ({type(error).__name__})",
            remedy="Check the address: --api-bindaddr and --api-port.",
        ) from error
    except OSError as error:
        raise Failed(
            f"the connection to the node at {node.url} broke: {error.strerror or error}",
            remedy="Try again, and look at the node's log if it stays so.",
        ) from error


def read_text(
    reply: http.client.HTTPResponse,
    what: str,
    *,
    accepted: Sequence[int] = (200, 204),
    remedies: Mapping[int, str] = NO_REMEDIES,
) -> str:
    """The body of a reply to `what` with an `accepted` status. Raises Failed for any other: see `refused`."""
    if reply.status not in accepted:
        raise refused(reply, what, remedies)
    return reply.read().decode("utf-8", "replace")


@contextmanager
def understood() -> Iterator[None]:
    """Say what it means when an answer lacks what a node's answer has: KeyError, TypeError and the like."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Failed(
            "the answer is not that of a Codex node", remedy="Check --api-bindaddr and --api-port."
        ) from error


def refused(reply: http.client.HTTPResponse, what: str, remedies: Mapping[int, str] = NO_REMEDIES) -> Failed:
    """The error that a reply other than success is, in the node's own words where it says something.

    `remedies` by status are for where the node names none.
    """
    said = reply.read(ERROR_LIMIT).decode("utf-8", "replace").strip()
    remedy = code = ""
    if (reply.getheader("Content-Type") or "").partition(";")[0].strip().lower() == PROBLEM:
        said, remedy, code = _problem(said)
    said = said or f"the node answered {reply.status} {reply.reason}".rstrip()
    return Failed(
        said if f" {what} " in f" {said} " else f"{what}: {said}",
        remedy=remedy or remedies.get(reply.status, "") or _GENERAL.get(reply.status, ""),
        told=code,
    )


def _problem(text: str) -> tuple[str, str, str]:
    """What a problem object says, its remedy and its code; each may be empty."""
    try:
        told = json.loads(text)
        said, remedy, code = told.get("detail") or told.get("title"), told.get("remedy"), told.get("code")
        return str(said or ""), str(remedy or ""), str(code or "")
    except (ValueError, AttributeError, RecursionError):
        return text, "", ""
