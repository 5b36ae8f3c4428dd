"""The exchange over real connections: switches, discovery and stores as in a node, on a network in memory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import frozen

from codex.codec import Multiaddr
from codex.config import DiscoveryConfig, ExchangeConfig
from codex.data import Block
from codex.discovery import Board, Discovery
from codex.discovery.service import DiscoveryService
from codex.errors import NotOnNetwork
from codex.exchange import Exchange, ExchangeBoard
from codex.exchange.service import ExchangeService
from codex.p2p import Handlers, PeerId, SignedPeerRecord, Switch
from codex.runtime import Inline, Policy, SeededEntropy, VirtualClock, open_supervisor
from codex.store import BlockStore
from codex.testing.network import MemoryNetwork
from codex.testing.stores import make_dataset, open_test_store, store_dataset
from codex.testing.switches import EPOCH, open_switch

UDP = 8090


@frozen
class Node:
    peer_id: PeerId
    switch: Switch
    discovery: Discovery
    store: BlockStore
    exchange: Exchange
    service: ExchangeService

    async def fetch(self, tree, count):
        got = {}
        async with self.exchange.fetch_leaves(tree, count, range(count)) as arrivals:
            async for batch in arrivals:
                got.update(batch)
        return got


@asynccontextmanager
async def open_node(
    network: MemoryNetwork,
    ip: str,
    name: str,
    directory: Path,
    bootstrap: Sequence[SignedPeerRecord] = (),
    config: ExchangeConfig | None = None,
) -> AsyncIterator[Node]:
    """Everything of a node that the exchange stands on."""
    handlers = Handlers()
    board, clock = ExchangeBoard(handlers), VirtualClock(EPOCH)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        opened = await enter(open_switch(network.host(ip).transport, name, handlers=handlers))
        store = await enter(open_test_store(directory / name))
        supervisor = await enter(open_supervisor(clock=clock))
        spot = Board.of(opened.identity, clock.now())

        def discovery_service() -> DiscoveryService:
            return DiscoveryService(
                DiscoveryConfig(UDP),
                opened.identity,
                board=spot,
                open_socket=network.host(ip).bind,
                directory=directory / name / "dht",
                bootstrap=bootstrap,
                clock=clock,
                entropy=SeededEntropy(name),
                offload=Inline(),
            )

        discovery = Discovery(await supervisor.start("discovery", discovery_service, Policy()), spot)
        tcp = Multiaddr.of(("ip4", ip), ("tcp", "8070"))
        await discovery.announce_addresses([tcp], Multiaddr.of(("ip4", ip), ("udp", str(UDP))))
        parts = {"switch": opened.switch, "discovery": discovery, "store": store, "board": board}
        service = ExchangeService(config or ExchangeConfig(), offload=Inline(), **parts)
        mailbox = await supervisor.start("exchange", lambda: service, Policy())
        yield Node(
            opened.identity.peer_id, opened.switch, discovery, store, Exchange(mailbox, board), service
        )


@pytest.fixture
async def five(tmp_path, autojump_clock):
    """Five nodes that know each other by discovery and by nothing else."""
    network = MemoryNetwork("five", latency=0.02)
    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for number, name in enumerate(("alice", "bob", "carol", "dave", "erin")):
            bootstrap = [nodes[0].discovery.record()] if nodes else []
            opened = open_node(network, f"10.0.0.{number + 1}", name, tmp_path, bootstrap)
            nodes.append(await stack.enter_async_context(opened))
        yield network, nodes


def blocks_of(count: int, size: int = 65536) -> list[Block]:
    return [Block.of(number.to_bytes(8, "big") * (size // 8)) for number in range(count)]


async def test_found_by_discovery_dialled_and_fetched(five, autojump_clock):
    _, (alice, bob, *_) = five
    blocks = blocks_of(150)
    manifest_cid = await store_dataset(alice.store, blocks)
    _, manifest = make_dataset(blocks)
    await alice.discovery.provide(manifest_cid)
    await alice.discovery.provide(manifest.tree_cid)
    start = trio.current_time()
    await bob.exchange.fetch_block(manifest_cid)
    assert await bob.store.get_manifest(manifest_cid) is not None
    assert await bob.fetch(manifest.tree_cid, 150) == dict(enumerate(blocks))
    assert trio.current_time() - start < 15
    trade = bob.exchange.ledger()[alice.peer_id]
    assert (trade.blocks_in, trade.wants_ours) == (151, 0)
    assert alice.exchange.ledger()[bob.peer_id].bytes_out >= 150 * 65536


async def test_four_seeders_take_part(five, autojump_clock):
    _, (alice, bob, carol, dave, erin) = five
    blocks = blocks_of(400)
    for seeder in (alice, carol, dave, erin):
        await store_dataset(seeder.store, blocks)
    _, manifest = make_dataset(blocks)
    for seeder in (alice, carol, dave, erin):
        await seeder.discovery.provide(manifest.tree_cid)
    assert len(await bob.fetch(manifest.tree_cid, 400)) == 400
    shares = [bob.exchange.ledger()[seeder.peer_id].blocks_in for seeder in (alice, carol, dave, erin)]
    assert sum(shares) == 400
    assert min(shares) > 0


async def test_a_seeder_crashes_in_the_middle(five, autojump_clock):
    network, (alice, bob, carol, *_) = five
    blocks = blocks_of(400)
    for seeder in (alice, carol):
        await store_dataset(seeder.store, blocks)
    _, manifest = make_dataset(blocks)
    for seeder in (alice, carol):
        await seeder.discovery.provide(manifest.tree_cid)
    got = {}
    async with bob.exchange.fetch_leaves(manifest.tree_cid, 400, range(400)) as arrivals:
        async for batch in arrivals:
            if not got:
                network.partition(["10.0.0.1"], ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"])
            got.update(batch)
    assert len(got) == 400
    network.heal()


async def test_nobody_has_it(five, autojump_clock):
    _, (_, bob, *_) = five
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match="no peer was found"):
        await bob.fetch(blocks_of(1)[0].cid, 1)
    assert trio.current_time() - start < 20


async def test_a_download_that_is_left_leaves_no_want_at_the_seeder(five, autojump_clock):
    _, (alice, bob, *_) = five
    blocks = blocks_of(300)
    await store_dataset(alice.store, blocks)
    _, manifest = make_dataset(blocks)
    await alice.discovery.provide(manifest.tree_cid)
    async with bob.exchange.fetch_leaves(manifest.tree_cid, 300, range(300)) as arrivals:
        async for _ in arrivals:
            break
    await trio.sleep(2)
    assert bob.exchange.ledger()[alice.peer_id].wants_ours == 0
    assert alice.exchange.ledger()[bob.peer_id].wants_theirs == 0
    assert alice.service._ledger.bytes == 0


async def test_a_provider_that_moved_is_looked_up_by_its_name(tmp_path, autojump_clock):
    network = MemoryNetwork("moved", latency=0.02)
    blocks = blocks_of(20)
    _, manifest = make_dataset(blocks)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        carol = await enter(open_node(network, "10.0.0.1", "carol", tmp_path))
        company = [carol.discovery.record()]
        dave = await enter(open_node(network, "10.0.0.2", "dave", tmp_path, company))
        bob = await enter(open_node(network, "10.0.0.3", "bob", tmp_path, company))
        async with open_node(network, "10.0.0.4", "alice", tmp_path, company) as alice:
            await alice.discovery.wait_for_peers()
            await alice.discovery.provide(manifest.tree_cid)
            # Bob has met her where she was.
            assert await bob.discovery.find_peer(alice.peer_id) == alice.discovery.record()
        await trio.sleep(60)
        # She is elsewhere now, and has not said yet what she has.
        alice = await enter(open_node(network, "10.0.0.5", "alice", tmp_path / "anew", company))
        await store_dataset(alice.store, blocks)
        await alice.discovery.wait_for_peers()
        [record] = await dave.discovery.find_providers(manifest.tree_cid)
        assert [str(address) for address in record.record.addresses] == ["/ip4/10.0.0.4/tcp/8070"]
        assert await bob.fetch(manifest.tree_cid, 20) == dict(enumerate(blocks))
