"""From an address to a client, and the end of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    connect_websocket_url,
)

from codex.client.client import Client
from codex.client.errors import NotLetIn, Unreachable
from codex.client.link import Link
from codex.errors import InvalidInput
from codex.runtime.groups import unwrapped

BASE = "/api/codex/v1"
PATIENCE = 10.0  # seconds for a node to answer
FAREWELL = 2.0  # seconds for the connection to be closed in order
RECEIVE = 262_144  # bytes read at once: with the 4 KiB that are usual, data comes at a third of the speed
MAX_MESSAGE = 16 << 20  # bytes; far more than a node sends in one

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def socket_url(url: str) -> str:
    """The WebSocket of the node at `url`, which is that itself or the root of the node's API.

    Raises InvalidInput.
    """
    try:
        parts = urlsplit(url)
        scheme = _SCHEMES.get(parts.scheme)
        known = scheme is not None and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known, scheme = False, None
    if not known or scheme is None:
        raise InvalidInput(f"{url!r} is no address of a node", remedy="write it as http://127.0.0.1:8080")
    root = parts.path.rstrip("/").removesuffix("/ws").removesuffix(BASE)
    return urlunsplit((scheme, parts.netloc, f"{root}{BASE}/ws", parts.query, ""))


@asynccontextmanager
async def open_client(url: str, token: str | None = None) -> AsyncIterator[Client]:
    """Connect to the node at `url` (the root of its API, say http://127.0.0.1:8080) for the length of the
    block.

    Raises Unreachable, NotLetIn and InvalidInput. What is under way at the end is cancelled.
    """
    target = socket_url(url)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            socket = await _connect(nursery, target, token)
            link = Link(socket)
            nursery.start_soon(_write, link)
            nursery.start_soon(_read, link, socket)
            try:
                yield Client(link)
            finally:
                link.lose("the client was closed")
                with trio.move_on_after(FAREWELL, shield=True):
                    await socket.aclose()
                nursery.cancel_scope.cancel()


async def _connect(nursery: trio.Nursery, url: str, token: str | None) -> WebSocketConnection:
    headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode("utf-8"))]
    try:
        with trio.fail_after(PATIENCE):
            return await connect_websocket_url(
                nursery,
                url,
                extra_headers=headers,
                max_message_size=MAX_MESSAGE,
                receive_buffer_size=RECEIVE,
            )
    except ConnectionRejected as error:
        if error.status_code in (401, 403):
            raise NotLetIn(
                "the node does not let this client in",
                remedy="give it the token of the file that the node was given by --api-token-file",
            ) from error
        raise Unreachable(
            f"what answers at {url} has no such interface (HTTP {error.status_code})",
            remedy="check the address; a node that is full says 503",
        ) from error
    except (OSError, HandshakeError, ConnectionClosed, trio.TooSlowError) as error:
        raise Unreachable(
            f"no node answers at {url}", remedy="start one with `codex`, or check the address"
        ) from error


async def _write(link: Link) -> None:
    try:
        await link.write()
    except ConnectionClosed:
        return  # whoever reads tells everybody


async def _read(link: Link, socket: WebSocketConnection) -> None:
    try:
        await link.read()
    except ConnectionClosed:
        reason = socket.closed
        link.lose(
            "the node has ended the connection" + (f": {reason.reason}" if reason and reason.reason else "")
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        link.lose("what the node says cannot be understood")
