"""TCP: real sockets on the loopback interface, both versions of IP, and what refusals say."""

import errno
import resource
import socket

import pytest
import trio
import trio.testing

from codex.codec import Multiaddr
from codex.config import P2pConfig
from codex.errors import ConfigError, PeerUnreachable, PortTaken
from codex.p2p import Handlers, Stream, TcpTransport
from codex.testing.counting import leak_check
from codex.testing.network import MemoryNetwork
from codex.testing.switches import open_switch


def has_ip6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACKS = ["/ip4/127.0.0.1/tcp/0", *(["/ip6/::1/tcp/0"] if has_ip6() else [])]
BOTH = {"tcp": TcpTransport, "memory": lambda: MemoryNetwork(latency=0).host("127.0.0.1").transport}


@pytest.mark.parametrize("kind", BOTH)
async def test_both_transports_do_the_same(kind: str) -> None:
    transport = BOTH[kind]()
    listener = await transport.listen(Multiaddr.parse("/ip4/127.0.0.1/tcp/0"))
    assert listener.address.get("ip4") == "127.0.0.1"
    assert listener.address.get("tcp") != "0"
    with pytest.raises(PortTaken) as taken:
        await transport.listen(listener.address)
    assert taken.value.remedy

    near = await transport.dial(listener.address)
    far, remote = await listener.accept()
    assert remote.get("ip4") == "127.0.0.1"
    assert remote.protocols == ("ip4", "tcp")
    await near.send_all(b"hello")
    assert await far.receive_some(100) == b"hello"
    await far.send_all(b"bye")
    await far.aclose()
    assert await near.receive_some(100) == b"bye"
    assert await near.receive_some(100) == b""
    await near.aclose()

    address = listener.address
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()
    with pytest.raises(PeerUnreachable, match="the connection was refused"):
        await transport.dial(address)
    with pytest.raises(PeerUnreachable, match="TCP"):
        await transport.dial(Multiaddr.parse("/ip4/127.0.0.1/udp/1"))
    again = await transport.listen(address)
    await again.aclose()


@pytest.mark.parametrize("text", LOOPBACKS)
async def test_small_packets_leave_at_once(text: str) -> None:
    transport = TcpTransport()
    with leak_check():
        listener = await transport.listen(Multiaddr.parse(text))
        near = await transport.dial(listener.address)
        far, remote = await listener.accept()
        for stream in (near, far):
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert remote.parts[0] == listener.address.parts[0]
        for one in (near, far, listener):
            await one.aclose()


async def test_names_are_dialled() -> None:
    transport = TcpTransport()
    listener = await transport.listen(Multiaddr.parse("/ip4/127.0.0.1/tcp/0"))
    port = listener.address.get("tcp")
    for kind in ("dns", "dns4"):
        stream = await transport.dial(Multiaddr.parse(f"/{kind}/localhost/tcp/{port}"))
        await stream.aclose()
    with pytest.raises(PeerUnreachable, match="the name"):
        await transport.dial(Multiaddr.parse(f"/dns4/nobody.invalid/tcp/{port}"))
    await listener.aclose()


async def test_what_cannot_be_listened_on_says_why() -> None:
    transport = TcpTransport()
    with pytest.raises(ConfigError, match="this machine has no such address") as caught:
        await transport.listen(Multiaddr.parse("/ip4/203.0.113.7/tcp/0"))
    assert "--listen-addrs" in caught.value.remedy
    for text in ("/ip4/127.0.0.1/udp/1", "/dns4/localhost/tcp/0"):
        with pytest.raises(ConfigError, match="no address to listen on"):
            await transport.listen(Multiaddr.parse(text))


async def test_without_a_file_for_it_nothing_is_dialled_nor_listened_on() -> None:
    transport = TcpTransport()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        for host in ("/ip4/127.0.0.1", "/dns4/localhost"):
            with pytest.raises(PeerUnreachable, match="as many files and connections open as it may"):
                await transport.dial(Multiaddr.parse(f"{host}/tcp/9"))
        with pytest.raises(ConfigError, match="Too many open files"):
            await transport.listen(Multiaddr.parse("/ip4/127.0.0.1/tcp/0"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_dial_that_is_cancelled_leaves_no_descriptor() -> None:
    transport = TcpTransport()
    with leak_check(), trio.CancelScope() as scope:
        scope.cancel()
        await transport.dial(Multiaddr.parse("/ip4/127.0.0.1/tcp/9"))


def test_the_source_address_is_one_of_this_machine() -> None:
    found = TcpTransport().source_address(4)
    if found is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((found, 0))


async def test_a_listener_outlives_connections_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = TcpTransport()
    listener = await transport.listen(Multiaddr.parse("/ip4/127.0.0.1/tcp/0"))
    inner = listener._socket

    class Exhausted:
        async def accept(self) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(listener, "_socket", Exhausted())
    with pytest.raises(OSError, match="Too many"):
        await listener.accept()
    monkeypatch.setattr(listener, "_socket", inner)
    near = await transport.dial(listener.address)
    far, _ = await listener.accept()
    for one in (near, far, listener):
        await one.aclose()


@pytest.mark.parametrize("text", LOOPBACKS)
async def test_two_switches_talk_over_tcp(text: str) -> None:
    config = P2pConfig(listen_addrs=(text,), nat="none")

    async def shout(stream: Stream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(bytes(data).upper())

    handlers = Handlers()
    handlers.add("/shout/1", shout)
    async with (
        open_switch(TcpTransport(), "alice", config=config) as alice,
        open_switch(TcpTransport(), "bob", config=config, handlers=handlers) as bob,
    ):
        with leak_check():
            for _ in range(3):
                await alice.switch.connect(bob.identity.peer_id, bob.addresses)
                stream = await alice.switch.open_stream(bob.identity.peer_id, "/shout/1")
                await stream.send_all(b"hello")
                assert bytes(await stream.receive_some()) == b"HELLO"
                assert 0 < await alice.switch.ping(bob.identity.peer_id) < 5
                async with bob.switch.events(10) as events:
                    await alice.switch.disconnect(bob.identity.peer_id)
                    with trio.fail_after(10):
                        await anext(events)
                assert bob.switch.peers() == []
            await trio.testing.wait_all_tasks_blocked(0.1)
