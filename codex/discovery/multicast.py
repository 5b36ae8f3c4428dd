"""The UDP socket of multicast DNS: one port for all programs of a machine, on all its networks; on the one
with itself where it has no other.

It is bound to the address of the group, not to the machine's own: only what was sent to everybody on a
network arrives, and nothing from further away. IPv4 only; the addresses told over it may be of any kind.
"""

import socket
import struct
from contextlib import suppress

import trio

from codex.discovery.datagrams import UdpSocket, refusal
from codex.discovery.sessions import Address

GROUP = "224.0.0.251"
PORT = 5353
_HOPS = 255
"""As multicast DNS says; routers do not pass the group on."""
_LOOPBACK = "127."
_ITSELF = "127.0.0.1"
_ANY = "0.0.0.0"


def open_multicast(group: str = GROUP, port: int = PORT) -> "MulticastSocket":
    """The socket of the group. Other programs may have one too. Raises PortTaken when one of them does not
    share, and ConfigError when this machine does not let it be.
    """
    try:
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        raise refusal(group, port, error) from error
    try:
        plain.setblocking(False)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        plain.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
        # Several nodes of one machine are neighbours too.
        plain.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        plain.bind((group, port))
        return MulticastSocket(plain)
    except OSError as error:
        plain.close()
        raise refusal(group, port, error) from error


class MulticastSocket:
    """A member of a group on every network that the machine is in; it takes ownership of a bound socket."""

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self._udp = UdpSocket(bound)
        self._networks: dict[str, int] = {}
        # Which network a datagram goes to is a setting of the socket.
        self._sending = trio.Lock()

    @property
    def group(self) -> Address:
        """Where everything is sent."""
        return self._udp.address

    def hosts(self) -> tuple[str, ...]:
        """The machine's own IPv4 address on each of its networks, as they are now; the group is joined on
        those that are new. A machine that is in no network has one with itself. Where no file is left to look
        with, they are taken to be those of the last look.
        """
        with suppress(OSError):
            indices = [index for index, _ in socket.if_nameindex()]
            # The machine's network with itself comes first, and has the address of one that follows or none.
            found = {self._own_address(index): index for index in indices}
            if not any(found):
                found = {self._own_address(index, _ITSELF): index for index in indices}
            self._networks = {host: index for host, index in found.items() if host is not None}
        for index in self._networks.values():
            self._join(index)
        return tuple(self._networks)

    async def send(self, data: bytes) -> None:
        """Send one datagram to the group on every network that `hosts` found. What is refused is lost. Raises
        trio.ClosedResourceError.
        """
        async with self._sending:
            for host, index in tuple(self._networks.items()):
                try:
                    self._socket.setsockopt(
                        socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _interface(index, host)
                    )
                except OSError:
                    self._udp.check_open()
                    continue  # the network went away; `hosts` will tell
                await self._udp.send(data, self._udp.address)

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram to the group, and where it comes from. Raises trio.ClosedResourceError."""
        return await self._udp.receive()

    def close(self) -> None:
        """Leave the group; a receive in progress raises trio.ClosedResourceError."""
        self._udp.close()

    def _join(self, index: int) -> None:
        membership = socket.inet_aton(self.group[0]) + _interface(index)[4:]
        # Refused where the group is joined already, and where the network has just gone away.
        with suppress(OSError):
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)

    def _own_address(self, index: int, wanted: str = _ANY) -> str | None:
        """The address that the machine has on a network interface; None when it cannot send to a group there,
        or only to itself, or, where one is `wanted`, not from that one. Raises OSError when there is no file
        to look with.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _interface(index, wanted))
                # Nothing is sent by this; it only chooses the address to send from.
                probe.connect(self.group)
                host = str(probe.getsockname()[0])
            except OSError:
                return None
        if wanted != _ANY:
            return host if host == wanted else None
        return None if host.startswith(_LOOPBACK) or host == _ANY else host


def _interface(index: int, host: str = _ANY) -> bytes:
    """An interface by its number, and which of its addresses to send from, as the system wants it: behind a
    group that does not matter here.
    """
    return struct.pack("=4s4si", bytes(4), socket.inet_aton(host), index)
