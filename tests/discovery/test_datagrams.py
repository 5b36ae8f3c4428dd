"""UDP sockets: what is sent arrives, a taken port is said, and nothing that a network does ends a socket."""

import errno
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from codex.discovery.datagrams import DatagramSocket, UdpSocket, open_udp
from codex.errors import ConfigError, PortTaken

LOOPBACK = "127.0.0.1"


@pytest.fixture
async def alice() -> AsyncIterator[UdpSocket]:
    opened = open_udp(0, LOOPBACK)
    yield opened
    opened.close()


@pytest.fixture
async def bob() -> AsyncIterator[UdpSocket]:
    opened = open_udp(0, LOOPBACK)
    yield opened
    opened.close()


async def test_datagrams_arrive_with_their_source(alice: DatagramSocket, bob: DatagramSocket) -> None:
    assert alice.address[0] == LOOPBACK
    assert alice.address[1] != bob.address[1] != 0
    for data in (b"hello", b"", bytes(60_000)):
        await alice.send(data, bob.address)
        with trio.fail_after(5):
            assert await bob.receive() == (data, alice.address)


async def test_a_taken_port_is_said(alice: UdpSocket) -> None:
    port = alice.address[1]
    with pytest.raises(PortTaken, match=f"UDP port {port} of {LOOPBACK} is in use") as raised:
        open_udp(port, LOOPBACK)
    assert "--disc-port" in raised.value.remedy
    alice.close()
    open_udp(port, LOOPBACK).close()


async def test_an_address_of_another_machine_cannot_be_opened() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 cannot be opened"):
        open_udp(0, "192.0.2.1")


async def test_all_addresses_are_the_default() -> None:
    opened = open_udp(0)
    assert opened.address[0] == "0.0.0.0"
    opened.close()


async def test_a_port_with_nobody_behind_it_ends_nothing(alice: UdpSocket, bob: UdpSocket) -> None:
    nobody = bob.address
    bob.close()
    for _ in range(3):
        await alice.send(b"anyone?", nobody)
    await alice.send(b"me", alice.address)
    with trio.fail_after(5):
        assert await alice.receive() == (b"me", alice.address)


@pytest.mark.parametrize("to", [("127.0.0.1", 0), ("255.255.255.255", 9), ("no address at all", 9)])
async def test_what_cannot_be_sent_is_lost(alice: UdpSocket, to: tuple[str, int]) -> None:
    await alice.send(b"hello", to)
    await alice.send(bytes(70_000), alice.address)
    assert alice.lost == 2
    await alice.send(b"me", alice.address)
    with trio.fail_after(5):
        assert await alice.receive() == (b"me", alice.address)


class Troubled:
    """A socket of the kind that some systems have, where news of lost datagrams come up when receiving."""

    def __init__(self, troubles: Iterator[OSError | bytes]) -> None:
        self._troubles = troubles

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.1", 8090)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[str, int]]:
        match next(self._troubles):
            case OSError() as error:
                raise error
            case bytes(data):
                return data[:size], ("192.0.2.2", 8090)

    def fileno(self) -> int:
        return 3


async def test_news_of_lost_datagrams_end_nothing(autojump_clock: trio.abc.Clock) -> None:
    refused = OSError(errno.ECONNREFUSED, "Connection refused")
    troubled = UdpSocket(Troubled(iter([refused, refused, b"hello"])))
    assert await troubled.receive() == (b"hello", ("192.0.2.2", 8090))
    assert trio.current_time() < 0.1


async def test_a_network_that_is_down_is_not_asked_all_the_time(autojump_clock: trio.abc.Clock) -> None:
    down = OSError(errno.ENETDOWN, "Network is down")
    troubled = UdpSocket(Troubled(iter([down] * 100 + [b"hello"])))
    assert await troubled.receive() == (b"hello", ("192.0.2.2", 8090))
    assert 60 < trio.current_time() < 100


async def test_what_is_here_is_received_whatever_others_do(alice: UdpSocket, bob: UdpSocket) -> None:
    """One after the other without a turn of the loop in between, which may take long; but not for ever."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    for number in range(60):
        await alice.send(number.to_bytes(100), bob.address)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        with trio.fail_after(5):
            got = [int.from_bytes((await bob.receive())[0]) for _ in range(60)]
        nursery.cancel_scope.cancel()
    assert got == list(range(60))
    assert 1 <= turns <= 5


async def test_closing_ends_a_receive(alice: UdpSocket) -> None:
    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await alice.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        alice.close()
    for call in (alice.receive(), alice.send(b"hello", (LOOPBACK, 9))):
        with pytest.raises(trio.ClosedResourceError):
            await call
    alice.close()


def has_version_six() -> bool:
    """Whether this machine speaks it with itself."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_version_six_of_ip() -> None:
    if not has_version_six():
        with pytest.raises(ConfigError, match="::1 cannot be opened"):
            open_udp(0, "::1")
        return
    opened = open_udp(0, "::1")
    await opened.send(b"hello", opened.address)
    with trio.fail_after(5):
        assert await opened.receive() == (b"hello", ("::1", opened.address[1]))
    opened.close()
