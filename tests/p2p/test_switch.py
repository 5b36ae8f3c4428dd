"""The switch among others: dials that meet, rooms that are full, partitions, crashes, liars, restarts."""

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve

from codex.codec import Multiaddr
from codex.config import LogConfig, P2pConfig
from codex.errors import PeerGone, PeerUnreachable, PortTaken, ProtocolRefused, ServiceUnavailable
from codex.logs import configured
from codex.p2p import (
    Handlers,
    Limits,
    PeerEvent,
    PeerId,
    PeerJoined,
    PeerLeft,
    SignedPeerRecord,
    Stream,
    Switch,
    SwitchStats,
    write_message,
)
from codex.p2p.dialling import AT_ONCE
from codex.p2p.service import LOOK
from codex.runtime import Lagged, Policy, SeededEntropy, State
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.counting import leak_check
from codex.testing.network import Host, MemoryListener, MemoryNetwork, MemoryTransport
from codex.testing.switches import LISTEN, OpenSwitch, identity_of, open_switch
from codex.testing.wires import MemoryStream

ECHO = "/echo/1.0.0"
CONFIG = P2pConfig(listen_addrs=LISTEN)
ALICE, BOB, CAROL = "10.0.0.1", "10.0.0.2", "10.0.0.3"


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


def echoing() -> Handlers:
    handlers = Handlers()
    handlers.add(ECHO, echo)
    return handlers


@asynccontextmanager
async def two(network: MemoryNetwork) -> AsyncIterator[tuple[OpenSwitch, OpenSwitch]]:
    async with (
        open_switch(network.host(ALICE).transport, "alice", handlers=echoing()) as alice,
        open_switch(network.host(BOB).transport, "bob", handlers=echoing()) as bob,
    ):
        yield alice, bob


async def say(switch: Switch, peer: PeerId, text: bytes = b"hello", name: str = ECHO) -> bytes:
    """Send something on a stream of its own, and return what comes back."""
    stream = await switch.open_stream(peer, name)
    await stream.send_all(text)
    await stream.send_eof()
    data = b""
    while piece := await stream.receive_some():
        data += piece
    await stream.aclose()
    return data


class Diary:
    """All that a switch tells about who comes and goes."""

    def __init__(self) -> None:
        self.events: list[PeerEvent | Lagged] = []

    async def keep(self, switch: Switch, *, task_status: trio.TaskStatus[None]) -> None:
        async with switch.events(10_000) as events:
            task_status.started()
            async for event in events:
                self.events.append(event)

    def of(self, peer: PeerId) -> list[str]:
        return [
            type(event).__name__
            for event in self.events
            if not isinstance(event, Lagged) and event.peer == peer
        ]

    def check(self) -> None:
        """Each peer joins and leaves in turns, and has left in the end."""
        here: set[PeerId] = set()
        for event in self.events:
            if isinstance(event, PeerJoined):
                assert event.peer not in here
                here.add(event.peer)
            else:
                assert isinstance(event, PeerLeft)
                assert event.peer in here
                here.remove(event.peer)
        assert not here


# -- two that meet


async def test_a_peer_is_dialled_identified_and_spoken_to(autojump_clock: trio.testing.MockClock) -> None:
    async with two(MemoryNetwork()) as (alice, bob):
        peer = bob.identity.peer_id
        assert not alice.switch.is_connected(peer)
        await alice.switch.connect(peer, bob.addresses)
        assert alice.switch.is_connected(peer)
        await alice.switch.connect(peer)  # at once, without any address
        assert await say(alice.switch, peer) == b"hello"
        await trio.sleep(1)

        [seen] = alice.switch.peers()
        assert (seen.peer, seen.dialled, seen.agent) == (peer, True, "Codex")
        assert str(seen.address) == f"/ip4/{BOB}/tcp/8070"
        assert set(seen.protocols) == {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", ECHO}
        assert seen.listening == bob.addresses
        assert seen.record is not None
        assert seen.record.record.peer_id == peer
        assert seen.latency == pytest.approx(0.02, abs=0.001)
        assert seen.since == pytest.approx(1_750_000_000, abs=1)
        assert seen.bytes_in > 100
        assert seen.bytes_out > 100

        [back] = bob.switch.peers()
        assert (back.peer, back.dialled) == (alice.identity.peer_id, False)
        assert back.address.get("ip4") == ALICE
        assert await say(bob.switch, back.peer) == b"hello"
        assert await bob.switch.ping(back.peer) == pytest.approx(0.02, abs=0.001)
        assert len(alice.switch.peers()) == len(bob.switch.peers()) == 1


async def test_what_nobody_speaks_is_refused_and_who_is_not_here_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two(MemoryNetwork()) as (alice, bob):
        peer = bob.identity.peer_id
        with pytest.raises(PeerGone, match="there is no connection"):
            await alice.switch.open_stream(peer, ECHO)
        with pytest.raises(PeerGone):
            await alice.switch.ping(peer)
        await alice.switch.disconnect(peer)
        await alice.switch.connect(peer, bob.addresses)
        with pytest.raises(ProtocolRefused):
            await alice.switch.open_stream(peer, "/attic/1.0.0")
        stream = await alice.switch.open_stream(peer, "/attic/1.0.0", ECHO)
        assert stream.protocol == ECHO


async def test_a_node_does_not_connect_to_itself(autojump_clock: trio.testing.MockClock) -> None:
    async with two(MemoryNetwork()) as (alice, bob):
        with pytest.raises(PeerUnreachable, match="the node itself"):
            await alice.switch.connect(alice.identity.peer_id, bob.addresses)
        # Under another name it finds nobody there, for its own addresses are not dialled.
        with pytest.raises(PeerUnreachable, match="no address"):
            await alice.switch.connect(bob.identity.peer_id, alice.addresses)


async def test_leaving_is_told_once_on_both_sides(autojump_clock: trio.testing.MockClock) -> None:
    alices, bobs = Diary(), Diary()
    # The subscriptions end by themselves, with the last of the news.
    async with trio.open_nursery() as nursery:  # noqa: SIM117 - the nursery outlives the switches
        async with two(MemoryNetwork()) as (alice, bob):
            await nursery.start(alices.keep, alice.switch)
            await nursery.start(bobs.keep, bob.switch)
            for _ in range(3):
                await alice.switch.connect(bob.identity.peer_id, bob.addresses)
                await trio.sleep(1)
                await alice.switch.disconnect(bob.identity.peer_id, "had enough")
                assert not alice.switch.is_connected(bob.identity.peer_id)
                assert alice.switch.peers() == []
                await trio.sleep(1)
                assert bob.switch.peers() == []
            await alice.switch.connect(bob.identity.peer_id, bob.addresses)
            await trio.sleep(1)
    alices.check()
    bobs.check()
    assert alices.of(bob.identity.peer_id) == ["PeerJoined", "PeerLeft"] * 4
    assert bobs.of(alice.identity.peer_id) == ["PeerJoined", "PeerLeft"] * 4
    whys = [event.why for event in alices.events if isinstance(event, PeerLeft)]
    assert whys[:3] == ["had enough"] * 3
    assert {whys[3]} <= {"this node stops", "the peer ended it"}


async def test_what_was_sent_before_a_disconnect_arrives(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    sent = trio.Event()

    async def give(stream: Stream) -> None:
        await stream.send_all(bytes(500_000))
        sent.set()
        await trio.sleep_forever()

    handlers = Handlers()
    handlers.add("/give/1", give)
    async with (
        open_switch(network.host(ALICE).transport, "alice", handlers=handlers) as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        stream = await bob.switch.open_stream(alice.identity.peer_id, "/give/1")
        await sent.wait()
        await alice.switch.disconnect(bob.identity.peer_id)
        await trio.sleep(1)
        got = 0
        with suppress(PeerGone):
            while True:
                got += len(await stream.receive_some())
        assert got == 500_000


# -- dialling


async def test_both_dial_at_once_and_one_connection_stays(autojump_clock: trio.testing.MockClock) -> None:
    alices, bobs = Diary(), Diary()
    async with trio.open_nursery() as listeners, two(MemoryNetwork()) as (alice, bob):
        await listeners.start(alices.keep, alice.switch)
        await listeners.start(bobs.keep, bob.switch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.switch.connect, bob.identity.peer_id, bob.addresses)
            nursery.start_soon(bob.switch.connect, alice.identity.peer_id, alice.addresses)
        # Whatever becomes of the second connection, something begun now is not cut.
        assert await say(alice.switch, bob.identity.peer_id) == b"hello"
        assert await say(bob.switch, alice.identity.peer_id) == b"hello"
        await trio.sleep(60)
        [ours], [theirs] = alice.switch.peers(), bob.switch.peers()
        assert ours.dialled is not theirs.dialled
        # The one that the smaller peer id has dialled.
        assert ours.dialled is (alice.identity.peer_id.raw < bob.identity.peer_id.raw)
        assert alices.of(bob.identity.peer_id) == ["PeerJoined"]
        assert bobs.of(alice.identity.peer_id) == ["PeerJoined"]
        assert await say(alice.switch, bob.identity.peer_id) == b"hello"
    alices.check()
    bobs.check()


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.3])
async def test_two_dials_a_moment_apart_settle(delay: float, autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob):

        async def later() -> None:
            await trio.sleep(delay)
            await bob.switch.connect(alice.identity.peer_id, alice.addresses)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.switch.connect, bob.identity.peer_id, bob.addresses)
            nursery.start_soon(later)
        await trio.sleep(60)
        assert network.host(ALICE).streams == network.host(BOB).streams == 1
        [ours], [theirs] = alice.switch.peers(), bob.switch.peers()
        assert ours.dialled is not theirs.dialled
        assert await say(alice.switch, theirs.peer if ours is theirs else ours.peer) == b"hello"


