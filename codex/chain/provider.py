"""The way to a provider: WebSocket, or HTTP where that is what its URL says. The only place of the chain's
that opens sockets.
"""

import base64
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from urllib.parse import SplitResult, unquote, urlsplit

import h11
import trio
import trio_websocket

from codex.chain.link import LinkLost, Wire
from codex.runtime import unwrapped
from codex.version import VERSION

MOST = 64 * 1024 * 1024
"""Bytes of one answer at most."""
_CONNECTING = 10.0  # seconds
_CLOSING = 1.0
_PIECE = 65536  # bytes read at once
_SIDE_BY_SIDE = 4  # connections to a provider that is asked over HTTP


@asynccontextmanager
async def dial(url: str) -> AsyncIterator[Wire]:
    """Open a way to the provider at `url` for the length of the block. Raises LinkLost when there is none."""
    parts = urlsplit(url)
    try:
        async with AsyncExitStack() as stack:
            yield await (_websocket if parts.scheme in ("ws", "wss") else _http)(parts, stack)
    except trio_websocket.ConnectionRejected as error:
        raise LinkLost(f"it refused the WebSocket with HTTP status {error.status_code}") from error
    except (trio_websocket.HandshakeError, trio_websocket.ConnectionClosed) as error:
        raise LinkLost("it does not speak WebSocket") from error


@asynccontextmanager
async def _tasks() -> AsyncIterator[trio.Nursery]:
    with unwrapped():
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()


async def _websocket(parts: SplitResult, stack: AsyncExitStack) -> "_WebSocket":
    stream = await _connected(parts)
    stack.push_async_callback(trio.aclose_forcefully, stream)
    # What goes wrong with the handshake is raised by the task that reads, and comes out of this nursery.
    nursery = await stack.enter_async_context(_tasks())
    try:
        with trio.fail_after(_CONNECTING):
            socket = await trio_websocket.wrap_client_stream(
                nursery,
                stream,
                _host(parts),
                _target(parts),
                extra_headers=_headers(parts),
                max_message_size=MOST,
                receive_buffer_size=_PIECE,
            )
    except trio.TooSlowError as error:
        raise LinkLost(f"no WebSocket in {_CONNECTING:g} s") from error
    stack.push_async_callback(_said_goodbye, socket)
    return _WebSocket(socket)


async def _http(parts: SplitResult, stack: AsyncExitStack) -> "_Http":
    wire = _Http(parts)
    stack.push_async_callback(wire.aclose)
    # One connection at once, so that a provider that is not there is known not to be.
    await wire.connect()
    nursery = await stack.enter_async_context(_tasks())
    for _ in range(_SIDE_BY_SIDE):
        nursery.start_soon(wire.work)
    return wire


async def _said_goodbye(socket: trio_websocket.WebSocketConnection) -> None:
    with trio.move_on_after(_CLOSING):
        await socket.aclose()


async def _connected(parts: SplitResult) -> "trio.SocketStream | trio.SSLStream[trio.SocketStream]":
    """A connection to the host of a URL, encrypted where that says so. Raises LinkLost."""
    host, encrypted = parts.hostname or "", parts.scheme in ("wss", "https")
    port = parts.port or (443 if encrypted else 80)
    try:
        with trio.fail_after(_CONNECTING):
            if not encrypted:
                return await trio.open_tcp_stream(host, port)
            stream = await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True)
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream
    except trio.TooSlowError as error:
        raise LinkLost(f"no connection in {_CONNECTING:g} s") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise LinkLost(_why(error)) from error


