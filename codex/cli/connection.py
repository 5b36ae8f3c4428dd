"""Talking to a running node over HTTP: finding it, asking, and what can go wrong on the way."""

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from codex.cli.exits import Failed, NoNode
from codex.config import arguments, load
from codex.lock import RunningNode, reachable, running_node

BASE = "/api/codex/v1"
PIECE = 256 * 1024
"""Bytes read and sent at a time; with less, the calls cost more than the copying."""
CONNECT_LIMIT = 5.0
"""Seconds for a connection to come about; on this machine it takes none."""
IDLE_LIMIT = 300.0
"""Seconds without a byte before the node counts as stuck. Finishing a large upload, or searching, takes a
while.
"""
ERROR_LIMIT = 4096
"""Bytes of an error message that are read."""


def find_node(args: Sequence[str], environ: Mapping[str, str]) -> RunningNode:
    """Where the node is that `args` and `environ` mean. Raises NoNode, ConfigError.

    An address on the command line is taken as it is. Else the data directory says where its node listens,
    which is right even when the node had to take another port than it was told; else a port in the
    environment or the file is tried.
    """
    config = load(args, environ)
    given = arguments.read(args).given
    told = RunningNode(0, reachable(config.api.bind), config.api.port)
    if "api-port" in given or "api-bindaddr" in given:
        return told
    found = running_node(config.data_dir)
    if found is None and not config.api.port_explicit:
        raise NoNode(
            f"no node is running on {config.data_dir}",
            remedy="Start one with `codex`, or name a running one with --data-dir or --api-port.",
        )
    return found or told


def data_path(cid: str, *more: str) -> str:
    """The path of a dataset. A CID is text from outside: nothing in it may change the path."""
    return "/".join(["/data", quote(cid, safe=""), *more])


@contextmanager
def ask(
    node: RunningNode,
    method: str,
    path: str,
    *,
    body: Iterable[bytes] | None = None,
    headers: Mapping[str, str | bytes] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and give the reply, whatever its status; the connection ends with the block.

    Without a Content-Length in `headers`, a `body` goes out in chunks; what iterating it raises must be no
    OSError. Raises NoNode when nothing listens there, Failed when the exchange breaks, also while the reply
    is read.
    """
    connection = http.client.HTTPConnection(node.host, node.port, timeout=CONNECT_LIMIT)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise NoNode(
                f"no node answers at {node.url}: {error.strerror or error}",
                remedy="Start one with `codex`, or name a running one with --data-dir or --api-port.",
            ) from error
        connection.sock.settimeout(IDLE_LIMIT)
        with _explained(node):
            with suppress(BrokenPipeError, ConnectionResetError):
                # When the node stops listening, its reply says why; without one, the next line fails.
                connection.request(method, BASE + path, body, dict(headers or {}))
            reply = connection.getresponse()
            yield reply
    finally:
        connection.close()


@contextmanager
def _explained(node: RunningNode) -> Iterator[None]:
    """Say what a broken exchange means."""
    try:
        yield
    except TimeoutError as error:
        raise Failed(
            f"the node at {node.url} was silent for {IDLE_LIMIT:.0f} seconds",
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


def read_text(reply: http.client.HTTPResponse, what: str) -> str:
    """The body of a successful reply to `what`. Raises Failed, with the node's words, for any other."""
    if reply.status not in (200, 204):
        raise refused(reply, what)
    return reply.read().decode("utf-8", "replace")


def read_json(reply: http.client.HTTPResponse, what: str) -> Any:
    """The body of a successful reply as JSON. Raises Failed."""
    text = read_text(reply, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed(
            f"{what}: the answer is no JSON", remedy="Check that --api-port is that of a Codex node."
        ) from error


def refused(reply: http.client.HTTPResponse, what: str) -> Failed:
    """The error that a reply other than success is, in the node's own words where it says something."""
    said = reply.read(ERROR_LIMIT).decode("utf-8", "replace").strip()
    return Failed(
        f"{what}: {said or f'the node answered {reply.status} {reply.reason}'}",
        remedy=_REMEDIES.get(reply.status, ""),
    )


_REMEDIES = {
    422: "Give another name or type with --name or --type.",
    400: "A CID is one word as `codex put` and `codex ls` print it; check that it is whole.",
    404: "`codex ls` shows what this node has.",
    503: "The node runs without the part that this needs, or is stopping; its log says more.",
}
