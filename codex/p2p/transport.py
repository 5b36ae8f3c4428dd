"""How bytes get to another machine: the form in which the switch asks for it, and TCP.

A transport makes plain byte streams. Who is at the other end, and that nobody listens in, is for what runs
over them.
"""

import errno
import socket
from contextlib import suppress
from typing import Protocol

import trio

from codex.codec import Multiaddr
from codex.errors import CodexError, ConfigError, PeerUnreachable, PortTaken
from codex.p2p.addresses import Endpoint, endpoint
from codex.runtime.stream import DirectStream

BACKLOG = 512
"""Connections that the system holds for us until they are accepted; it may hold fewer."""
AHEAD = 64 * 1024
"""Bytes that wait in the system for the peer, beyond what is on its way: those of the least batch. With the
16 KiB that trio leaves, a fast peer takes a turn of the loop for every 70 KiB; more would only make what is
urgent wait, and leave the processor's cache."""
_PER_NAME = 4
"""Addresses of one name that are tried."""

# Addresses kept for documentation: routes to them are those to the rest of the world, and nobody is there.
_FAR_AWAY = {4: "192.0.2.1", 6: "2001:db8::1"}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}

_WORDS = {
    errno.ECONNREFUSED: "the connection was refused",
    errno.ETIMEDOUT: "nothing answered",
    errno.ECONNRESET: "the connection was reset",
    errno.ENETUNREACH: "this machine has no way there",
    errno.EHOSTUNREACH: "this machine has no way there",
    errno.EADDRNOTAVAIL: "this machine has no address or port left to call from",
    errno.EMFILE: "this node has as many files and connections open as it may",
    errno.ENFILE: "this machine has as many files and connections open as it may",
}


class Listener(Protocol):
    """A port that takes connections."""

    @property
    def address(self) -> Multiaddr:
        """Where, with the real port."""
        ...

    async def accept(self) -> tuple[trio.abc.Stream, Multiaddr]:
        """The next connection, and where it comes from.

        Raises OSError when this one failed, or none can be had at present: the next call may do better; and
        trio.ClosedResourceError when the listener is closed.
        """
        ...

    async def aclose(self) -> None:
        """Free the port."""
        ...


class Transport(Protocol):
    """What makes byte streams to other machines, and takes them."""

    def source_address(self, version: int) -> str | None:
        """The IP address, of version 4 or 6, that this machine shows on its default route; None when it has
        none.
        """
        ...

    async def listen(self, address: Multiaddr) -> Listener:
        """Take connections at an address; port 0 is any free one. Raises PortTaken, ConfigError."""
        ...

    async def dial(self, address: Multiaddr) -> trio.abc.Stream:
        """Open a stream. The caller bounds the time. Raises PeerUnreachable, which says why and not where."""
        ...


class TcpTransport:
    """TCP over IPv4 and IPv6, by address or by name."""

    def source_address(self, version: int) -> str | None:
        try:
            with socket.socket(_FAMILIES[version], socket.SOCK_DGRAM) as probe:
                # This only looks the route up; no packet is sent.
                probe.connect((_FAR_AWAY[version], 9))
                return str(probe.getsockname()[0])
        except OSError:
            return None

    async def listen(self, address: Multiaddr) -> "TcpListener":
        target = endpoint(address)
        if target is None or target.named:
            raise ConfigError(
                f"{address} is no address to listen on",
                remedy="Give --listen-addrs an address as /ip4/0.0.0.0/tcp/8070.",
            )
        try:
            bound = trio.socket.socket(_FAMILIES[target.version], socket.SOCK_STREAM)
        except OSError as error:
            raise _listen_refusal(address, error) from error
        try:
            # Connections of an earlier node on this port may linger in the system for a minute.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if target.version == 6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            await bound.bind((target.host, target.port))
            bound.listen(BACKLOG)
        except OSError as error:
            bound.close()
            raise _listen_refusal(address, error) from error
        return TcpListener(bound)

    async def dial(self, address: Multiaddr) -> DirectStream:
        target = endpoint(address)
        if target is None:
            raise PeerUnreachable("it is no address of TCP")
        failure = "the name has no address"
        for family, name in await _resolve(target):
            try:
                return await _connect(family, name)
            except OSError as error:
                failure = _words(error)
        raise PeerUnreachable(failure)


class TcpListener:
    """A bound socket that takes connections; `address` has the real port."""

    def __init__(self, bound: trio.socket.SocketType) -> None:
        self._socket = bound
        self.address = _address(bound.getsockname())

    async def accept(self) -> tuple[DirectStream, Multiaddr]:
        accepted, name = await self._socket.accept()
        try:
            return _stream(accepted), _address(name)
        except BaseException:
            accepted.close()
            raise

    async def aclose(self) -> None:
        self._socket.close()
        await trio.lowlevel.checkpoint()


async def _resolve(target: Endpoint) -> list[tuple[int, tuple[str, int]]]:
    """The families and socket names of an endpoint; for an IP address there is one."""
    if target.named:
        try:
            found = await trio.socket.getaddrinfo(
                target.host, target.port, _FAMILIES[target.version], socket.SOCK_STREAM
            )
        except (socket.gaierror, UnicodeError):
            raise PeerUnreachable(f"the name {target.host} is unknown") from None
        except OSError as error:
            raise PeerUnreachable(_words(error)) from error
        return [(family, (str(name[0]), target.port)) for family, _, _, _, name in found[:_PER_NAME]]
    return [(_FAMILIES[target.version], (target.host, target.port))]


async def _connect(family: int, name: tuple[str, int]) -> DirectStream:
    plain = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await plain.connect(name)
        return _stream(plain)
    except BaseException:
        plain.close()
        raise


def _stream(connected: trio.socket.SocketType) -> DirectStream:
    stream = trio.SocketStream(connected)  # which sends small packets at once (TCP_NODELAY)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not everywhere
        with suppress(OSError):  # a connection that has broken already is found so by whoever uses it
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, AHEAD)
    return DirectStream(stream)


def _address(name: tuple[str, int]) -> Multiaddr:
    """The address of a socket name. A zone (`%eth0`) means something on this machine only: it is left out."""
    ip = name[0].partition("%")[0]
    return Multiaddr.of(("ip6" if ":" in ip else "ip4", ip), ("tcp", str(name[1])))


def _words(error: OSError) -> str:
    return _WORDS.get(error.errno or 0) or error.strerror or str(error)


def _listen_refusal(address: Multiaddr, error: OSError) -> CodexError:
    port = address.get("tcp")
    if error.errno == errno.EADDRINUSE:
        return PortTaken(
            f"another program listens on TCP port {port} ({address})",
            remedy="Stop it, or give --listen-addrs another port; port 0 takes any free one.",
        )
    if error.errno == errno.EACCES:
        why = f"this user may not listen on port {port}"
    elif error.errno == errno.EADDRNOTAVAIL:
        why = "this machine has no such address"
    else:
        why = error.strerror or str(error)
    return ConfigError(
        f"cannot listen on {address}: {why}",
        remedy="Give --listen-addrs an address of this machine, or /ip4/0.0.0.0/tcp/PORT for all.",
    )
