"""Datagrams: the form in which discovery asks for them, and UDP.

A datagram arrives whole or not at all, and nobody is told which. So whatever the network refuses on the way
out counts as lost on the way, and whatever is told about datagrams sent before (a port with nobody behind it)
is not news.
"""

import errno
import socket
from typing import Protocol

import trio

from codex.discovery.sessions import Address
from codex.errors import CodexError, ConfigError, PortTaken

MAX_DATAGRAM = 65535
TURN = 16384
"""Bytes of datagrams that are received before others have their turn: a datagram each turn would leave most
of them lying where other tasks have much to do …"""
_EACH = 512
"""… and what each counts besides."""
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 1.0


class DatagramSocket(Protocol):
    """A port that datagrams are sent from and received at."""

    @property
    def address(self) -> Address:
        """Where it is bound: an IP address of this machine, or the one that means all, and the real port."""
        ...

    async def send(self, data: bytes, to: Address) -> None:
        """Hand over one datagram. Raises trio.ClosedResourceError."""
        ...

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram, and where it comes from. Raises trio.ClosedResourceError."""
        ...

    def close(self) -> None:
        """Free the port; a receive in progress raises trio.ClosedResourceError."""
        ...


def open_udp(port: int, ip: str = "0.0.0.0") -> "UdpSocket":
    """A UDP socket at `ip`; port 0 takes any free one. Raises PortTaken, and ConfigError when this machine
    does not let it be.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        plain = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise refusal(ip, port, error) from error
    try:
        plain.setblocking(False)
        plain.bind((ip, port))
        return UdpSocket(plain)
    except OSError as error:
        plain.close()
        raise refusal(ip, port, error) from error


def refusal(ip: str, port: int, error: OSError) -> CodexError:
    """What it means that a UDP port was not to be had."""
    where = f"UDP port {port} of {ip}"
    if error.errno == errno.EADDRINUSE:
        return PortTaken(f"the {where} is in use", remedy="Choose another one with --disc-port.")
    return ConfigError(
        f"the {where} cannot be opened: {error.strerror or error}",
        remedy="Choose a port of this machine that its user may open.",
    )


class UdpSocket:
    """A UDP socket; it takes ownership of a bound one that does not block. `lost` counts what was refused on
    the way out.
    """

    def __init__(self, bound: socket.socket) -> None:
        self._socket = bound
        self.address: Address = bound.getsockname()[:2]
        self.lost = 0
        self._taken = 0  # bytes since others had their turn

    async def send(self, data: bytes, to: Address) -> None:
        """Hand over one datagram; waits only where the system takes none for now. Raises
        trio.ClosedResourceError.
        """
        while True:
            try:
                self._socket.sendto(data, to)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)
                continue
            except OSError:
                self.check_open()
                self.lost += 1
            return

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram, and where it comes from. Of those that are here, `TURN` bytes come without a
        wait. Raises trio.ClosedResourceError.
        """
        if self._taken >= TURN:
            self._taken = 0
            await trio.lowlevel.checkpoint()
        pause = _FIRST_PAUSE
        while True:
            try:
                data, source = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                self._taken = 0
                await trio.lowlevel.wait_readable(self._socket)
            except OSError:
                self.check_open()
                # Told once about each datagram that came back, or again and again while a network is down.
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._taken += len(data) + _EACH
                return data, source[:2]

    def close(self) -> None:
        """Free the port; a receive in progress raises trio.ClosedResourceError."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def check_open(self) -> None:
        """Raise trio.ClosedResourceError if the socket is closed; any other trouble is that of a network."""
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError
