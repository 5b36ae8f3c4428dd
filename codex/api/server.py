"""Listening: from an address in the configuration to connections being served, and to all of them ended.

The only file of the API that names sockets.
"""

import errno
import resource
import socket
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from ipaddress import ip_address

import trio
from attrs import frozen
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import parse_socket_addr

from codex.api.access import Access
from codex.api.app import make_app
from codex.api.bulk import BulkRoutes
from codex.api.connection import MAX_HEAD, Application, Connection
from codex.api.cors import Cors
from codex.api.rpc import Sockets
from codex.api.wire import Exchange
from codex.config import ApiConfig
from codex.errors import ConfigError, PortTaken
from codex.logs import get_logger
from codex.node import Node
from codex.runtime.stream import DirectStream

BACKLOG = 256  # connections the kernel keeps until they are accepted
MAX_CONNECTIONS = 1024  # served at once; more are turned away with 503
MAX_PER_PEER = 1000  # of them from one address, so that whoever takes all it can leaves others a way in
FILES = 256  # descriptors left to the rest of the node: a flood of connections must not keep it from its disk

AHEAD = 1 << 20
"""Bytes of a download that wait in the system for the reader, beyond what is on its way. trio leaves 16 KiB:
then every window that the reader opens costs a turn of the loop, and the next one is opened late."""

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

log = get_logger("api")


@frozen
class Address:
    """Where the API is reached."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The root of the API, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


async def listen(config: ApiConfig) -> tuple[list[trio.SocketListener], Address]:
    """Open the API's listeners.

    A port that was asked for and is taken raises PortTaken; the default one, when taken, gives way to a free
    one. Raises ConfigError for an address this machine does not have.
    """
    host = config.bind
    try:
        listeners = await _open(host, config.port)
    except PortTaken:
        if config.port_explicit:
            raise
        listeners = await _open(host, 0)
        log.warning("the default port is taken, a free one is used", taken=config.port)
    port = listeners[0].socket.getsockname()[1]
    for other in listeners[1:]:
        if other.socket.getsockname()[1] != port:
            # A name with several addresses, and any free port: each got another one, and one can be told.
            other.socket.close()
    return [one for one in listeners if one.socket.fileno() >= 0], Address(host, port)


async def _open(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except socket.gaierror as error:
        raise ConfigError(
            f"'{host}' is not an address to listen on: {error.strerror}",
            remedy="use --api-bindaddr=127.0.0.1",
        ) from error
    except OSError as error:
        # trio wraps the errors of several addresses; the first one tells.
        inner = error if error.errno is not None else error.__cause__
        number = inner.errno if isinstance(inner, OSError) else None
        if number == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} on {host} is in use",
                remedy="stop what listens there, or choose another with --api-port",
            ) from error
        if number == errno.EACCES:
            raise ConfigError(
                f"port {port} may not be opened by this user",
                remedy="choose a port above 1023 with --api-port",
            ) from error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error}", remedy="use an address of this machine, or 127.0.0.1"
        ) from error


def is_local(listeners: Iterable[trio.SocketListener]) -> bool:
    """Whether only programs on this machine can connect."""
    return all(
        ip_address(listener.socket.getsockname()[0].partition("%")[0]).is_loopback for listener in listeners
    )


def connection_room() -> int:
    """How many connections may be open at once, where the system has a limit on open files.

    The soft limit is raised first as far as is of use and the hard one lets it.
    """
    wanted = MAX_CONNECTIONS + FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else soft - FILES
    return max(1, min(MAX_CONNECTIONS, room))


class Server:
    """Serves a node's API on listeners that are already open."""

    def __init__(self, node: Node, config: ApiConfig, access: Access) -> None:
        cors = Cors(config.cors_origin, guarded=access.guarded)
        self._sockets = Sockets(node)
        self._app = make_app(node, cors, access, self._sockets)
        self._bulk = BulkRoutes(node, cors, access)
        self._hypercorn = HypercornConfig()
        self._hypercorn.accesslog = None
        self._hypercorn.errorlog = None
        self._hypercorn.include_server_header = False
        self._hypercorn.h11_max_incomplete_size = MAX_HEAD
        self._hypercorn.keep_alive_max_requests = 1 << 31
        self._context = WorkerContext(None)
        self._open: set[Connection] = set()
        self._peers: Counter[str] = Counter()
        self._room = connection_room()

    async def serve(self, listeners: list[trio.SocketListener], stopping: trio.Event, grace: float) -> None:
        """Serve until `stopping`; then accept nothing more, and cut what still runs after `grace` seconds."""
        async with trio.open_nursery() as telling:
            telling.start_soon(self._sockets.run)
            await self._serve(listeners, stopping, grace)
            telling.cancel_scope.cancel()

    async def _serve(self, listeners: list[trio.SocketListener], stopping: trio.Event, grace: float) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, self._handle, listeners, handler_nursery=connections)
                )
                await stopping.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            self._sockets.stop()
            for connection in self._open:
                connection.finish()
            connections.cancel_scope.deadline = trio.current_time() + grace

    async def _handle(self, stream: trio.SocketStream) -> None:
        sock = stream.socket
        client = parse_socket_addr(sock.family, _peer(sock))
        host = client[0] if client else ""
        if len(self._open) >= self._room or self._peers[host] >= MAX_PER_PEER:
            await self._turn_away(stream)
            return
        connection = Connection(
            DirectStream(stream),
            client=client,
            server=parse_socket_addr(sock.family, sock.getsockname()),
            app=self._application,
            config=self._hypercorn,
            context=self._context,
            is_bulk=self._bulk.matches,
            serve_bulk=partial(self._serve_bulk, stream),
        )
        self._open.add(connection)
        self._peers[host] += 1
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            self._peers[host] -= 1
            if not self._peers[host]:
                del self._peers[host]

    async def _serve_bulk(self, stream: trio.SocketStream, exchange: Exchange) -> None:
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not everywhere
            with suppress(OSError):  # a connection that has broken meanwhile is found so by the exchange
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, AHEAD)
        await self._bulk.serve(exchange)

    async def _turn_away(self, stream: trio.SocketStream) -> None:
        try:
            with trio.move_on_after(1):
                await stream.send_all(_BUSY)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a connection that was turned away had gone already")
        finally:
            await trio.aclose_forcefully(stream)

    @property
    def _application(self) -> Application:
        return self._app


def _peer(sock: trio.socket.SocketType) -> tuple[object, ...]:
    """The other end's address; a peer that has gone already has none."""
    try:
        name: tuple[object, ...] = sock.getpeername()
    except OSError:
        return ("", 0)
    return name
