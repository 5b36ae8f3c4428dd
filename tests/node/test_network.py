"""Connecting: who is looked up first, who need not be, and who is refused."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from codex.codec import Multiaddr
from codex.config import Config, DiscoveryConfig, P2pConfig
from codex.errors import InvalidInput, NotFound, PeerUnreachable
from codex.node import Node, open_node
from codex.node.network import MAX_ADDRESSES, Network
from codex.p2p import PeerId, SignedPeerRecord, Switch
from codex.testing.content import noise
from codex.testing.neighbourhood import wires
from codex.testing.network import MemoryNetwork
from codex.testing.nodes import simulated
from codex.testing.switches import OpenSwitch, identity_of, open_switch

ALICE, BOB = "10.0.0.1", "10.0.0.2"
CAROL = identity_of("carol").peer_id
DEAD = "/ip4/10.0.0.9/tcp/8070"


@define(eq=False)
class Directory:
    """Discovery that knows these records, and writes down who was looked for."""

    known: dict[PeerId, SignedPeerRecord] = field(factory=dict)
    asked: list[PeerId] = field(factory=list)

    async def find_peer(self, peer: PeerId) -> SignedPeerRecord | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(peer)
        return self.known.get(peer)


@define(eq=False)
class World:
    """Alice's part of a network with bob in it, and what discovery knows."""

    network: Network
    directory: Directory
    alice: Switch
    bob: OpenSwitch


@pytest.fixture
async def world(autojump_clock: MockClock) -> AsyncIterator[World]:
    hosts = MemoryNetwork()
    async with (
        open_switch(hosts.host(ALICE).transport, "alice") as alice,
        open_switch(hosts.host(BOB).transport, "bob") as bob,
    ):
        directory, unused = Directory(), lambda *_: None
        rest: Any = {"exchange": None, "advertiser": None}
        network = Network(switch=alice.switch, discovery=directory, stored=unused, **rest)  # type: ignore[arg-type]
        yield World(network, directory, alice.switch, bob)


async def test_a_peer_is_dialled_where_one_says(world: World) -> None:
    bob = world.bob.identity.peer_id
    await world.network.connect(bob, [str(world.bob.addresses[0])])
    assert world.alice.is_connected(bob)
    assert world.directory.asked == []


@pytest.mark.parametrize("addresses", [(), ("nonsense", "/ip4/1.2.3")])
async def test_a_peer_without_a_usable_address_is_looked_up(world: World, addresses: tuple[str, ...]) -> None:
    bob = world.bob.identity.peer_id
    world.directory.known[bob] = SignedPeerRecord.sign(world.bob.identity, 1, world.bob.addresses)
    await world.network.connect(bob, addresses)
    assert world.alice.is_connected(bob)
    assert world.directory.asked == [bob]


@pytest.mark.parametrize("addresses", [(), (DEAD,)])
async def test_who_is_connected_is_neither_looked_up_nor_dialled(
    world: World, addresses: tuple[str, ...]
) -> None:
    bob = world.bob.identity.peer_id
    await world.network.connect(bob, [str(world.bob.addresses[0])])
    dialled: list[PeerId] = []
    plain = world.alice.connect

    async def connect(peer: PeerId, addresses: tuple[Multiaddr, ...] = ()) -> None:
        dialled.append(peer)
        await plain(peer, addresses)

    world.alice.connect = connect  # type: ignore[assignment, method-assign]
    await world.network.connect(bob, addresses)
    assert (world.directory.asked, dialled) == ([], [])


async def test_who_is_not_found_or_not_reached_is_told(world: World, autojump_clock: MockClock) -> None:
    with pytest.raises(NotFound, match="was not found"):
        await world.network.connect(CAROL)
    with pytest.raises(PeerUnreachable):
        await world.network.connect(CAROL, [DEAD])
    with pytest.raises(InvalidInput, match="itself"):
        await world.network.connect(world.alice.peer_id, [DEAD])
    assert world.directory.asked == [CAROL]


async def test_of_very_many_addresses_some_are_dialled(world: World) -> None:
    bob = world.bob.identity.peer_id
    with pytest.raises(NotFound):
        await world.network.connect(bob, ["nonsense"] * MAX_ADDRESSES + [str(world.bob.addresses[0])])
    assert world.directory.asked == [bob]


# -- bounds on the traffic


@pytest.mark.parametrize(
    ("giver", "taker", "seconds"),
    [
        ({"upload_limit": 100_000}, {}, 10.4),
        ({}, {"download_limit": 200_000}, 5.2),
        ({"upload_limit": 100_000}, {"download_limit": 200_000}, 10.4),
        # What goes the other way is not meant.
        ({"download_limit": 20_000}, {"upload_limit": 20_000}, 0.3),
    ],
)
async def test_a_dataset_comes_as_fast_as_both_allow(
    giver: dict[str, int],
    taker: dict[str, int],
    seconds: float,
    tmp_path: Path,
    autojump_clock: MockClock,
) -> None:
    hosts, content = MemoryNetwork(), noise(1_000_000)

    def opened(name: str, ip: str, limits: dict[str, int]) -> AbstractAsyncContextManager[Node]:
        p2p = P2pConfig(listen_addrs=("/ip4/0.0.0.0/tcp/8070",), nat="none", **limits)  # type: ignore[arg-type]
        config = Config(tmp_path / name, p2p=p2p, discovery=DiscoveryConfig(lan=False))
        return open_node(config, seams=simulated(name, wires=wires(hosts.host(ip))))

    async with opened("alice", ALICE, giver) as alice, opened("bob", BOB, taker) as bob:
        cid = await alice.store(content)
        await bob.connect(alice.info().peer_id, alice.info().announced)
        start = trio.current_time()
        async with bob.retrieve(cid) as dataset:
            assert await dataset.read() == content
        # What is told besides takes its share, and a quarter of a second may be moved at once.
        assert trio.current_time() - start == pytest.approx(seconds, rel=0.1, abs=0.5)
