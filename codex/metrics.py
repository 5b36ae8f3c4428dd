"""The metrics page: Prometheus text at /metrics on a port of its own, gathered anew for each request.

Knows no other part of the node: whoever has figures gives them as a *source*. A source that does not answer,
because its part is down or busy, is left out, and the page says so: a part in trouble is when the other
figures are wanted most. A source that raises what is no answer is a bug and ends the service.
"""

import errno
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Protocol

import h11
import trio
from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.process_collector import ProcessCollector

from codex.errors import CodexError, ConfigError, PortTaken

PATH = b"/metrics"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SOURCE_LIMIT = 2.0  # seconds for one source; Prometheus waits ten for the page
IDLE_LIMIT = 120.0  # seconds for the next whole request; longer than the usual pause between two scrapes
SEND_LIMIT = 10.0  # seconds for the page to leave
MAX_HEAD = 8192  # bytes
MAX_CONNECTIONS = 32  # more than that are no scrapers

Source = Callable[[], Awaitable[Iterable[Metric]]]
"""Gives families of figures as they are now. May raise CodexError when they are not to be had."""

_Headers = Sequence[tuple[str, str]]


class Stoppable(Protocol):
    """What the service needs of its inbox: nobody asks it anything."""

    @property
    def stopping(self) -> trio.Event:
        """Set when the service should finish."""


async def render(sources: Mapping[str, Source]) -> bytes:
    """The page: what the sources give, whether each did, and the process's memory, time and descriptors."""
    answered = GaugeMetricFamily(
        "codex_metrics_source_up",
        "1 when the figures of this source are on the page, else 0.",
        labels=["source"],
    )
    families: list[Metric] = [answered]
    for name, source in sources.items():
        found = await _ask(source)
        answered.add_metric([name], int(found is not None))
        families += found or ()
    # A registry of its own for each page: the library's global one belongs to whoever embeds the node.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Gathered(families))
    return generate_latest(registry)


async def _ask(source: Source) -> list[Metric] | None:
    with trio.move_on_after(SOURCE_LIMIT):
        try:
            return list(await source())
        except CodexError:
            return None
    return None


class _Gathered:
    """Families as the registry wants them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


class MetricsService:
    """Serves the page on `host` and `port` (0 takes any free one); `on_listening` is told where.

    Run by a supervisor.
    """

    def __init__(
        self, host: str, port: int, sources: Mapping[str, Source], on_listening: Callable[[str, int], None]
    ) -> None:
        self._host = host
        self._port = port
        self._sources = sources
        self._on_listening = on_listening
        self._open = 0

    async def run(self, inbox: Stoppable, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen, and serve until told to stop. Raises PortTaken, ConfigError."""
        listeners = await _listen(self._host, self._port)
        try:
            self._on_listening(self._host, listeners[0].socket.getsockname()[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(trio.serve_listeners, self._connection, listeners))
                task_status.started()
                await inbox.stopping.wait()
                nursery.cancel_scope.cancel()
        finally:
            for listener in listeners:
                listener.socket.close()

    async def _connection(self, stream: trio.SocketStream) -> None:
        """Answer the requests of one connection, until either side ends it."""
        self._open += 1
        try:
            async with stream:
                if self._open > MAX_CONNECTIONS:
                    return
                connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
                while await self._exchange(stream, connection):
                    connection.start_next_cycle()
        except (trio.BrokenResourceError, trio.TooSlowError):
            return  # gone, or as good as gone: there is nobody to tell
        finally:
            self._open -= 1

    async def _exchange(self, stream: trio.SocketStream, connection: h11.Connection) -> bool:
        """Answer one request; whether another may follow."""
        try:
            with trio.fail_after(IDLE_LIMIT):
                request = await _receive(stream, connection)
        except h11.RemoteProtocolError as error:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                closing = [("Connection", "close"), ("Content-Length", "0")]
                await _send(stream, connection, error.error_status_hint, closing, b"")
            return False
        if request is None:
            return False
        status, headers, body = await self._answer(request)
        sized = [*headers, ("Content-Length", str(len(body)))]
        await _send(stream, connection, status, sized, b"" if request.method == b"HEAD" else body)
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    async def _answer(self, request: h11.Request) -> tuple[int, _Headers, bytes]:
        if request.target.partition(b"?")[0] != PATH:
            return 404, [("Content-Type", "text/plain")], b"The metrics are at /metrics.\n"
        if request.method not in (b"GET", b"HEAD"):
            return 405, [("Allow", "GET, HEAD")], b""
        return 200, [("Content-Type", MEDIA_TYPE)], await render(self._sources)


async def _receive(stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
    """The next request, read to the end of its body; None when there is none."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(MAX_HEAD)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


async def _send(
    stream: trio.SocketStream, connection: h11.Connection, status: int, headers: _Headers, body: bytes
) -> None:
    reason = HTTPStatus(status).phrase
    parts = [connection.send(h11.Response(status_code=status, headers=list(headers), reason=reason))]
    if body:
        parts.append(connection.send(h11.Data(data=body)))
    parts.append(connection.send(h11.EndOfMessage()))
    with trio.fail_after(SEND_LIMIT):
        await stream.send_all(b"".join(part or b"" for part in parts))


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is in use",
                remedy="stop what listens there, or choose another with --metrics-port",
            ) from error
        raise ConfigError(
            f"the metrics cannot be served on {host}:{port}: {error.strerror or error}",
            remedy="name an address of this machine with --metrics-address, and a port above 1023",
        ) from error
