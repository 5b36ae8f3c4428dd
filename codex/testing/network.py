"""A network in memory: hosts with TCP streams and datagrams between them, on trio's clock and from one seed.

Time is trio's, so that on the mock clock days of traffic pass at once. Nothing here has a task of its own:
what is sent carries the moment of its arrival, and whoever receives waits for that moment.

What is modelled: latency, the bandwidth of each host's way out, windows that fill up, datagrams that are
lost, partitions (streams stall and go on when it heals; datagrams are gone), processes and machines that
crash. What is not: congestion, reordering, and streams that break by themselves after a long silence.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from itertools import count, cycle
from math import inf

import trio

from codex.codec import Multiaddr
from codex.errors import PeerUnreachable, PortTaken
from codex.runtime.clock import SeededEntropy
from codex.testing.wires import MemoryStream, Pipe

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
        self.open_streams: dict[MemoryStream, None] = {}
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
        return len(self.open_streams)

    @property
    def latency(self) -> float:
        """Seconds one way, to any other host."""
        return self.network.latency

    def reaches(self, target: str) -> bool:
        """Whether packets get from here to that host now."""
        return self.network.reaches(self.ip, target)

    def arrival(self, target: str, size: int) -> float:
        """The moment at which `size` bytes that are sent now arrive there, on trio's clock."""
        now = trio.current_time()
        if self.ip == target:
            return now
        bandwidth = self.network.bandwidth
        self._free_at = max(now, self._free_at) + (size / bandwidth if bandwidth else 0.0)
        return self._free_at + self.network.latency

    def _free_port(self, taken: Iterable[int]) -> int:
        """The next port that is free. There are more than any test holds at once."""
        return next(port for port in self._ports if port not in taken)

    def _end(self) -> None:
        for listener in tuple(self._listeners.values()):
            listener._close()
        for socket in tuple(self._sockets.values()):
            socket.close()
        self._forgotten += self.open_streams
        for stream in tuple(self.open_streams):
            stream.crash()

    def _reset_all(self) -> None:
        for stream in self._forgotten:
            stream.reset_other()
        self._forgotten.clear()

    def _wake(self) -> None:
        for stream in self.open_streams:
            stream.wake()


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
            near.close()
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
                stream.close()
            self._queue.clear()
            self._arrivals.unpark_all()


class MemorySocket:
    """A socket for datagrams; `address` is its host and its real port."""

    def __init__(self, host: Host, port: int) -> None:
        self.address = (host.ip, port)
        self._host = host
        self._queue: list[tuple[float, int, bytes, tuple[str, int]]] = []
        self._numbers = count()
        self._arrivals = trio.lowlevel.ParkingLot()
        self._alarm = trio.CancelScope()
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
        due = self._host.arrival(target, len(data))
        if network._loses() or not network.reaches(self._host.ip, target):
            return
        socket = network._hosts[target]._sockets.get(to[1])
        if socket is not None and len(socket._queue) < QUEUE:
            heapq.heappush(socket._queue, (due, next(socket._numbers), bytes(data), self.address))
            # Whoever receives sleeps until the first arrival; nobody is woken before.
            socket._alarm.deadline = socket._queue[0][0]

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram, and where it comes from. Raises trio.ClosedResourceError."""
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while True:
            if self._closed:
                raise trio.ClosedResourceError
            due = self._queue[0][0] if self._queue else inf
            if due <= trio.current_time():
                break
            with trio.CancelScope(deadline=due) as self._alarm:
                await self._arrivals.park()
            waited = True
        _, _, data, source = heapq.heappop(self._queue)
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data, source

    def close(self) -> None:
        """Free the port; a receive in progress raises trio.ClosedResourceError."""
        if not self._closed:
            self._closed = True
            self._host._sockets.pop(self.address[1], None)
            self._queue.clear()
            self._arrivals.unpark_all()


def _pair(near: Host, far: Host) -> tuple[MemoryStream, MemoryStream]:
    there, back = Pipe(near, far), Pipe(far, near)
    return MemoryStream(back, there), MemoryStream(there, back)


def _tcp(address: Multiaddr) -> tuple[str, int]:
    """The IP address and port of a plain TCP address. Raises PeerUnreachable for any other."""
    if address.protocols[:2] not in (("ip4", "tcp"), ("ip6", "tcp")):
        raise PeerUnreachable(f"{address} is not an address of TCP")
    return str(address.parts[0][1]), int(str(address.parts[1][1]))


def _address(ip: str, port: int) -> Multiaddr:
    return Multiaddr.of(("ip6" if ":" in ip else "ip4", ip), ("tcp", str(port)))
