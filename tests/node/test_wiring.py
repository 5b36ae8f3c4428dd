"""How a node is put together: its services and their order, its ports, and what survives their crashes."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.config import Config, DiscoveryConfig, P2pConfig
from codex.errors import PortTaken, ServiceUnavailable
from codex.node import Node, open_node, wiring
from codex.p2p import PeerId
from codex.runtime import Call
from codex.runtime.lifecycle import State
from codex.testing.content import noise
from codex.testing.neighbourhood import LISTEN, open_test_network, wires
from codex.testing.network import Host, MemoryNetwork
from codex.testing.nodes import simulated

SERVICES = ["store", "p2p", "discovery", "exchange", "advertiser", "herald", "jobs"]


def config(directory: Path, *, discovery: DiscoveryConfig | None = None) -> Config:
    p2p = P2pConfig(listen_addrs=("/ip4/0.0.0.0/tcp/0",), nat="none")
    return Config(directory, p2p=p2p, discovery=discovery or DiscoveryConfig(lan=False))


def udp_port(node: Node) -> str:
    return (node.info().discovery_address or "").rpartition(":")[2]


@pytest.fixture
def host() -> Host:
    return MemoryNetwork().host("10.0.0.1")


async def test_the_services_of_a_node_with_a_network(
    tmp_path: Path, host: Host, autojump_clock: MockClock
) -> None:
    async with open_node(config(tmp_path), seams=simulated("alice", wires=wires(host))) as node:
        assert [service.name for service in node.states()] == SERVICES
        assert {service.state for service in node.states()} == {State.RUNNING}
    assert host.streams == 0


async def test_two_nodes_on_one_machine_just_work(
    tmp_path: Path, host: Host, autojump_clock: MockClock
) -> None:
    async with (
        open_node(config(tmp_path / "alice"), seams=simulated("alice", wires=wires(host))) as alice,
        open_node(config(tmp_path / "bob"), seams=simulated("bob", wires=wires(host))) as bob,
    ):
        assert udp_port(alice) == "8090"
        assert udp_port(bob) not in ("8090", "0", "")
        assert alice.info().addresses != bob.info().addresses


async def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(
    tmp_path: Path, host: Host, autojump_clock: MockClock
) -> None:
    asked = config(tmp_path / "bob", discovery=DiscoveryConfig(port_explicit=True, lan=False))
    listening = evolve(config(tmp_path / "carol"), p2p=P2pConfig(listen_addrs=(LISTEN,), nat="none"))
    alice = evolve(listening, data_dir=tmp_path / "alice")
    async with open_node(alice, seams=simulated("alice", wires=wires(host))):
        for other in (asked, listening):
            with pytest.raises(PortTaken):
                async with open_node(other, seams=simulated("bob", wires=wires(host))):
                    raise AssertionError("it started")


class Nonsense(Call[None]):
    """What no service knows: a bug of its own, over which it crashes."""


@pytest.mark.parametrize("service", ["p2p", "discovery", "exchange", "advertiser"])
async def test_a_service_of_the_network_that_crashes_comes_back(
    service: str, autojump_clock: MockClock
) -> None:
    content = noise(300_000)
    async with open_test_network("alice", "bob") as people:
        cid = await people["alice"].store(content)
        for node in people.nodes.values():
            mailbox = node._running.supervisor._units[service].mailbox
            with pytest.raises(ServiceUnavailable, match="crashed"):
                await mailbox.ask(Nonsense())
        await trio.sleep(30)
        async with people["bob"].retrieve(cid) as dataset:
            assert await dataset.read() == content
        for node in people.nodes.values():
            [state] = [one for one in node.states() if one.name == service]
            assert (state.state, state.restarts) == (State.RUNNING, 1)


class Room:
    """A network on which everybody hears what anybody says: members of one multicast group."""

    def __init__(self) -> None:
        self.members: list[Member] = []

    def enter(self, ip: str) -> "Member":
        member = Member(self, ip)
        self.members.append(member)
        return member


class Member:
    """One of them; the form in which the search for nodes nearby asks for a socket."""

    def __init__(self, room: Room, ip: str) -> None:
        self._room = room
        self._ip = ip
        self._send, self._receive = trio.open_memory_channel[tuple[bytes, tuple[str, int]]](64)

    def hosts(self) -> Sequence[str]:
        return [self._ip]

    async def send(self, data: bytes) -> None:
        for member in self._room.members:
            await member._send.send((data, (self._ip, 5353)))

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        return await self._receive.receive()

    def close(self) -> None:
        self._room.members.remove(self)


@pytest.mark.parametrize(
    ("listen", "ips"),
    [("/ip4/0.0.0.0/tcp/0", ("10.0.0.1", "10.0.0.2")), ("/ip6/::/tcp/0", ("fd00::1", "fd00::2"))],
)
async def test_nodes_nearby_find_each_other_and_share(
    tmp_path: Path, autojump_clock: MockClock, listen: str, ips: tuple[str, str]
) -> None:
    network, room, content = MemoryNetwork(), Room(), noise(300_000)

    def opened(name: str, ip: str) -> AbstractAsyncContextManager[Node]:
        near = evolve(wires(network.host(ip)), open_multicast=lambda: room.enter(ip))
        p2p = P2pConfig(listen_addrs=(listen,), nat="none")
        own = evolve(config(tmp_path / name, discovery=DiscoveryConfig()), p2p=p2p)
        return open_node(own, seams=simulated(name, wires=near))

    async with opened("alice", ips[0]) as alice, opened("bob", ips[1]) as bob:
        assert "lan" in [service.name for service in bob.states()]
        await trio.sleep(10)
        assert [peer.link.peer for peer in bob.peers()] == [alice.info().peer_id]
        cid = await alice.store(content)
        async with bob.retrieve(cid) as dataset:
            assert await dataset.read() == content
    assert room.members == []


async def test_with_enough_peers_those_nearby_are_not_dialled(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever tells of a thousand nodes nearby does not make this one call them all."""
    monkeypatch.setattr(wiring, "NEIGHBOURS", 1)
    network, room = MemoryNetwork(), Room()

    def opened(name: str, ip: str) -> AbstractAsyncContextManager[Node]:
        near = evolve(wires(network.host(ip)), open_multicast=lambda: room.enter(ip))
        return open_node(
            config(tmp_path / name, discovery=DiscoveryConfig()), seams=simulated(name, wires=near)
        )

    monkeypatch.setattr(wiring, "NEIGHBOURS", 0)
    async with opened("alice", "10.0.0.1") as alice, opened("bob", "10.0.0.2") as bob:
        await trio.sleep(60)
        assert alice.peers() == bob.peers() == []
        # They know of each other all the same.
        assert (acquaintances(alice), acquaintances(bob)) == ([bob.info().peer_id], [alice.info().peer_id])


def acquaintances(node: Node) -> list[PeerId]:
    """Those who answer, of the nodes that discovery knows."""
    return [known.peer_id for known in node.info().table if known.seen]


async def test_who_connects_is_met_by_discovery_too(autojump_clock: MockClock) -> None:
    async with open_test_network("alice") as people:
        alice, bob = people["alice"], await people.add("bob", bootstrap=())
        assert (acquaintances(alice), acquaintances(bob)) == ([], [])
        await bob.connect(alice.info().peer_id, alice.info().announced)
        await trio.sleep(2)
        assert (acquaintances(alice), acquaintances(bob)) == ([bob.info().peer_id], [alice.info().peer_id])
        # A third finds both by the one that it connects to.
        carol = await people.add("carol", bootstrap=())
        await carol.connect(alice.info().peer_id, alice.info().announced)
        await trio.sleep(60)
        assert set(acquaintances(carol)) == {alice.info().peer_id, bob.info().peer_id}
