"""From an address to a client, and the end of it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import trio
from attrs import frozen
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from codex.client.client import Client
from codex.client.errors import NotLetIn, Unreachable
from codex.client.link import Link
from codex.errors import CodexError, InvalidInput
from codex.runtime.groups import unwrapped

BASE = "/api/codex/v1"
PATIENCE = 10.0  # seconds for a node to answer
FAREWELL = 2.0  # seconds for the connection to be closed in order
PING = 10.0  # seconds between two questions whether the node is still there
SILENCE = 40.0  # seconds in which something must come after one; an upload may stand before it on a slow line
RECEIVE = 262_144  # bytes read at once: with the 4 KiB that are usual, data comes at a third of the speed
MAX_MESSAGE = 16 << 20  # bytes; far more than a node sends in one

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@frozen
class Address:
    """Where a node's WebSocket is. `target` is the path, with the query."""

    host: str
    port: int
    encrypted: bool
    target: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """The WebSocket of the node at `url`, which is that itself or the root of the node's API.

        Raises InvalidInput.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
        except (ValueError, KeyError):
            parts, port = urlsplit(""), 0
        if not parts.hostname:
            raise InvalidInput(f"{url!r} is no address of a node", remedy="write it as http://127.0.0.1:8080")
        root = parts.path.rstrip("/").removesuffix("/ws").removesuffix(BASE)
        target = urlunsplit(("", "", f"{root}{BASE}/ws", parts.query, ""))
        return cls(parts.hostname, port, parts.scheme in ("https", "wss"), target)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@asynccontextmanager
async def open_client(url: str, token: str | None = None) -> AsyncIterator[Client]:
    """Connect to the node at `url` (the root of its API, say http://127.0.0.1:8080) for the length of the
    block.

    Raises Unreachable, NotLetIn and InvalidInput. What is under way at the end is cancelled.
    """
    address = Address.parse(url)
    headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode("utf-8"))]
    stream = await _connect(address)
    try:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                socket = await nursery.start(_run, stream, address, headers)
                link = Link(socket)
                nursery.start_soon(_write, link)
                nursery.start_soon(_read, link, socket)
                nursery.start_soon(_watch, link, socket)
                try:
                    yield Client(link)
                finally:
                    link.lose("the client was closed")
                    with trio.move_on_after(FAREWELL, shield=True):
                        await socket.aclose()
                    nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


async def _connect(address: Address) -> Stream:
    try:
        with trio.fail_after(PATIENCE):
            stream = await trio.open_tcp_stream(address.host, address.port)
    except (OSError, trio.TooSlowError) as error:
        raise _nobody(address) from error
    if not address.encrypted:
        return stream
    return trio.SSLStream(stream, ssl.create_default_context(), server_hostname=address.host)


async def _run(
    stream: Stream,
    address: Address,
    headers: list[tuple[bytes, bytes]],
    *,
    task_status: trio.TaskStatus[WebSocketConnection],
) -> None:
    """Speak WebSocket on the stream; started when it is open. Raises Unreachable and NotLetIn before that."""
    try:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                with trio.fail_after(PATIENCE):
                    socket = await wrap_client_stream(
                        nursery,
                        stream,
                        str(address),
                        address.target,
                        extra_headers=headers,
                        max_message_size=MAX_MESSAGE,
                        receive_buffer_size=RECEIVE,
                    )
                task_status.started(socket)
    except ConnectionRejected as error:
        raise _rejection(address, error.status_code) from error
    except (OSError, HandshakeError, ConnectionClosed, trio.BrokenResourceError, trio.TooSlowError) as error:
        raise _nobody(address) from error


def _rejection(address: Address, status: int) -> CodexError:
    if status in (401, 403):
        return NotLetIn(
            "the node does not let this client in",
            remedy="give it the token of the file that the node was given by --api-token-file",
        )
    if status == 503:
        return Unreachable(f"the node at {address} has no room for one more client", remedy="try again later")
    return Unreachable(
        f"what answers at {address} is no node, or an older one (HTTP {status})", remedy="check the address"
    )


def _nobody(address: Address) -> Unreachable:
    return Unreachable(f"no node answers at {address}", remedy="start one with `codex`, or check the address")


async def _write(link: Link) -> None:
    try:
        await link.write()
    except ConnectionClosed:
        return  # whoever reads tells everybody


async def _watch(link: Link, socket: WebSocketConnection) -> None:
    """Give the connection up when nothing comes over it any more."""
    try:
        while True:
            await trio.sleep(PING)
            with trio.move_on_after(SILENCE) as waited:
                await socket.ping()
            # The answer may be behind a lot that was under way already.
            if waited.cancelled_caught and trio.current_time() - link.heard >= SILENCE:
                link.lose(f"the node has said nothing for {SILENCE:.0f} seconds")
                return
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
