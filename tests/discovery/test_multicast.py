"""The socket of multicast DNS: shared by the programs of a machine, on the networks that it is in."""

import resource
import socket
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from codex.discovery import multicast
from codex.discovery.multicast import GROUP, MulticastSocket, open_multicast
from codex.errors import ConfigError, PortTaken


@pytest.fixture
async def alice() -> AsyncIterator[MulticastSocket]:
    # Any free port, so that nothing else on the network hears or says something.
    opened = open_multicast(port=0)
    yield opened
    opened.close()


@pytest.fixture
async def bob(alice: MulticastSocket) -> AsyncIterator[MulticastSocket]:
    opened = open_multicast(port=alice.group[1])
    yield opened
    opened.close()


async def test_programs_of_one_machine_hear_each_other_and_themselves(
    alice: MulticastSocket, bob: MulticastSocket
) -> None:
    assert alice.group == bob.group
    assert alice.group[0] == GROUP
    hosts = alice.hosts()
    assert hosts == bob.hosts() == alice.hosts()
    for n in range(3):
        await alice.send(b"%d" % n)
    for member in (alice, bob):
        for n in range(3 * len(hosts)):
            with trio.fail_after(5):
                data, source = await member.receive()
            assert data == b"%d" % (n // len(hosts))
            assert source[0] in hosts
            assert source[1] == alice.group[1]


async def test_what_is_sent_to_the_machine_alone_is_not_heard(alice: MulticastSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for host in ("127.0.0.1", *alice.hosts()):
            stranger.sendto(b"psst", (host, alice.group[1]))
    with trio.move_on_after(0.1) as waited:
        await alice.receive()
    assert waited.cancelled_caught


async def test_without_a_network_nothing_is_sent_and_nothing_breaks(
    alice: MulticastSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "if_nameindex", list)
    assert alice.hosts() == ()
    await alice.send(b"hello")
    with trio.move_on_after(0.1) as waited:
        await alice.receive()
    assert waited.cancelled_caught


async def test_a_network_that_goes_away_ends_nothing(
    alice: MulticastSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = alice.hosts()
    gone = 2**31 - 1
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(gone, "gone")])
    assert alice.hosts() == ()
    # Gone between the look and the sending.
    alice._networks["192.0.2.1"] = gone
    await alice.send(b"hello")
    monkeypatch.undo()
    assert alice.hosts() == hosts


async def test_without_a_file_to_look_with_the_networks_are_those_of_before(
    alice: MulticastSocket, bob: MulticastSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts, networks = alice.hosts(), socket.if_nameindex()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert bob.hosts() == ()
        assert alice.hosts() == hosts
        # The list of networks is had through a file, too.
        monkeypatch.setattr(socket, "if_nameindex", lambda: networks)
        assert alice.hosts() == hosts
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert bob.hosts() == hosts


async def test_the_machine_itself_is_a_network_where_there_is_no_other(
    alice: MulticastSocket, bob: MulticastSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = alice.hosts()
    assert before
    monkeypatch.setattr(multicast, "_LOOPBACK", "")  # as if all that there is led back to the machine
    assert alice.hosts() == bob.hosts() == ("127.0.0.1",)
    await alice.send(b"anybody?")
    for member in (alice, bob):
        with trio.fail_after(5):
            assert await member.receive() == (b"anybody?", ("127.0.0.1", alice.group[1]))
    monkeypatch.undo()
    # Once there is a network, it counts alone.
    assert alice.hosts() == before


async def test_a_port_that_is_not_shared(alice: MulticastSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as selfish:
        selfish.bind((GROUP, 0))
        with pytest.raises(PortTaken, match="is in use"):
            open_multicast(port=selfish.getsockname()[1])


async def test_a_group_that_is_none() -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_multicast(group="192.0.2.99")


async def test_closing(alice: MulticastSocket) -> None:
    alice.hosts()

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await alice.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        alice.close()
    alice._networks["192.0.2.1"] = 1
    with pytest.raises(trio.ClosedResourceError):
        await alice.send(b"hello")
    alice.close()
