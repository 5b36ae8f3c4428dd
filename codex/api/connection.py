"""One accepted connection: hypercorn's HTTP/1.1 and WebSockets, with the bulk routes taken out to their own
exchange.

hypercorn parses every head. When a head names a bulk route, its protocol object steps aside, the exchange
runs on the bare stream, and a fresh protocol object takes over for the next request of the same connection.
Everything else goes to the ASGI application. What is overridden, and why:

- HTTP/2 and its upgrade are off: the network's clients speak HTTP/1.1;
- sends can be cancelled and time out: a peer that stops reading must not keep the node from stopping;
- closing is shielded: the application's scope ends before the socket would be closed, and the peer would wait
for ever;
- a head has a limit of its own in time (408), and in size and headers, also when it comes all at once (431);
- a head that tells twice how long its body is, is refused, and so is a coding that is not spoken (400, as in
the reference): two readers on the way might not agree on where the next request begins;
- who is refused before it is known what is asked for is told why;
- an application that has ended takes its queue with it.
"""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Any

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from codex.api.rpc.frames import SocketProtocol
from codex.api.wire import READ_SIZE, STALL, Exchange, PeerGone
from codex.logs import get_logger
from codex.runtime.stream import PartsStream

HEAD_TIMEOUT = 10.0  # seconds for a head to be complete once its first byte has come, as in the reference
IDLE_TIMEOUT = 75.0  # seconds an unused connection is kept
MAX_HEAD = 8192  # bytes, as in the reference
MAX_FIELDS = 100  # headers in it; browsers send about twenty

_REFUSED = {
    400: b"The request is none that this node understands: HTTP/1.1 is spoken here.",
    408: b"The head of the request was not complete within %d seconds." % HEAD_TIMEOUT,
    431: b"The head of a request has at most %d bytes, and %d headers." % (MAX_HEAD, MAX_FIELDS),
}

_END = re.compile(rb"\n\r?\n")
_FRAMING = re.compile(rb"^(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LENGTHS = re.compile(rb"^content-length[ \t]*:[^\n]*,", re.IGNORECASE | re.MULTILINE)

Serve = Callable[[Exchange], Awaitable[None]]
Peer = tuple[str, int] | None  # host and port
Application = Callable[[Any, Any, Any], Awaitable[None]]  # ASGI 3

log = get_logger("api")


class _SteppedAside(Exception):
    """The head just parsed belongs to a bulk route."""

    def __init__(self, connection: h11.Connection, request: h11.Request) -> None:
        super().__init__()
        self.connection = connection
        self.request = request


class _HeadTooLong(Exception):
    """The head just parsed is longer than a head may be; the peer was told."""


class _Heads(h11.Connection):
    """h11's parser, which takes equal lengths for one, but for what it would not tell of."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self.their_state is h11.IDLE:
            data = self.trailing_data[0]
            end = _END.search(data)
            head = data[: end.end()] if end else b""
            if len(_FRAMING.findall(head)) > 1 or _LENGTHS.search(head):
                raise h11.RemoteProtocolError("the length of the body is told more than once")
        return super().next_event()


class _Protocol(SocketProtocol):
    """hypercorn's HTTP/1.1 without upgrades to HTTP/2, and with the bulk routes let out."""

    is_bulk: Callable[[str, str], bool]

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.connection = _Heads(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)
        self._bodyless = False  # a reply has no body, whatever it says

    async def _send_error_response(self, status_code: int) -> None:
        status = 400 if status_code == 501 else status_code
        text = _REFUSED[status]
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status, headers=headers))
        if not self._bodyless:
            await self._send_h11_event(h11.Data(data=text))
        await self._send_h11_event(h11.EndOfMessage())

    async def _check_protocol(self, event: h11.Request) -> None:
        self._bodyless = event.method == b"HEAD"
        # h11 bounds only a head that it has to wait for.
        lines = sum(len(name) + len(value) + 4 for name, value in event.headers)
        too_long = len(event.method) + len(event.target) + lines > MAX_HEAD
        if too_long or len(event.headers) > MAX_FIELDS:
            await self._send_error_response(431)
            raise _HeadTooLong
        if self.is_bulk(event.method.decode("ascii"), event.target.decode("ascii", "replace")):
            assert isinstance(self.connection, h11.Connection)
            raise _SteppedAside(self.connection, event)

    @property
    def head_begun(self) -> bool:
        return self.connection.their_state is h11.IDLE and bool(self.connection.trailing_data[0])