async def test_dials_to_one_peer_are_one_dial(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(alice.switch.connect, bob.identity.peer_id, bob.addresses)
            await trio.sleep(0.055)
            assert network.host(BOB).streams == 1
        assert network.host(BOB).streams == 1


async def test_thirty_nodes_connect_all_to_all(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(latency=0.02)
    diaries = [Diary() for _ in range(30)]
    async with trio.open_nursery() as listeners, AsyncExitStack() as stack:
        nodes = []
        for number in range(30):
            transport = network.host(f"10.0.1.{number}").transport
            nodes.append(await stack.enter_async_context(open_switch(transport, f"{number}")))
            await listeners.start(diaries[number].keep, nodes[number].switch)
        async with trio.open_nursery() as nursery:
            for number, (one, other) in enumerate(combinations(nodes, 2)):
                nursery.start_soon(one.switch.connect, other.identity.peer_id, other.addresses)
                if number % 3 == 0:
                    nursery.start_soon(other.switch.connect, one.identity.peer_id, one.addresses)
        await trio.sleep(60)
        for number, node in enumerate(nodes):
            assert len(node.switch.peers()) == 29
            assert network.host(f"10.0.1.{number}").streams == 29
            assert all(event for event in diaries[number].events if isinstance(event, PeerJoined))
            assert len(diaries[number].events) == 29
        await trio.sleep(70)  # some pings later, everybody is still there
        assert all(len(node.switch.peers()) == 29 for node in nodes)
    for diary in diaries:
        diary.check()


async def test_each_address_and_its_trouble_is_named(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob), open_switch(network.host(CAROL).transport, "carol"):
        silent = await network.host("10.0.0.4").transport.listen(Multiaddr.parse("/ip4/10.0.0.4/tcp/1"))
        rude = await network.host("10.0.0.5").transport.listen(Multiaddr.parse("/ip4/10.0.0.5/tcp/1"))

        async def be_rude() -> None:
            while True:
                stream, _ = await rude.accept()
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)

        addresses = [
            f"/ip4/{BOB}/tcp/1",
            f"/ip4/{CAROL}/tcp/8070",
            "/ip4/10.9.9.9/tcp/8070",
            "/ip4/10.0.0.4/tcp/1",
            "/ip4/10.0.0.5/tcp/1",
            "/ip4/10.0.0.6/udp/1",
        ]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_rude)
            start = trio.current_time()
            with pytest.raises(PeerUnreachable) as caught:
                await alice.switch.connect(
                    bob.identity.peer_id, [Multiaddr.parse(text) for text in addresses]
                )
            nursery.cancel_scope.cancel()
        assert trio.current_time() - start < 60
        message = caught.value.message
        carol = identity_of("carol").peer_id
        assert message.startswith(f"{bob.identity.peer_id} cannot be reached: ")
        assert f"/ip4/{BOB}/tcp/1: the connection was refused" in message
        assert f"/ip4/{CAROL}/tcp/8070: the peer is {carol}, and not {bob.identity.peer_id}" in message
        assert "/ip4/10.9.9.9/tcp/8070: nothing answered within 10 s" in message
        assert "/ip4/10.0.0.4/tcp/1: the peer did not finish the handshake within 15 s" in message
        assert "/ip4/10.0.0.5/tcp/1: the peer does not speak as this network does" in message
        assert "udp" not in message
        assert caught.value.remedy
        await silent.aclose()
        # For a moment nobody knocks there again, and the error says so at once.
        refused = [Multiaddr.parse(addresses[0])]
        with pytest.raises(PeerUnreachable, match=r"refused$"):
            await alice.switch.connect(bob.identity.peer_id, refused)
        start = trio.current_time()
        with pytest.raises(PeerUnreachable, match=r"refused \(tried again in 4 s at the earliest\)"):
            await alice.switch.connect(bob.identity.peer_id, refused)
        assert trio.current_time() == start
        # An address that is new is dialled right away, the others rest.
        await alice.switch.connect(bob.identity.peer_id, [Multiaddr.parse(addresses[0]), *bob.addresses])


