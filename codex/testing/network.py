"""A network in memory: hosts with TCP streams and datagrams between them, on trio's clock and from one seed.

Time is trio's, so that on the mock clock days of traffic pass at once. Nothing here has a task of its own:
what is sent carries the moment of its arrival, and whoever receives waits for that moment.

What is modelled: latency, the bandwidth of each host's way out, windows that fill up, datagrams that are
lost, partitions (streams stall and go on when it heals; datagrams are gone), processes and machines that
crash. What is not: congestion, reordering, and streams that break by themselves after a long silence.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, cycle
from math import inf
from operator import index

import trio
from attrs import define, field

from codex.codec import Multiaddr
from codex.errors import PeerUnreachable, PortTaken
from codex.runtime.clock import SeededEntropy

WINDOW = 1 << 20
"""Bytes of one stream on their way or unread; then its sender waits."""
SEGMENT = 1 << 16
"""Bytes that travel as one; the grain of bandwidth."""
BACKLOG = 128
"""Connections that wait to be accepted; further dials wait."""
QUEUE = 1024
"""Datagrams that wait to be received; further ones are lost, as in a socket's buffer."""
MAX_DATAGRAM = 65507

_WILD = ("0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "::1")
_EPHEMERAL = range(49152, 65536)


class MemoryNetwork:
    """Hosts that reach each other.

    `latency` is seconds one way; `loss` the share of datagrams that get lost, 0 to 1; `bandwidth` bytes per
    second that each host can send, None for no bound. All may be changed at any time.
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        latency: float = 0.01,
        loss: float = 0.0,
        bandwidth: float | None = None,
    ) -> None:
        self.latency = latency
        self.loss = loss
        self.bandwidth = bandwidth
        self._entropy = SeededEntropy(f"{seed}/network")
        self._hosts: dict[str, Host] = {}
        self._groups: dict[str, int] = {}
        self._changed = trio.lowlevel.ParkingLot()

    def host(self, ip: str) -> "Host":
        """The host at that address, IPv4 or IPv6; one that is not there, or crashed silently, starts up."""
        host = self._hosts.get(ip)
        if host is None:
            host = self._hosts[ip] = Host(self, ip)
        if host.down:
            host.down = False
            host._reset_all()  # a machine that has just started knows no stream, and says so
            self._wake()
        return host

    def partition(self, *groups: Iterable[str]) -> None:
        """Let hosts reach only those of their own group. Those that are not named make one more group."""
        self._groups = {ip: number for number, group in enumerate(groups, 1) for ip in group}
        self._wake()

    def heal(self) -> None:
        """End every partition. Streams go on where they were."""
        self._groups = {}
        self._wake()

    def crash(self, ip: str, *, silent: bool = False) -> None:
        """End everything on a host at once, without a word from its owner.

        As when a process is killed: its peers are told by a reset, and dials are refused. With `silent` as
        when a machine loses power: nobody is told, and dials and streams to it stall until `host` starts it
        up again.
        """
        host = self._hosts[ip]
        host.down = silent
        host._end()
        if not silent:
            host._reset_all()
        self._wake()

    def reaches(self, source: str, target: str) -> bool:
        """Whether packets get from one host to the other now."""
        there = self._hosts.get(target)
        same = self._groups.get(source, 0) == self._groups.get(target, 0)
        return source == target or (same and there is not None and not there.down)

    def _arrival(self, source: "Host", target: str, size: int) -> float:
        """The moment at which `size` bytes that are sent now arrive, on trio's clock."""
        now = trio.current_time()
        if source.ip == target:
            return now
        source._free_at = max(now, source._free_at) + (size / self.bandwidth if self.bandwidth else 0.0)
        return source._free_at + self.latency

    def _loses(self) -> bool:
        """Whether the next datagram is lost."""
        return self.loss > 0 and int.from_bytes(self._entropy.token(4)) < self.loss * 2**32

    def _wake(self) -> None:
        self._changed.unpark_all()
        for host in self._hosts.values():
            host._wake()


class Host:
    """One machine of a network: its streams by `transport`, its datagrams by `bind`."""

    def __init__(self, network: MemoryNetwork, ip: str) -> None:
        self.network = network
        self.ip = ip
        self.down = False
        self.transport = MemoryTransport(self)
        self._free_at = 0.0
        self._ports = cycle(_EPHEMERAL)
        self._listeners: dict[int, MemoryListener] = {}
        self._sockets: dict[int, MemorySocket] = {}
        # Dicts for their order: the same run does the same things in the same order.
        self._streams: dict[MemoryStream, None] = {}
        self._forgotten: list[MemoryStream] = []

    def bind(self, port: int = 0) -> "MemorySocket":
        """A socket for datagrams; 0 takes any free port. Raises PortTaken."""
        if port in self._sockets:
            raise PortTaken(f"the UDP port {port} of {self.ip} is in use", remedy="Choose another port.")
        socket = MemorySocket(self, port or self._free_port(self._sockets))
        self._sockets[socket.address[1]] = socket
        return socket

    @property
    def streams(self) -> int:
        """How many streams are open here, those that nobody accepted yet included."""
        return len(self._streams)

    def _free_port(self, taken: Iterable[int]) -> int:
        """The next port that is free. There are more than any test holds at once."""
        return next(port for port in self._ports if port not in taken)

    def _end(self) -> None:
        for listener in tuple(self._listeners.values()):
            listener._close()
        for socket in tuple(self._sockets.values()):
            socket.close()
        self._forgotten += self._streams
        for stream in tuple(self._streams):
            stream._crash()

    def _reset_all(self) -> None:
        for stream in self._forgotten:
            stream._reset_other()
        self._forgotten.clear()

    def _wake(self) -> None:
        for stream in self._streams:
            stream._wake()


class MemoryTransport:
    """Streams of one host, in the form that the switch asks for."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def source_address(self, version: int) -> str | None:
        """The host's own address when it is of that version of IP (4 or 6)."""
        return self._host.ip if (":" in self._host.ip) == (version == 6) else None

    async def listen(self, address: Multiaddr) -> "MemoryListener":
        """Take connections at a port; 0 takes any free one. Raises PortTaken, PeerUnreachable."""
        await trio.lowlevel.checkpoint()
        ip, port = _tcp(address)
        if ip not in (*_WILD, *_LOOPBACK, self._host.ip):
            raise PortTaken(f"{self._host.ip} is not the host of {address}", remedy="Choose another address.")
        listeners = self._host._listeners
        if port in listeners:
            raise PortTaken(f"the port of {address} is in use", remedy="Choose another port.")
        port = port or self._host._free_port(listeners)
        listener = MemoryListener(self._host, port, _address(ip, port))
        listeners[port] = listener
        return listener

    async def dial(self, address: Multiaddr) -> "MemoryStream":
        """Open a stream. Waits for ever where nobody answers. Raises PeerUnreachable when it is refused."""
        host, network = self._host, self._host.network
        await trio.lowlevel.checkpoint()
        ip, port = _tcp(address)
        target = host.ip if ip in _LOOPBACK else ip
        while True:
            if network.reaches(host.ip, target):
                await trio.sleep(network.latency)
                if network.reaches(host.ip, target):
                    listener = network._hosts[target]._listeners.get(port)
                    if listener is None:
                        await trio.sleep(network.latency)
                        raise PeerUnreachable("the connection was refused")
                    if len(listener._queue) < BACKLOG:
                        break
            await network._changed.park()
        near, far = _pair(host, network._hosts[target])
        try:
            listener._put(far, _address(host.ip, host._free_port(())))
            await trio.sleep(network.latency)
        except BaseException:
            near._close()
            raise
        return near


class MemoryListener:
    """A port that takes connections; `address` has the real port."""

    def __init__(self, host: Host, port: int, address: Multiaddr) -> None:
        self.address = address
        self._host = host
        self._port = port
        self._queue: deque[tuple[MemoryStream, Multiaddr]] = deque()
        self._arrivals = trio.lowlevel.ParkingLot()
        self._closed = False

    async def accept(self) -> "tuple[MemoryStream, Multiaddr]":
        """The next connection, and where it comes from. Raises trio.ClosedResourceError."""
        await trio.lowlevel.checkpoint()
        while not self._queue or self._closed:
            if self._closed:
                raise trio.ClosedResourceError
            await self._arrivals.park()
        self._host.network._changed.unpark_all()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Take no more connections; those that nobody accepted are closed."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _put(self, stream: "MemoryStream", remote: Multiaddr) -> None:
        self._queue.append((stream, remote))
        self._arrivals.unpark()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._host._listeners.pop(self._port, None)
            for stream, _ in self._queue:
                stream._close()
            self._queue.clear()
            self._arrivals.unpark_all()


@define(eq=False)
class _Pipe:
    """One direction of a stream: what is on its way, with the moment of its arrival.

    `held` is bytes that were sent and not read. `reset_at` is when the reader learns that the writer is
    gone, `unread_at` when the writer learns that nobody reads; both on trio's clock.
    """

    source: Host
    target: Host
    segments: deque[tuple[float, bytes]] = field(factory=deque)
    held: int = 0
    ended: bool = False
    reset_at: float = inf
    unread_at: float = inf
    changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    @property
    def flows(self) -> bool:
        return self.source.network.reaches(self.source.ip, self.target.ip)

    def put(self, data: bytes) -> None:
        """Send a piece; an empty one is the end."""
        self.ended = not data
        due = self.source.network._arrival(self.source, self.target.ip, len(data))
        if self.segments:
            due = max(due, self.segments[-1][0])
        self.segments.append((due, data))
        self.held += len(data)
        self.changed.unpark_all()

    def take(self, limit: int) -> bytes:
        """The first piece, or its first `limit` bytes. The end stays."""
        due, data = self.segments.popleft()
        if not data or len(data) > limit:
            self.segments.appendleft((due, data[limit:]))
        taken = data[:limit]
        self.held -= len(taken)
        self.changed.unpark_all()
        return taken


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a stream; behaves as a `trio.SocketStream` does."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False
        self._crashed = False
        self._sending = False
        self._receiving = False
        self._host._streams[self] = None

    @property
    def _host(self) -> Host:
        return self._outgoing.source

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; waits while the window is full."""
        with self._sole_sender():
            await trio.lowlevel.checkpoint()
            self._check()
            pipe = self._outgoing
            if pipe.ended:
                raise trio.ClosedResourceError("the stream's end was sent")
            with memoryview(data) as view:
                sent = 0
                while sent < len(view):
                    await self._writable()
                    size = min(SEGMENT, WINDOW - pipe.held)
                    pipe.put(bytes(view[sent : sent + size]))
                    sent += size

    async def _writable(self) -> None:
        pipe = self._outgoing
        while True:
            self._check()
            gone_at = pipe.unread_at if pipe.flows else inf
            if gone_at <= trio.current_time():
                raise trio.BrokenResourceError("the other end is closed")
            if pipe.held < WINDOW:
                return
            with trio.move_on_at(gone_at):
                await pipe.changed.park()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the window has room."""
        with self._sole_sender():
            await trio.lowlevel.checkpoint()
            await self._writable()

    @contextmanager
    def _sole_sender(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most `max_bytes`; b"" at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            pipe = self._incoming
            while True:
                self._check()
                now = trio.current_time()
                due = pipe.segments[0][0] if pipe.segments and pipe.flows else inf
                gone_at = pipe.reset_at if pipe.flows else inf
                if gone_at <= now:
                    raise trio.BrokenResourceError("the other end is gone")
                if due <= now:
                    return pipe.take(SEGMENT if max_bytes is None else max_bytes)
                with trio.move_on_at(min(due, gone_at)):
                    await pipe.changed.park()
        finally:
            self._receiving = False

    async def send_eof(self) -> None:
        """Say that nothing more comes; what was sent still arrives before that."""
        with self._sole_sender():
            await trio.lowlevel.checkpoint()
            self._check()
            if not self._outgoing.ended:
                self._outgoing.put(b"")

    async def aclose(self) -> None:
        """Close both directions; what was sent still arrives."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if self._closed or self._crashed:
            return
        self._closed = True
        self._host._streams.pop(self, None)
        if not self._outgoing.ended:
            self._outgoing.put(b"")
        self._incoming.unread_at = trio.current_time() + self._host.network.latency
        self._wake()

    def _crash(self) -> None:
        self._crashed = True
        self._host._streams.pop(self, None)
        self._wake()

    def _reset_other(self) -> None:
        at = trio.current_time() + self._host.network.latency
        self._outgoing.reset_at = self._incoming.unread_at = at
        self._wake()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._crashed:
            raise trio.BrokenResourceError(f"the host {self._host.ip} has crashed")

    def _wake(self) -> None:
        self._incoming.changed.unpark_all()
        self._outgoing.changed.unpark_all()


class MemorySocket:
    """A socket for datagrams; `address` is its host and its real port."""

    def __init__(self, host: Host, port: int) -> None:
        self.address = (host.ip, port)
        self._host = host
        self._queue: list[tuple[float, int, bytes, tuple[str, int]]] = []
        self._numbers = count()
        self._arrivals = trio.lowlevel.ParkingLot()
        self._closed = False

    async def send(self, data: bytes, to: tuple[str, int]) -> None:
        """Send one datagram; whether it arrives nobody is told. Raises OSError for one too long, and
        trio.ClosedResourceError.
        """
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError
        if len(data) > MAX_DATAGRAM:
            raise OSError(f"a datagram has at most {MAX_DATAGRAM} bytes")
        network = self._host.network
        target = self._host.ip if to[0] in _LOOPBACK else to[0]
        due = network._arrival(self._host, target, len(data))
        if network._loses() or not network.reaches(self._host.ip, target):
            return
        socket = network._hosts[target]._sockets.get(to[1])
        if socket is not None and len(socket._queue) < QUEUE:
            heapq.heappush(socket._queue, (due, next(socket._numbers), bytes(data), self.address))
            socket._arrivals.unpark_all()

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram, and where it comes from. Raises trio.ClosedResourceError."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            due = self._queue[0][0] if self._queue else inf
            if due <= trio.current_time():
                _, _, data, source = heapq.heappop(self._queue)
                return data, source
            with trio.move_on_at(due):
                await self._arrivals.park()

    def close(self) -> None:
        """Free the port; a receive in progress raises trio.ClosedResourceError."""
        if not self._closed:
            self._closed = True
            self._host._sockets.pop(self.address[1], None)
            self._queue.clear()
            self._arrivals.unpark_all()


def _pair(near: Host, far: Host) -> tuple[MemoryStream, MemoryStream]:
    there, back = _Pipe(near, far), _Pipe(far, near)
    return MemoryStream(back, there), MemoryStream(there, back)


def _tcp(address: Multiaddr) -> tuple[str, int]:
    """The IP address and port of a plain TCP address. Raises PeerUnreachable for any other."""
    if address.protocols[:2] not in (("ip4", "tcp"), ("ip6", "tcp")):
        raise PeerUnreachable(f"{address} is not an address of TCP")
    return str(address.parts[0][1]), int(str(address.parts[1][1]))


def _address(ip: str, port: int) -> Multiaddr:
    return Multiaddr.of(("ip6" if ":" in ip else "ip4", ip), ("tcp", str(port)))