class _Tasks:
    """hypercorn's task group on a given nursery; an application that has ended no longer takes messages."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def spawn_app(
        self, app: Application, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        inbox, outbox = trio.open_memory_channel[Any](config.max_app_queue_size)

        async def run() -> None:
            with outbox:
                try:
                    await app(scope, outbox.receive, send)
                except Exception:
                    # The peer gets a 500 by the None below; the other connections go on.
                    log.exception("the application failed", path=scope.get("path"))
                await send(None)

        async def put(event: Any) -> None:
            try:
                await inbox.send(event)
            except trio.BrokenResourceError:
                return  # the application is done with this request; the rest of the body is for nobody

        self._nursery.start_soon(run)
        return put

    def spawn(self, func: Callable[..., Awaitable[Any]], *args: Any) -> None:
        self._nursery.start_soon(func, *args)


class Connection:
    """Serves one connection until either side ends it. `run()` is the whole of its life."""

    def __init__(
        self,
        stream: PartsStream,
        *,
        client: Peer,
        server: Peer,
        app: Application,
        config: Config,
        context: WorkerContext,
        is_bulk: Callable[[str, str], bool],
        serve_bulk: Serve,
    ) -> None:
        self._stream = stream
        self._client = client
        self._server = server
        self._app = app
        self._config = config
        self._context = context
        self._is_bulk = is_bulk
        self._serve_bulk = serve_bulk
        self._send_lock = trio.Lock()
        self._idle = True  # no request is in progress
        self._head_end = inf  # when the head that has begun must be complete
        self._reading: trio.CancelScope | None = None

    async def run(self) -> None:
        """Serve requests until the connection ends; never raises for what the peer does."""
        try:
            async with trio.open_nursery() as nursery:
                await self._serve(_Tasks(nursery))
                nursery.cancel_scope.cancel()
        finally:
            await self._close()

    def finish(self) -> None:
        """End the connection now when no request is in progress, else after the one that is."""
        if self._idle and self._reading is not None:
            self._reading.cancel()

    async def _serve(self, tasks: _Tasks) -> None:
        protocol = self._new_protocol(tasks)
        ahead = b""  # what a peer that does not wait for replies has sent behind a bulk request
        while True:
            data = ahead or await self._read(protocol)
            ahead = b""
            try:
                await protocol.handle(RawData(data))
            except _HeadTooLong:
                return
            except _SteppedAside as aside:
                exchange = Exchange(
                    self._stream,
                    aside.connection,
                    aside.request,
                    partial(self._config.response_headers, "h11"),
                )
                if not await self._exchange(exchange):
                    return
                ahead = exchange.rest
                self._idle = True
                protocol = self._new_protocol(tasks)
                continue
            if not data:
                break
        await protocol.handle(Closed())

    async def _exchange(self, exchange: Exchange) -> bool:
        try:
            try:
                await self._serve_bulk(exchange)
            except Exception as error:
                if isinstance(error, PeerGone):
                    raise
                # A bug in one route ends its connection, not the server.
                log.exception(
                    "a bulk route failed", method=exchange.method, path=exchange.target.partition("?")[0]
                )
                if not exchange.started:
                    await exchange.reply(500, [], b"")
                return False
        except PeerGone:
            return False
        if exchange.reusable:
            return True
        if exchange.unread:
            await self._finish_sending()
            await exchange.linger()
        return False

    async def _read(self, protocol: _Protocol) -> bytes:
        """The next bytes from the peer; none when it has ended, or when its time is over."""
        if self._context.terminated.is_set() and self._idle:
            return b""
        with trio.CancelScope(deadline=self._patience(protocol)) as self._reading:
            try:
                return bytes(await self._stream.receive_some(READ_SIZE))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return b""
        if protocol.head_begun and not self._context.terminated.is_set():
            await protocol._send_error_response(408)
        return b""

    def _patience(self, protocol: _Protocol) -> float:
        """Until when the next bytes are waited for."""
        now = trio.current_time()
        if not protocol.head_begun:
            self._head_end = inf
            if not isinstance(protocol.connection, h11.Connection):
                return inf  # a WebSocket has its own pings
            return now + (IDLE_TIMEOUT if self._idle else STALL)
        self._head_end = min(self._head_end, now + HEAD_TIMEOUT)
        return self._head_end

    def _new_protocol(self, tasks: _Tasks) -> _Protocol:
        protocol = _Protocol(
            self._app,
            self._config,
            self._context,
            tasks,
            ConnectionState({}),
            False,
            self._client,
            self._server,
            self._send,
        )
        protocol.is_bulk = self._is_bulk
        return protocol

    async def _send(self, event: Event) -> None:
        match event:
            case RawData(data=data):
                async with self._send_lock:
                    try:
                        with trio.fail_after(STALL):
                            await self._stream.send_all(data)
                    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                        await self._close()
            case Closed():
                await self._close()
            case Updated(idle=idle):
                self._idle = idle
                if idle and self._reading is not None:
                    # The reply went out while the next request was waited for already.
                    self._reading.deadline = trio.current_time() + IDLE_TIMEOUT

    async def _finish_sending(self) -> None:
        try:
            await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return

    async def _close(self) -> None:
        with trio.CancelScope(shield=True):
            await self._finish_sending()
            await trio.aclose_forcefully(self._stream)