async def test_a_good_address_behind_bad_ones_is_found_soon(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob):
        dead = [Multiaddr.parse(f"/ip4/10.9.9.{number}/tcp/1") for number in range(5)]
        await alice.switch.connect(bob.identity.peer_id, [*dead, *bob.addresses])
        assert trio.current_time() < 2
        await trio.sleep(30)
        assert network.host(ALICE).streams == 1


async def test_two_good_addresses_are_one_connection(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(latency=0.2)  # so slow that both are tried
    both = P2pConfig(listen_addrs=("/ip4/0.0.0.0/tcp/8070", "/ip4/0.0.0.0/tcp/8071"))
    bobs = Diary()
    async with (
        trio.open_nursery() as listeners,
        open_switch(network.host(ALICE).transport, "alice", handlers=echoing()) as alice,
        open_switch(network.host(BOB).transport, "bob", config=both, handlers=echoing()) as bob,
    ):
        await listeners.start(bobs.keep, bob.switch)
        assert len(bob.addresses) == 2
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        await trio.sleep(60)
        assert network.host(BOB).streams == 1
        assert bobs.of(alice.identity.peer_id) == ["PeerJoined"]
        assert await say(alice.switch, bob.identity.peer_id) == b"hello"


async def test_a_peer_that_was_here_is_found_again_without_an_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two(MemoryNetwork()) as (alice, bob):
        with pytest.raises(PeerUnreachable, match="no address"):
            await bob.switch.connect(alice.identity.peer_id)
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        await alice.switch.disconnect(bob.identity.peer_id)
        await trio.sleep(1)
        await bob.switch.connect(alice.identity.peer_id)  # who had told where she listens
        assert bob.switch.is_connected(alice.identity.peer_id)


async def test_connect_may_be_cancelled_anywhere(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    alices, bobs = Diary(), Diary()
    async with trio.open_nursery() as listeners, two(network) as (alice, bob):
        await listeners.start(alices.keep, alice.switch)
        await listeners.start(bobs.keep, bob.switch)
        addresses = (Multiaddr.parse("/ip4/10.9.9.9/tcp/1"), *bob.addresses)

        async def connect() -> None:
            await alice.switch.connect(bob.identity.peer_id, addresses)
            assert alice.switch.is_connected(bob.identity.peer_id)

        async def check() -> None:
            await trio.sleep(1)
            here = alice.switch.is_connected(bob.identity.peer_id)
            assert network.host(ALICE).streams == network.host(BOB).streams == int(here)
            await alice.switch.disconnect(bob.identity.peer_id)
            await trio.sleep(2)
            assert network.host(ALICE).streams == network.host(BOB).streams == 0
            await trio.sleep(120)  # that no address rests

        with leak_check():
            assert await cancel_at_every_checkpoint(connect, check) > 20
    alices.check()
    bobs.check()


async def test_one_who_gives_up_does_not_end_the_dial_for_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(latency=0.1)
    async with two(network) as (alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(alice.switch.connect, bob.identity.peer_id, bob.addresses)
        with trio.move_on_after(0.25):
            await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        assert not alice.switch.is_connected(bob.identity.peer_id)
        await alice.switch.connect(bob.identity.peer_id)
        assert alice.switch.is_connected(bob.identity.peer_id)


async def test_who_joins_a_dial_in_vain_tries_its_own_addresses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two(MemoryNetwork()) as (alice, bob), trio.open_nursery() as nursery:

        async def fail() -> None:
            with pytest.raises(PeerUnreachable):
                await alice.switch.connect(bob.identity.peer_id, [Multiaddr.parse("/ip4/10.9.9.9/tcp/1")])

        nursery.start_soon(fail)
        await trio.sleep(1)
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        assert alice.switch.is_connected(bob.identity.peer_id)


async def silent_addresses(network: MemoryNetwork, count: int) -> list[Multiaddr]:
    """Hosts that take connections and say nothing."""
    addresses = [Multiaddr.parse(f"/ip4/10.0.2.{number}/tcp/1") for number in range(count)]
    for address in addresses:
        await network.host(address.get("ip4") or "").transport.listen(address)
    return addresses


async def test_a_dial_that_nobody_waits_for_ends(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    silent = await silent_addresses(network, 3)
    async with open_switch(network.host(ALICE).transport, "alice") as alice:
        with leak_check():
            with trio.move_on_after(5):
                await alice.switch.connect(identity_of("bob").peer_id, silent)
            await trio.sleep(1)
        assert network.host(ALICE).streams == 0


async def test_a_dial_ends_in_time_however_many_addresses_there_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    silent = await silent_addresses(network, 16)
    async with open_switch(network.host(ALICE).transport, "alice") as alice:
        with trio.fail_after(61), pytest.raises(PeerUnreachable) as caught:
            await alice.switch.connect(identity_of("bob").peer_id, silent)
        assert caught.value.message.count("did not finish the handshake within 15 s") == 3
        assert caught.value.message.count("nothing came of it within 60 s") == 13
        await trio.sleep(1)
        assert network.host(ALICE).streams == 0


async def test_so_many_hosts_are_called_at_once_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    transport = MuteTransport(MemoryNetwork().host(ALICE).transport)
    async with open_switch(transport, "alice") as alice, trio.open_nursery() as nursery:

        async def call(number: int) -> None:
            address = Multiaddr.parse(f"/ip4/10.0.2.{number}/tcp/8070")
            with pytest.raises(PeerUnreachable):
                await alice.switch.connect(identity_of(f"{number}").peer_id, [address])

        for number in range(AT_ONCE + 8):
            nursery.start_soon(call, number)
        await trio.sleep(5)
        assert transport.calling == AT_ONCE
        await trio.sleep(10)
        assert transport.calling == 8  # those that had waited
    assert transport.most == AT_ONCE


async def test_once_there_nothing_else_is_dialled(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    async with (
        open_switch(transport, "alice") as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        other = Multiaddr.parse("/ip4/10.9.9.9/tcp/1")
        await alice.switch.connect(bob.identity.peer_id, [*bob.addresses, other])
        await trio.sleep(60)
        assert transport.dialled == list(bob.addresses)


# -- networks that break


async def test_a_partition_while_dialling_is_a_verdict(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob):
        for moment in [0.0, 0.005, 0.015, 0.025, 0.035, 0.045, 0.055, 0.065, 0.075, 0.085, 0.095]:
            network.heal()
            await trio.sleep(300)
            await alice.switch.disconnect(bob.identity.peer_id)
            await bob.switch.disconnect(alice.identity.peer_id)
            async with trio.open_nursery() as nursery:

                async def dial() -> None:
                    with trio.fail_after(61), suppress(PeerUnreachable):
                        await alice.switch.connect(bob.identity.peer_id, bob.addresses)

                nursery.start_soon(dial)
                await trio.sleep(moment)
                network.partition([ALICE], [BOB])
            await trio.sleep(200)
            assert alice.switch.peers() == bob.switch.peers() == []
        network.heal()
        await trio.sleep(300)
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)


async def test_a_partition_of_the_connected_is_noticed_and_mends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    alices = Diary()
    async with trio.open_nursery() as listeners, two(network) as (alice, bob):
        await listeners.start(alices.keep, alice.switch)
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        stream = await alice.switch.open_stream(bob.identity.peer_id, ECHO)
        network.partition([ALICE])
        with pytest.raises(PeerGone):
            await stream.receive_some()
        assert trio.current_time() < 150
        await trio.sleep(150)
        assert alice.switch.peers() == bob.switch.peers() == []
        network.heal()
        await bob.switch.connect(alice.identity.peer_id)
        assert await say(alice.switch, bob.identity.peer_id) == b"hello"
        assert alices.of(bob.identity.peer_id) == ["PeerJoined", "PeerLeft", "PeerJoined"]


async def test_a_short_partition_is_sat_out(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    alices = Diary()
    async with trio.open_nursery() as listeners, two(network) as (alice, bob):
        await listeners.start(alices.keep, alice.switch)
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        await trio.sleep(58)
        network.partition([ALICE])
        await trio.sleep(15)
        network.heal()
        await trio.sleep(300)
        assert alices.of(bob.identity.peer_id) == ["PeerJoined"]


@pytest.mark.parametrize("silent", [False, True])
async def test_a_peer_that_crashed_comes_back_in_place_of_its_ghost(
    silent: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network = MemoryNetwork()
    async with open_switch(network.host(ALICE).transport, "alice", handlers=echoing()) as alice:
        for dialler in ("alice", "bob"):
            peer = identity_of("bob").peer_id
            async with open_switch(network.host(BOB).transport, "bob", handlers=echoing()) as bob:
                if dialler == "alice":
                    await alice.switch.connect(peer, bob.addresses)
                else:
                    await bob.switch.connect(alice.identity.peer_id, alice.addresses)
                await trio.sleep(100)
                network.crash(BOB, silent=silent)
            async with open_switch(network.host(BOB).transport, "bob", handlers=echoing()) as bob:
                await bob.switch.connect(alice.identity.peer_id, alice.addresses)
                await trio.sleep(40)
                assert bob.switch.is_connected(alice.identity.peer_id)
                assert await say(alice.switch, peer) == b"hello"
                assert network.host(BOB).streams == 1


# -- peers that misbehave


async def test_a_peer_that_says_nothing_is_shown_the_door(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with open_switch(network.host(ALICE).transport, "alice") as alice:
        stream = await network.host(BOB).transport.dial(alice.addresses[0])
        seen = b""
        with trio.fail_after(31):
            while data := await stream.receive_some():
                seen += data
        assert len(seen) < 100
        assert network.host(ALICE).streams == 0


async def test_a_flood_from_one_address_keeps_nobody_else_out(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    flooder = network.host("10.6.6.6")
    async with two(network) as (alice, bob), trio.open_nursery() as nursery:

        async def hold_open() -> None:
            stream = await flooder.transport.dial(alice.addresses[0])
            await stream.receive_some()

        for _ in range(500):
            nursery.start_soon(hold_open)
        await trio.sleep(1)
        assert network.host(ALICE).streams <= 8
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        assert trio.current_time() < 2
        nursery.cancel_scope.cancel()


async def test_a_flood_from_many_addresses_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob), trio.open_nursery() as nursery:

        async def hold_open(ip: str) -> None:
            try:
                stream = await network.host(ip).transport.dial(alice.addresses[0])
                await stream.receive_some()
            except trio.BrokenResourceError:
                pass  # turned away

        for number in range(300):
            nursery.start_soon(hold_open, f"10.6.6.{number // 8}")
        await trio.sleep(1)
        assert network.host(ALICE).streams <= 64
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        assert trio.current_time() < 2
        nursery.cancel_scope.cancel()


async def test_one_who_does_not_identify_itself_never_joins(autojump_clock: trio.testing.MockClock) -> None:
    # A peer that can shake hands, and no more.
    from codex.p2p.connection import open_connection
    from codex.runtime import VirtualClock

    network = MemoryNetwork()
    alices = Diary()
    async with (
        trio.open_nursery() as listeners,
        open_switch(network.host(ALICE).transport, "alice", handlers=echoing()) as alice,
    ):
        await listeners.start(alices.keep, alice.switch)

        async def say_nothing(stream: Stream) -> None:
            await trio.sleep_forever()

        mute = Handlers()
        mute.add("/ipfs/id/1.0.0", say_nothing)
        stream = await network.host(BOB).transport.dial(alice.addresses[0])
        async with open_connection(
            stream,
            identity=identity_of("bob"),
            dialer=True,
            expect=alice.identity.peer_id,
            protocols=mute,
            limits=Limits(),
            entropy=SeededEntropy("bob"),
            clock=VirtualClock(0),
        ) as connection:
            # Handlers are for those who have joined.
            early = await connection.open_stream(ECHO)
            await early.send_all(b"too early")
            with pytest.raises(PeerGone):
                await early.receive_some()
            with trio.fail_after(60):
                await connection.closed.wait()
        assert 9 < trio.current_time() < 12
        assert alices.events == []
        assert alice.switch.peers() == []


async def test_one_who_identifies_itself_as_another_never_joins(
    autojump_clock: trio.testing.MockClock,
) -> None:
    from codex.p2p.connection import open_connection
    from codex.p2p.identify import Identify
    from codex.runtime import VirtualClock

    async def lie(stream: Stream) -> None:
        await write_message(stream, Identify(public_key=identity_of("carol").public_key).to_bytes())

    async def babble(stream: Stream) -> None:
        await write_message(stream, b"\xff" * 100)

    async def hang_up(stream: Stream) -> None:
        await trio.lowlevel.checkpoint()

    network = MemoryNetwork()
    alices = Diary()
    async with (
        trio.open_nursery() as listeners,
        open_switch(network.host(ALICE).transport, "alice") as alice,
    ):
        await listeners.start(alices.keep, alice.switch)
        for handler in (lie, babble, hang_up):
            served = Handlers()
            served.add("/ipfs/id/1.0.0", handler)
            stream = await network.host(BOB).transport.dial(alice.addresses[0])
            async with open_connection(
                stream,
                identity=identity_of("bob"),
                dialer=True,
                expect=alice.identity.peer_id,
                protocols=served,
                limits=Limits(),
                entropy=SeededEntropy("bob"),
                clock=VirtualClock(0),
            ) as connection:
                with trio.fail_after(20):
                    await connection.closed.wait()
        assert trio.current_time() < 5
        assert alices.events == []


async def test_the_room_is_bounded_and_who_is_idle_goes_for_who_is_dialled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    small = evolve(CONFIG, max_peers=4)
    diary = Diary()
    async with trio.open_nursery() as listeners, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            open_switch(network.host(ALICE).transport, "alice", config=small)
        )
        await listeners.start(diary.keep, alice.switch)
        others = []
        for number in range(8):
            transport = network.host(f"10.0.1.{number}").transport
            others.append(
                await stack.enter_async_context(open_switch(transport, f"{number}", handlers=echoing()))
            )
        for other in others[:4]:
            await other.switch.connect(alice.identity.peer_id, alice.addresses)
        await trio.sleep(1)
        assert len(alice.switch.peers()) == 4
        # Newcomers throw nobody out; not for another that comes by itself, nor for one that is dialled.
        with pytest.raises(PeerUnreachable, match="the peer closed the connection"):
            await others[4].switch.connect(alice.identity.peer_id, alice.addresses)
        assert not others[4].switch.is_connected(alice.identity.peer_id)
        with pytest.raises(PeerUnreachable, match="all 4 connections of this node are in use"):
            await alice.switch.connect(others[5].identity.peer_id, others[5].addresses)
        await trio.sleep(60)
        # Three are busy; the fourth makes room.
        streams = [await alice.switch.open_stream(other.identity.peer_id, ECHO) for other in others[:4]]
        for stream in streams[:3]:
            await stream.send_all(bytes(100_000))
            await take(stream, 100_000)
        await alice.switch.connect(others[5].identity.peer_id, others[5].addresses)
        assert not alice.switch.is_connected(others[3].identity.peer_id)
        assert len(alice.switch.peers()) == 4
        for stream in streams[:3]:
            await stream.send_all(b"still here")
            assert await stream.receive_some() == b"still here"
        # One that was dialled is not thrown out for one that comes by itself.
        await trio.sleep(60)
        for stream in streams[:3]:
            await stream.send_all(bytes(100_000))
            await take(stream, 100_000)
        with pytest.raises(PeerUnreachable, match="the peer closed the connection"):
            await others[6].switch.connect(alice.identity.peer_id, alice.addresses)
        assert alice.switch.is_connected(others[5].identity.peer_id)
        assert not others[6].switch.is_connected(alice.identity.peer_id)
        await trio.sleep(5)
        assert network.host(ALICE).streams == 4
    diary.check()


async def take(stream: Stream, count: int) -> None:
    """Receive so many bytes."""
    while count > 0:
        piece = await stream.receive_some(count)
        assert piece
        count -= len(piece)


async def test_open_streams_and_what_comes_unasked_hold_no_place(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Throw-away names that hold a stream open and send on it make room for an honest peer."""
    network = MemoryNetwork()
    small = evolve(CONFIG, max_peers=8)

    async def swallow(stream: Stream) -> None:
        while await stream.receive_some():
            pass

    listening = Handlers()
    listening.add(ECHO, swallow)
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            open_switch(network.host(ALICE).transport, "alice", config=small, handlers=listening)
        )
        peer = alice.identity.peer_id

        async def chatter(stream: Stream) -> None:
            with suppress(PeerGone):
                while True:
                    await stream.send_all(bytes(20_000))
                    await trio.sleep(1)

        for number in range(7):
            transport = network.host(f"192.0.2.{number}").transport
            other = await stack.enter_async_context(open_switch(transport, f"{number}"))
            await other.switch.connect(peer, alice.addresses)
            nursery.start_soon(chatter, await other.switch.open_stream(peer, ECHO))
        bob = await stack.enter_async_context(open_switch(network.host(BOB).transport, "bob"))
        with pytest.raises(PeerUnreachable):
            await bob.switch.connect(peer, alice.addresses)
        await trio.sleep(50)
        await bob.switch.connect(peer, alice.addresses)
        assert bob.switch.is_connected(peer)
        assert alice.switch.is_connected(bob.identity.peer_id)
        nursery.cancel_scope.cancel()


async def test_many_names_of_one_address_leave_room_for_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    sybils = network.host("8.8.8.8")
    small = evolve(CONFIG, max_peers=16)
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(
            open_switch(network.host(ALICE).transport, "alice", config=small)
        )
        peer, joined = alice.identity.peer_id, 0
        for number in range(16):
            config = evolve(CONFIG, listen_addrs=(f"/ip4/0.0.0.0/tcp/{9000 + number}",))
            one = await stack.enter_async_context(
                open_switch(sybils.transport, f"sybil {number}", config=config)
            )
            with suppress(PeerUnreachable):
                await one.switch.connect(peer, alice.addresses)
                joined += 1
        assert joined == len(alice.switch.peers()) == 4
        bob = await stack.enter_async_context(open_switch(network.host(BOB).transport, "bob"))
        await bob.switch.connect(peer, alice.addresses)
        assert len(alice.switch.peers()) == 5


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, as JSON, a line each."""
    stream = io.StringIO()
    with configured(LogConfig(level="debug", format="json"), stream=stream):
        yield stream


def logged(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    """The lines about something."""
    lines = map(json.loads, log.getvalue().splitlines())
    return [line for line in lines if line["event"] == event]


async def test_a_handler_with_a_bug_costs_its_stream_only(
    autojump_clock: trio.testing.MockClock, log: io.StringIO
) -> None:
    network = MemoryNetwork()
    handlers = echoing()

    async def fail(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.1)
            raise ZeroDivisionError("a bug")

    handlers.add("/fail/1", fail)
    async with (
        open_switch(network.host(ALICE).transport, "alice", handlers=handlers) as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        for _ in range(3):
            with pytest.raises(PeerGone):
                await say(bob.switch, alice.identity.peer_id, name="/fail/1")
        assert await say(bob.switch, alice.identity.peer_id) == b"hello"
        lines = logged(log, "handler crashed")
        assert len(lines) == 3
        assert "ZeroDivisionError: a bug" in str(lines[0])
        assert lines[0]["peer"] == str(bob.identity.peer_id)
        assert alice.supervisor.states()[0].restarts == 0


async def test_a_handler_serves_so_many_streams_of_a_peer(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    handlers = Handlers()
    handlers.add(ECHO, echo, limit=2)
    async with (
        open_switch(network.host(ALICE).transport, "alice", handlers=handlers) as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        streams = [await bob.switch.open_stream(alice.identity.peer_id, ECHO) for _ in range(2)]
        for stream in streams:
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
        with pytest.raises(PeerGone):
            await say(bob.switch, alice.identity.peer_id)
        await streams[0].aclose()
        await trio.sleep(1)
        assert await say(bob.switch, alice.identity.peer_id) == b"hello"


# -- the service


class FragileListener:
    """Takes connections, and raises the errors that are put into `trouble`."""

    def __init__(self, inner: MemoryListener) -> None:
        self.address = inner.address
        self.trouble, self._troubles = trio.open_memory_channel[Exception](1000)
        self._inner = inner

    async def accept(self) -> tuple[MemoryStream, Multiaddr]:
        with suppress(trio.WouldBlock):
            raise self._troubles.receive_nowait()
        found: list[tuple[MemoryStream, Multiaddr] | Exception] = []
        async with trio.open_nursery() as nursery:

            async def first(
                work: Callable[[], Awaitable[tuple[MemoryStream, Multiaddr] | Exception]],
            ) -> None:
                found.append(await work())
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, self._troubles.receive)
            nursery.start_soon(first, self._inner.accept)
        if isinstance(found[0], Exception):
            raise found[0]
        return found[0]

    async def aclose(self) -> None:
        await self._inner.aclose()


class FragileTransport:
    """A transport that keeps its listeners at hand; dials raise `bug` when that is set."""

    def __init__(self, inner: MemoryTransport) -> None:
        self.listeners: list[FragileListener] = []
        self.bug: Exception | None = None
        self.dialled: list[Multiaddr] = []
        self.source_address: Callable[[int], str | None] = inner.source_address
        self._inner = inner

    async def listen(self, address: Multiaddr) -> FragileListener:
        self.listeners.append(FragileListener(await self._inner.listen(address)))
        return self.listeners[-1]

    async def dial(self, address: Multiaddr) -> MemoryStream:
        self.dialled.append(address)
        if self.bug is not None:
            raise self.bug
        return await self._inner.dial(address)


class MuteTransport:
    """A transport on which nobody answers a call."""

    def __init__(self, inner: MemoryTransport) -> None:
        self.calling = self.most = 0
        self.listen, self.source_address = inner.listen, inner.source_address

    async def dial(self, address: Multiaddr) -> MemoryStream:
        self.calling += 1
        self.most = max(self.most, self.calling)
        try:
            await trio.sleep_forever()
        finally:
            self.calling -= 1


async def test_what_is_dropped_is_told_and_a_flood_in_one_line(
    autojump_clock: trio.testing.MockClock, log: io.StringIO
) -> None:
    """Silent, half and refused connections, each source at once and all of them in a sum a minute."""
    network = MemoryNetwork()
    flooder, single = network.host("10.6.6.6"), network.host("10.7.7.7")
    wrong = b"\x13/wrongstream/1.0.0\n"

    async def say_half(host: Host, data: bytes) -> None:
        with suppress(trio.BrokenResourceError):
            stream = await host.transport.dial(alice.addresses[0])
            if data:
                await stream.send_all(data)
            await stream.receive_some()

    async with (
        open_switch(network.host(ALICE).transport, "alice") as alice,
        trio.open_nursery() as nursery,
    ):
        for number in range(100):
            nursery.start_soon(say_half, flooder, b"\x13/multi" if number % 10 == 0 else b"")
        nursery.start_soon(say_half, single, wrong)
        await trio.sleep(120)
        lines = logged(log, "connection refused")
        assert sorted(line["address"].split("/")[2] for line in lines) == ["10.6.6.6", "10.7.7.7"]
        assert all(line["why"] for line in lines)
        [line] = logged(log, "connections dropped")
        assert (line["number"], line["sources"], line["of_these"]) == (101, 2, 100)
        assert line["most_from"] == "10.6.6.6"
        assert "too many begin a handshake at once (92)" in line["why"]
        assert "no handshake came about in time (8)" in line["why"]
        assert "the handshake failed, or there is no room (1)" in line["why"]
        assert line["level"] == "info"
        assert sum(alice.switch.stats().dropped.values()) == 101
        # Without trouble there is nothing to tell.
        await trio.sleep(600)
        assert len(logged(log, "connections dropped")) == 1
        nursery.start_soon(say_half, single, wrong)
        nursery.start_soon(say_half, single, wrong)
        await trio.sleep(1)
    assert len(logged(log, "connections dropped")) == 2, "the end tells what had not been told"


async def test_what_is_moved_and_dialled_is_counted_over_restarts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    async with (
        open_switch(transport, "alice", handlers=echoing()) as alice,
        open_switch(network.host(BOB).transport, "bob", handlers=echoing()) as bob,
    ):
        peer = bob.identity.peer_id
        assert alice.switch.stats() == SwitchStats()
        nowhere = Multiaddr.parse("/ip4/10.0.0.99/tcp/1")
        with pytest.raises(PeerUnreachable):
            await alice.switch.connect(identity_of("carol").peer_id, [nowhere])
        await alice.switch.connect(peer, bob.addresses)
        await say(alice.switch, peer, bytes(100_000))
        before = alice.switch.stats()
        assert (before.dialled, before.came, before.reached, before.failed) == (1, 0, 1, 1)
        assert (bob.switch.stats().dialled, bob.switch.stats().came) == (0, 1)
        assert before.bytes_in > 100_000 < before.bytes_out
        transport.listeners[-1].trouble.send_nowait(ZeroDivisionError("a bug in a listener"))
        await trio.sleep(10)
        after = alice.switch.stats()
        assert (after.dialled, after.came, after.reached) == (0, 0, 1)
        assert after.bytes_in >= before.bytes_in
        assert after.bytes_out >= before.bytes_out


async def test_the_switch_is_restarted_under_its_handle(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    alices, bobs = Diary(), Diary()
    async with (
        trio.open_nursery() as listeners,
        open_switch(transport, "alice", handlers=echoing()) as alice,
        open_switch(network.host(BOB).transport, "bob", handlers=echoing()) as bob,
    ):
        await listeners.start(alices.keep, alice.switch)
        await listeners.start(bobs.keep, bob.switch)
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        stream = await alice.switch.open_stream(bob.identity.peer_id, ECHO)
        transport.listeners[-1].trouble.send_nowait(ZeroDivisionError("a bug in a listener"))
        with pytest.raises(PeerGone):
            await stream.receive_some()
        # A call that comes in between is answered by the next life.
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        assert alice.supervisor.states()[0].restarts == 1
        assert len(alice.switch.listening()) == 1
        assert await say(bob.switch, alice.identity.peer_id) == b"hello"
        assert network.host(ALICE).streams == 1
    alices.check()
    bobs.check()
    assert alices.of(bob.identity.peer_id) == ["PeerJoined", "PeerLeft"] * 2


async def test_a_restart_keeps_the_port_unless_somebody_has_taken_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    host = MemoryNetwork().host(ALICE)
    transport = FragileTransport(host.transport)
    config = P2pConfig(listen_addrs=("/ip4/0.0.0.0/tcp/0",))

    async def crash() -> None:
        transport.listeners[-1].trouble.send_nowait(ZeroDivisionError("a bug in a listener"))
        await trio.sleep(0.05)
        assert alice.switch.listening() == ()

    async with open_switch(transport, "alice", config=config) as alice:
        before = alice.switch.announced()
        await crash()
        await trio.sleep(1)
        assert alice.switch.announced() == before
        await crash()
        squatter = await host.transport.listen(before[0])
        await trio.sleep(1)
        assert len(alice.switch.announced()) == 1
        assert alice.switch.announced() != before
        await squatter.aclose()


async def test_where_the_node_is_reached_is_told_as_it_changes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    routes: dict[int, str | None] = {4: None, 6: None}
    transport.source_address = lambda version: routes[version]
    async with (
        open_switch(transport, "alice") as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        # The node is started before the machine has a network.
        [listening] = alice.switch.listening()
        assert alice.switch.announced() == (Multiaddr.parse("/ip4/127.0.0.1/tcp/8070"),)
        routes[4] = ALICE
        await trio.sleep(LOOK + 1)
        here = Multiaddr.parse(f"/ip4/{ALICE}/tcp/8070")
        assert alice.addresses == (here,)
        assert alice.switch.listening() == (listening,)
        records = []

        async def told() -> SignedPeerRecord:
            await alice.switch.connect(bob.identity.peer_id, bob.addresses)
            await trio.sleep(1)
            [peer] = bob.switch.peers()
            await alice.switch.disconnect(bob.identity.peer_id)
            assert peer.record is not None
            return peer.record

        records.append(await told())
        # A network that is gone may come back: nobody is told that it is not there.
        routes[4] = None
        await trio.sleep(2 * LOOK)
        assert alice.addresses == (here,)
        routes[4] = CAROL
        await trio.sleep(LOOK + 1)
        records.append(await told())
    there = Multiaddr.parse(f"/ip4/{CAROL}/tcp/8070")
    assert [one.record.addresses for one in records] == [(here,), (there,)]
    assert records[0].record.seq < records[1].record.seq


async def test_trouble_with_accepting_is_waited_out(
    autojump_clock: trio.testing.MockClock, log: io.StringIO
) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    async with (
        open_switch(transport, "alice") as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        for _ in range(20):
            transport.listeners[0].trouble.send_nowait(OSError(24, "Too many open files"))
        start = trio.current_time()
        await bob.switch.connect(alice.identity.peer_id, alice.addresses)
        assert 5 < trio.current_time() - start < 20
        assert len(logged(log, "no connection can be taken for now")) == 1
        assert alice.supervisor.states()[0].restarts == 0


async def test_a_bug_in_dialling_is_a_verdict(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    transport.bug = ZeroDivisionError("a bug in a transport")
    async with (
        open_switch(transport, "alice") as alice,
        open_switch(network.host(BOB).transport, "bob") as bob,
    ):
        with pytest.raises(PeerUnreachable, match="this node failed over it"):
            await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        transport.bug = None
        await trio.sleep(10)
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        assert alice.supervisor.states()[0].restarts == 0


async def test_a_port_that_is_taken_fails_the_start_and_frees_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    host = MemoryNetwork().host(ALICE)
    taken = await host.transport.listen(Multiaddr.parse("/ip4/0.0.0.0/tcp/8070"))
    config = P2pConfig(listen_addrs=("/ip4/0.0.0.0/tcp/8069", "/ip4/0.0.0.0/tcp/8070"))
    with pytest.raises(PortTaken):
        async with open_switch(host.transport, config=config):
            raise AssertionError("it started")
    await taken.aclose()
    async with open_switch(host.transport, config=config) as alice:
        assert len(alice.switch.listening()) == 2


async def test_it_listens_and_announces_as_configured(autojump_clock: trio.testing.MockClock) -> None:
    host = MemoryNetwork().host(ALICE)
    config = P2pConfig(listen_addrs=("/ip4/0.0.0.0/tcp/0",), nat="extip:203.0.113.7", agent_string="Nodex")
    async with open_switch(host.transport, config=config) as alice:
        [listening] = alice.switch.listening()
        port = listening.get("tcp")
        assert port != "0"
        assert [str(one) for one in alice.addresses] == [f"/ip4/203.0.113.7/tcp/{port}"]
    assert alice.switch.listening() == alice.switch.announced() == ()
    assert alice.switch.peers() == []


async def test_stopping_lets_nobody_wait(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    slow = await network.host(CAROL).transport.listen(Multiaddr.parse("/ip4/10.0.0.3/tcp/8070"))
    outcomes: list[str] = []

    async def note(work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except (ServiceUnavailable, PeerGone) as error:
            outcomes.append(type(error).__name__)

    async with trio.open_nursery() as nursery:  # noqa: SIM117 - the nursery outlives the switches
        async with two(network) as (alice, bob):
            await alice.switch.connect(bob.identity.peer_id, bob.addresses)
            stream = await alice.switch.open_stream(bob.identity.peer_id, ECHO)
            carol = identity_of("carol").peer_id
            nursery.start_soon(note, partial(alice.switch.connect, carol, (slow.address,)))
            nursery.start_soon(note, stream.receive_some)
            await trio.sleep(1)
            network.partition([ALICE])
            nursery.start_soon(note, partial(alice.switch.open_stream, bob.identity.peer_id, ECHO))
            await trio.sleep(1)
            start = trio.current_time()
            report = await alice.supervisor.stop()
            assert report.laggards == ()
            assert trio.current_time() - start < 4
    assert sorted(outcomes) == ["PeerGone", "PeerGone", "ServiceUnavailable"]
    with pytest.raises(ServiceUnavailable):
        await alice.switch.connect(bob.identity.peer_id)


async def test_a_thousand_connections_leave_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with two(network) as (alice, bob):
        with leak_check():
            for number in range(1000):
                one, other = (alice, bob) if number % 2 else (bob, alice)
                await one.switch.connect(other.identity.peer_id, other.addresses)
                if number % 3:
                    await one.switch.disconnect(other.identity.peer_id)
                else:
                    await other.switch.connect(one.identity.peer_id)
                    await other.switch.disconnect(one.identity.peer_id)
                await trio.sleep(2)
                assert alice.switch.peers() == bob.switch.peers() == []
            await trio.sleep(60)
        assert network.host(ALICE).streams == network.host(BOB).streams == 0
        assert alice.supervisor.states()[0].restarts == bob.supervisor.states()[0].restarts == 0


async def test_a_switch_that_gave_up_is_told(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    transport = FragileTransport(network.host(ALICE).transport)
    async with open_switch(transport, "alice", policy=Policy(restarts=0)) as alice:
        transport.listeners[-1].trouble.send_nowait(ZeroDivisionError("a bug in a listener"))
        await trio.sleep(1)
        with pytest.raises(ServiceUnavailable):
            await alice.switch.disconnect(identity_of("bob").peer_id)
        assert alice.supervisor.states()[0].state is State.FAILED


async def test_traffic_keeps_to_its_bounds(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    bounded = evolve(CONFIG, upload_limit=1_000_000)
    async with (
        open_switch(network.host(ALICE).transport, "alice", config=bounded) as alice,
        open_switch(network.host(BOB).transport, "bob", handlers=echoing()) as bob,
        open_switch(network.host(CAROL).transport, "carol", handlers=echoing()) as carol,
    ):
        await alice.switch.connect(bob.identity.peer_id, bob.addresses)
        await alice.switch.connect(carol.identity.peer_id, carol.addresses)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, alice.switch, bob.identity.peer_id, bytes(2_000_000))
            nursery.start_soon(say, alice.switch, carol.identity.peer_id, bytes(2_000_000))
        assert 3.7 < trio.current_time() - start < 4.5


# -- everything at once


@pytest.mark.parametrize("seed", range(4))
async def test_a_storm_leaves_order_behind(
    seed: int, autojump_clock: trio.testing.MockClock, log: io.StringIO
) -> None:
    """Six nodes connect, part, talk, are cut off and crash, by a seed; then all is as if nothing had been."""
    dice = SeededEntropy(f"storm {seed}")

    def roll(sides: int) -> int:
        return int.from_bytes(dice.token(4)) % sides

    network = MemoryNetwork(seed, latency=0.03)
    ips = [f"10.0.3.{number}" for number in range(6)]
    transports = [FragileTransport(network.host(ip).transport) for ip in ips]
    diaries = [Diary() for _ in ips]
    small = evolve(CONFIG, max_peers=5)
    patient = Policy(restarts=1000, backoff_max=1.0)

    async def attempt(work: Callable[[], Awaitable[object]], patience: float) -> None:
        with trio.move_on_after(patience), suppress(PeerGone, PeerUnreachable, ServiceUnavailable):
            await work()

    async with trio.open_nursery() as listeners, AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                open_switch(transport, f"{number}", config=small, handlers=echoing(), policy=patient)
            )
            for number, transport in enumerate(transports)
        ]
        for node, diary in zip(nodes, diaries, strict=True):
            await listeners.start(diary.keep, node.switch)
        async with trio.open_nursery() as nursery:
            for _ in range(400):
                one, other = nodes[roll(6)], nodes[roll(6)]
                peer, addresses = other.identity.peer_id, other.addresses
                match roll(12):
                    case 0 | 1 | 2 | 3:
                        work = partial(one.switch.connect, peer, addresses)
                        nursery.start_soon(attempt, work, 0.05 * roll(40) + 0.01)
                    case 4 | 5:
                        nursery.start_soon(attempt, partial(one.switch.connect, peer, addresses), 100)
                    case 6:
                        nursery.start_soon(attempt, partial(one.switch.disconnect, peer), 100)
                    case 7 | 8:
                        nursery.start_soon(attempt, partial(say, one.switch, peer, bytes(100_000)), 10)
                    case 9:
                        network.partition(ips[: roll(6)])
                    case 10:
                        network.heal()
                    case _ if roll(4) == 0:
                        transports[roll(6)].listeners[-1].trouble.send_nowait(ZeroDivisionError("a bug"))
                await trio.sleep(0.01 * roll(100))
            network.heal()
        await trio.sleep(600)
        for one, other in combinations(nodes, 2):
            await one.switch.connect(other.identity.peer_id, other.addresses)
            assert await say(one.switch, other.identity.peer_id) == b"hello"
            assert await say(other.switch, one.identity.peer_id) == b"hello"
        await trio.sleep(60)
        for ip, node in zip(ips, nodes, strict=True):
            assert len(node.switch.peers()) == 5
            assert network.host(ip).streams == 5
    for ip, diary in zip(ips, diaries, strict=True):
        diary.check()
        assert len(diary.events) > 20
        assert network.host(ip).streams == 0
    # Nothing but the bugs that were put in.
    crashes = [line for line in log.getvalue().splitlines() if '"level": "error"' in line]
    assert crashes
    assert all("ZeroDivisionError: a bug" in line for line in crashes)


@pytest.mark.parametrize(("fuller", "shown"), [(True, True), (False, False)])
async def test_peers_are_shown_the_record_that_says_more(
    fuller: bool, shown: bool, autojump_clock: trio.testing.MockClock
) -> None:
    network, bob = MemoryNetwork(), identity_of("bob")
    place = f"/ip4/{BOB if fuller else CAROL}/tcp/8070"
    more = SignedPeerRecord.sign(bob, 7, [Multiaddr.parse(f"/ip4/{BOB}/udp/8090"), Multiaddr.parse(place)])
    async with (
        open_switch(network.host(ALICE).transport, "alice") as alice,
        open_switch(network.host(BOB).transport, "bob", record=lambda: more) as other,
    ):
        await alice.switch.connect(bob.peer_id, other.addresses)
        [info] = alice.switch.peers()
        assert info.record is not None
        # One that knows nothing of where connections are taken is kept back.
        assert (info.record == more) is shown
        assert other.addresses[0] in info.record.record.addresses
        assert info.listening == other.addresses


async def test_why_a_peer_left_is_told_also_where_both_had_dialled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    async with open_switch(network.host(ALICE).transport, "alice") as alice, alice.switch.events(8) as news:
        async with open_switch(network.host(BOB).transport, "bob") as bob, trio.open_nursery() as nursery:
            nursery.start_soon(alice.switch.connect, bob.identity.peer_id, bob.addresses)
            nursery.start_soon(bob.switch.connect, alice.identity.peer_id, alice.addresses)
            await trio.sleep(1)
        assert isinstance(await anext(news), PeerJoined)
        left = await anext(news)
        assert isinstance(left, PeerLeft)
        assert left.why == "the peer closed the connection"