def _host(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{host}:{parts.port}" if parts.port else host


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _headers(parts: SplitResult) -> list[tuple[bytes, bytes]]:
    """What says who asks, where the URL has a name and a password."""
    if parts.username is None:
        return []
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return [(b"Authorization", b"Basic " + base64.b64encode(pair.encode()))]


def _why(error: BaseException) -> str:
    """A reason without the address, which may have a secret in it: that of each attempt, once."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(map(_why, error.exceptions)))
    if isinstance(error, OSError) and error.strerror:
        # What a connection is refused with has the address in its words, and a number that says it without.
        numbered = error.errno and not isinstance(error, trio.socket.gaierror | ssl.SSLError)
        words = os.strerror(error.errno or 0) if numbered else error.strerror
        return words[:1].lower() + words[1:]
    return type(error).__name__ if error.__cause__ is None else _why(error.__cause__)


class _WebSocket:
    """Texts over a WebSocket."""

    pushes = True

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self._socket = socket

    async def send(self, text: str) -> None:
        try:
            await self._socket.send_message(text)
        except trio_websocket.ConnectionClosed as error:
            raise LinkLost(_closed(error)) from error

    async def receive(self) -> str | bytes:
        try:
            message: str | bytes = await self._socket.get_message()
        except trio_websocket.ConnectionClosed as error:
            raise LinkLost(_closed(error)) from error
        return message


def _closed(error: trio_websocket.ConnectionClosed) -> str:
    reason = error.reason
    return f"it closed the connection ({reason.code})" if reason is not None else "the connection is gone"


class _Http(trio.abc.AsyncResource):
    """Texts as bodies of HTTP requests, a few side by side; answers come back as they come."""

    pushes = False

    def __init__(self, parts: SplitResult) -> None:
        self._parts = parts
        self._idle: list[_Connection] = []
        # Bounded by the calls that a link has on their way.
        self._out, self._asked = trio.open_memory_channel[str](inf)
        self._in, self._answers = trio.open_memory_channel[bytes | LinkLost](inf)

    async def send(self, text: str) -> None:
        await self._out.send(text)

    async def receive(self) -> bytes:
        answer = await self._answers.receive()
        if isinstance(answer, LinkLost):
            raise answer
        return answer

    async def aclose(self) -> None:
        # Closing by force waits for nothing; but one that is cancelled would close the first one only.
        with trio.CancelScope(shield=True):
            for connection in self._idle:
                await trio.aclose_forcefully(connection.stream)
        self._idle.clear()

    async def work(self) -> None:
        """Send what is to be sent, one after the other."""
        async for text in self._asked:
            try:
                await self._in.send(await self._post(text.encode()))
            except LinkLost as error:
                await self._in.send(error)

    async def connect(self) -> None:
        """Open a connection, to be used next."""
        self._idle.append(_Connection(await _connected(self._parts)))

    async def _post(self, body: bytes) -> bytes:
        connection = self._idle.pop() if self._idle else _Connection(await _connected(self._parts))
        try:
            return await self._exchanged(connection, body)
        except _Stale:
            # A connection that was kept may have been closed by the other side meanwhile.
            connection = _Connection(await _connected(self._parts))
        try:
            return await self._exchanged(connection, body)
        except _Stale as error:
            raise LinkLost("it closed the connection without an answer") from error

    async def _exchanged(self, connection: "_Connection", body: bytes) -> bytes:
        again = False
        try:
            status, answer = await connection.exchange(self._head(body), body)
            again = connection.reusable()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise _Stale from error
        except h11.RemoteProtocolError as error:
            raise LinkLost("it does not speak HTTP") from error
        finally:
            if again:
                self._idle.append(connection)
            else:
                await trio.aclose_forcefully(connection.stream)
        if status != 200 and not answer.lstrip().startswith(b"{"):
            raise LinkLost(f"it answered with HTTP status {status}")
        return answer

    def _head(self, body: bytes) -> h11.Request:
        return h11.Request(
            method="POST",
            target=_target(self._parts),
            headers=[
                (b"Host", _host(self._parts).encode()),
                (b"User-Agent", f"codex/{VERSION}".encode()),
                (b"Content-Type", b"application/json"),
                (b"Content-Length", str(len(body)).encode()),
                *_headers(self._parts),
            ],
        )


class _Stale(Exception):
    """A connection ended before there was an answer."""


class _Connection:
    """One connection of HTTP, for one exchange after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def exchange(self, head: h11.Request, body: bytes) -> tuple[int, bytes]:
        """Send a request, and return the status and the body of its answer."""
        http = self._http
        out = [http.send(head), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage())]
        await self.stream.send_all(b"".join(part for part in out if part))
        status, answer = 0, bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                piece = await self.stream.receive_some(_PIECE)
                if not piece and status == 0:
                    raise trio.BrokenResourceError
                http.receive_data(bytes(piece))
            elif isinstance(event, h11.Response):
                status = event.status_code
                for name, value in event.headers:
                    if name == b"content-length" and int(value) > MOST:
                        raise LinkLost(f"its answer has more than {MOST} bytes")
            elif isinstance(event, h11.Data):
                answer += event.data
                if len(answer) > MOST:
                    raise LinkLost(f"its answer has more than {MOST} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(answer)

    def reusable(self) -> bool:
        """Whether another exchange may follow; makes it ready for it."""
        http = self._http
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            return True
        return False
