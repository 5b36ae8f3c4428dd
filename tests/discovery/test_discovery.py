"""Discovery as a whole: nodes on a network in memory, on virtual time, that come, go, lie and are cut off."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from math import log2
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.codec import Cid, Multiaddr, manifest_cid
from codex.config import DiscoveryConfig, LogConfig
from codex.discovery import Board, Discovery
from codex.discovery.distance import content_id
from codex.discovery.events import Asked, Contact, Send
from codex.discovery.messages import (
    AddProvider,
    FindNode,
    FindNodeFast,
    GetProviders,
    Ping,
    Pong,
    Providers,
    nodes_answer,
)
from codex.discovery.messenger import Messenger
from codex.discovery.providers import TTL
from codex.discovery.service import DiscoveryService
from codex.discovery.table import K
from codex.discovery.upkeep import CHECK
from codex.errors import PortTaken
from codex.logs import configured
from codex.p2p import Identity, PeerId, SignedPeerRecord
from codex.runtime import Inline, Mailbox, Policy, SeededEntropy, open_supervisor
from codex.testing.dht import PORT, DhtNode, DhtWorld, open_dht
from codex.testing.network import Host

CIDS = [manifest_cid(b"content %d" % number) for number in range(40)]


def names(records: list[SignedPeerRecord]) -> set[PeerId]:
    return {record.record.peer_id for record in records}


def names_in(node: DhtNode) -> set[PeerId]:
    return {known.peer_id for known in node.discovery.table()}


async def grow(world: DhtWorld, count: int, *, ip: str = "10.0.{}.{}") -> list[DhtNode]:
    """Let nodes join one after the other, all by the first."""
    nodes: list[DhtNode] = []
    for number in range(count):
        boot = [nodes[0].record] if nodes else []
        nodes.append(await world.join(ip.format(number // 200, number % 200 + 1), boot))
        await trio.sleep(0.5)
    await trio.sleep(30)
    return nodes


async def found(finder: DhtNode, cid: Cid) -> set[PeerId]:
    return names(await finder.discovery.find_providers(cid))


# Two nodes


async def test_two_nodes_find_what_the_other_has(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path) as world:
        alice, bob = await grow(world, 2)
        assert await alice.discovery.find_providers(CIDS[0]) == []
        assert await alice.discovery.provide(CIDS[0]) == 1
        [record] = await bob.discovery.find_providers(CIDS[0])
        assert record.record.peer_id == alice.peer_id
        assert [str(address) for address in record.record.addresses] == ["/ip4/10.0.0.1/tcp/8070"]
        assert await found(alice, CIDS[0]) == set()  # nobody looks for himself
        assert (alice.discovery.stats().peers, bob.discovery.stats().peers) == (1, 1)


async def test_a_node_finds_content_within_a_second_of_its_start(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path, latency=0.001) as world:
        boot = await world.join("10.0.0.1")
        alice = await world.join("10.0.0.2", [boot.record])
        await trio.sleep(5)
        started = trio.current_time()
        assert await alice.discovery.provide(CIDS[0]) == 1
        bob = await world.join("10.0.0.3", [boot.record])
        assert await found(bob, CIDS[0]) == {alice.peer_id}
        assert trio.current_time() - started < 0.2


async def test_a_node_without_company_says_so_and_finds_nothing_in_no_time(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        alice = await world.join("10.0.0.1")
        await trio.sleep(100)
        assert alice.discovery.stats().searching
        assert alice.discovery.table() == []
        started = trio.current_time()
        assert await alice.discovery.find_providers(CIDS[0]) == []
        assert await alice.discovery.provide(CIDS[0]) == 0
        assert await alice.discovery.find_peer(Identity.generate(SeededEntropy("carol")).peer_id) is None
        assert trio.current_time() == started


async def test_what_was_told_to_nobody_is_told_to_newcomers(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        alice = await world.join("10.0.0.1")
        await alice.discovery.provide(CIDS[0])
        bob = await world.join("10.0.0.2", [alice.record])
        assert await found(bob, CIDS[0]) == {alice.peer_id}


async def test_one_that_moved_is_found_where_others_say_that_it_is(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        carol, bob, alice = await grow(world, 3)
        old = alice.record
        assert await bob.discovery.find_peer(alice.peer_id) == old
        await world.die(alice)
        world._identities["10.0.0.9"] = alice.identity
        # Bob does not hear that she comes back elsewhere, and will ask her where she was.
        world.network.partition([bob.ip])
        alice = await world.join("10.0.0.9", [carol.record])
        await alice.discovery.wait_for_peers()
        await trio.sleep(1)
        world.network.heal()
        assert alice.record.record.seq > old.record.seq
        assert await bob.discovery.find_peer(alice.peer_id) == alice.record


async def test_a_bootstrap_node_that_comes_late_is_found(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path) as world:
        boot = await world.join("10.0.0.1")
        record = boot.record
        await world.leave(boot)
        alice = await world.join("10.0.0.2", [record])
        await trio.sleep(600)
        stats = alice.discovery.stats()
        assert stats.searching
        assert stats.packets.sent < 100  # ever rarer, and never given up
        await world.join("10.0.0.1")
        await trio.sleep(61)
        assert alice.discovery.stats().peers == 1
        assert not alice.discovery.stats().searching


async def test_a_node_that_is_added_is_company(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path) as world:
        alice, bob = await world.join("10.0.0.1"), await world.join("10.0.0.2")
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bob.discovery.wait_for_peers)
                assert await alice.discovery.add_node(bob.record)
        await alice.discovery.provide(CIDS[0])
        assert await found(bob, CIDS[0]) == {alice.peer_id}
        gone = await world.join("10.0.0.3")
        record = gone.record
        await world.leave(gone)
        assert not await alice.discovery.add_node(record)
        assert not await alice.discovery.add_node(alice.record)
        assert [node.peer_id for node in alice.discovery.table()] == [bob.peer_id]


# Names and addresses


async def test_a_peer_is_found_by_its_name_with_where_it_takes_connections(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 12)
        for number in (1, 5, 11):
            record = await nodes[2].discovery.find_peer(nodes[number].peer_id)
            assert record is not None
            assert record.record.peer_id == nodes[number].peer_id
            assert f"/ip4/{nodes[number].ip}/tcp/8070" in map(str, record.record.addresses)
        assert await nodes[2].discovery.find_peer(nodes[2].peer_id) == nodes[2].record
        stranger = Identity.generate(SeededEntropy("stranger")).peer_id
        assert await nodes[2].discovery.find_peer(stranger) is None


async def test_new_addresses_are_learned_by_those_who_know_us(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        alice, bob = await grow(world, 2)
        await alice.discovery.provide(CIDS[0])
        seq = alice.record.record.seq
        tcp, udp = Multiaddr.parse("/ip4/10.0.0.1/tcp/9999"), Multiaddr.parse(f"/ip4/10.0.0.1/udp/{PORT}")
        await alice.discovery.announce_addresses([tcp], udp)
        assert alice.record.record.seq == seq + 1
        await trio.sleep(30)
        [node] = bob.discovery.table()
        assert SignedPeerRecord.parse(node.record) == alice.record
        record = await bob.discovery.find_peer(alice.peer_id)
        assert record == alice.record
        await alice.discovery.provide(CIDS[0])
        [provider] = await bob.discovery.find_providers(CIDS[0])
        assert provider.record.addresses == (tcp,)


async def test_the_table_shows_who_answers_and_stats_where_we_are_seen(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 14)
        await trio.sleep(280)
        table = nodes[0].discovery.table()
        assert {node.peer_id for node in table} == {node.peer_id for node in nodes[1:]}
        assert all(node.seen for node in table)
        assert {node.address for node in table} == {f"{node.ip}:{PORT}" for node in nodes[1:]}
        assert all(node.node_id == node.peer_id.node_id for node in table)
        stats = nodes[0].discovery.stats()
        assert stats.seen_at == f"10.0.0.1:{PORT}"
        assert (stats.peers, stats.nodes, stats.searching) == (13, 13, False)
        assert stats.packets.garbage == 0


# Content


async def test_a_provider_is_forgotten_after_a_day(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path) as world:
        alice, bob, carol = await grow(world, 3)
        await alice.discovery.provide(CIDS[0])
        await trio.sleep(1)
        for node in (alice, bob, carol):
            await world.leave(node)
        await trio.sleep(TTL - 120)
        bob = await world.join(bob.ip)
        dave = await world.join("10.0.0.9", [bob.record])
        await dave.discovery.provide(CIDS[0])
        assert await found(bob, CIDS[0]) == {alice.peer_id, dave.peer_id}
        await trio.sleep(120)
        assert await found(bob, CIDS[0]) == {dave.peer_id}
        await trio.sleep(300)
        assert bob.discovery.stats().said == 1


async def test_a_provider_that_was_not_there_is_forgotten_at_a_word(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        alice, bob = await grow(world, 2)
        await alice.discovery.provide(CIDS[0])
        await alice.discovery.provide(CIDS[1])
        await trio.sleep(1)
        assert bob.discovery.stats().said == 2
        await bob.discovery.forget_provider(alice.peer_id)
        assert bob.discovery.stats().said == 0


async def test_providers_are_found_though_many_of_their_neighbours_left(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 30)
        for number in range(10):
            assert await nodes[number].discovery.provide(CIDS[number]) == K
        for node in nodes[20:]:
            await world.die(node)
        for number in range(10):
            started = trio.current_time()
            assert nodes[number].peer_id in await found(nodes[10 + number], CIDS[number])
            assert trio.current_time() - started < 3


@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.soak)])
async def test_in_a_large_network_everything_is_found_in_few_hops(
    tmp_path: Path, autojump_clock: MockClock, count: int
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, count)
        hops = []
        for number, cid in enumerate(CIDS):
            giver, finder = nodes[number * 7 % count], nodes[(number * 13 + 5) % count]
            assert await giver.discovery.provide(cid) == K
            before = finder.discovery.stats()
            assert await found(finder, cid) == {giver.peer_id} - {finder.peer_id}
            after = finder.discovery.stats()
            if after.lookups > before.lookups:
                hops.append(after.hops - before.hops)
        assert max(hops, default=0) <= log2(count)


async def test_a_network_behind_one_public_neighbourhood_works(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 20, ip="8.8.8.{1}")
        for number in range(10):
            assert await nodes[number].discovery.provide(CIDS[number]) >= 1
            assert await found(nodes[19 - number], CIDS[number]) == {nodes[number].peer_id}


async def test_a_lossy_network_works(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path, loss=0.1) as world:
        nodes = await grow(world, 12)
        for number in range(12):
            await nodes[number].discovery.provide(CIDS[number])
        successes = 0
        for number in range(12):
            successes += nodes[number].peer_id in await found(nodes[(number + 5) % 12], CIDS[number])
        assert successes >= 11


# Coming back


async def test_after_a_restart_a_node_knows_whom_to_ask_and_what_it_was_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 8)
        await nodes[1].discovery.provide(CIDS[0])
        await trio.sleep(1)
        before = nodes[3].discovery.stats()
        await world.leave(nodes[3])
        await world.leave(nodes[0])  # the one that all were told of
        await trio.sleep(3600)
        again = await world.join(nodes[3].ip)
        await trio.sleep(5)
        stats = again.discovery.stats()
        assert stats.peers == 6
        assert stats.said == before.said == 1
        assert await found(again, CIDS[0]) == {nodes[1].peer_id}


async def test_who_comes_back_from_the_disk_is_asked_before_it_is_told_to_others(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 4)
        for node in nodes:
            await world.leave(node)
        alice = await world.join(nodes[0].ip)
        assert alice.discovery.stats().seeds == 3
        bob = await world.join("10.0.9.9", [alice.record])
        await trio.sleep(60)
        assert [node.peer_id for node in bob.discovery.table()] == [alice.peer_id]


async def test_a_crash_in_the_middle_costs_half_a_minute_of_memory(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 4)
        await nodes[1].discovery.provide(CIDS[0])
        await trio.sleep(40)
        await world.die(nodes[2])
        again = await world.join(nodes[2].ip)
        assert again.discovery.stats().said == 1
        await trio.sleep(5)
        assert again.discovery.stats().peers == 3


async def test_a_network_that_was_cut_in_two_becomes_one_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 10)
        one, other = nodes[:5], nodes[5:]
        world.network.partition([node.ip for node in one], [node.ip for node in other])
        await trio.sleep(1200)
        assert {node.peer_id for node in other[0].discovery.table()} >= {node.peer_id for node in other[1:]}
        await one[1].discovery.provide(CIDS[0])
        assert await found(one[2], CIDS[0]) == {one[1].peer_id}
        assert await found(other[2], CIDS[0]) == set()
        await other[3].discovery.provide(CIDS[1])
        world.network.heal()
        await trio.sleep(600)
        assert await found(other[2], CIDS[0]) == {one[1].peer_id}
        assert await found(one[4], CIDS[1]) == {other[3].peer_id}


@pytest.mark.parametrize("count", [8, pytest.param(30, marks=pytest.mark.soak)])
async def test_a_day_of_coming_and_going_leaves_nothing_behind(
    tmp_path: Path, autojump_clock: MockClock, count: int
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, count)
        ips = [node.ip for node in nodes]
        tasks = trio.lowlevel.current_statistics().tasks_living
        most = 0
        for hour in range(24):
            leaver = world.nodes[hour % count]
            boot = [node.record for node in world.nodes if node is not leaver][:2]
            await (world.leave if hour % 2 else world.die)(leaver)
            await trio.sleep(1800)
            fresh = await world.join(leaver.ip if hour % 3 else f"10.0.5.{hour + 1}", boot)
            await trio.sleep(1800)
            await fresh.discovery.provide(CIDS[hour])
            assert await found(world.nodes[0], CIDS[hour]) == {fresh.peer_id}
            await trio.sleep(3)
            for node in world.nodes:
                stats = node.discovery.stats()
                most = max(most, stats.requests, stats.waiting)
                assert count - 3 <= stats.nodes <= count
                assert stats.sessions <= 4 * count
                assert stats.said <= 24
                assert stats.seeds <= count + 24
        assert most <= 2
        assert len(world.nodes) == len(ips)
        assert abs(trio.lowlevel.current_statistics().tasks_living - tasks) <= 4
        sockets = [socket for host in world.network._hosts.values() for socket in host._sockets.values()]
        assert len(sockets) == count
        # One of them may be in the middle of a question: what has come by now is to be read first.
        await wait_all_tasks_blocked()
        assert not any(socket._queue for socket in sockets)


async def test_where_nothing_changes_little_is_said_and_who_is_gone_is_noticed(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 14)

        def sent() -> int:
            return sum(node.discovery.stats().packets.sent for node in nodes)

        await trio.sleep(1200)
        before = sent()
        await trio.sleep(1800)
        # About every 5 minutes each two of them hear of each other, by a question and its answer: that makes
        # 78 packets of each. The rest is a search or two.
        assert (sent() - before) / 14 < 200
        assert [node.discovery.stats().peers for node in nodes] == [13] * 14
        gone = nodes.pop()
        await world.die(gone)
        await trio.sleep(600)
        assert all(gone.peer_id not in names_in(node) for node in nodes)


async def test_a_busy_minute_in_which_nobody_answers_in_time_costs_no_node_its_table(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 10)
        await trio.sleep(300)
        ips = [node.ip for node in nodes]
        assert [node.discovery.stats().peers for node in nodes] == [9] * 10
        world.network.partition(*[[ip] for ip in ips])
        with trio.move_on_after(20):
            async with trio.open_nursery() as nursery:
                for number, node in enumerate(nodes):
                    nursery.start_soon(node.discovery.provide, CIDS[number])
                    nursery.start_soon(node.discovery.find_providers, CIDS[number + 10])
        world.network.heal()
        assert min(node.discovery.stats().peers for node in nodes) >= 8
        await trio.sleep(60)
        assert [node.discovery.stats().peers for node in nodes] == [9] * 10


async def test_a_table_that_has_shrunk_is_filled_again_with_those_that_are_remembered(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 12)
        await trio.sleep(60)
        ips = [node.ip for node in nodes]
        world.network.partition(ips[:2], ips[2:])
        await trio.sleep(450)
        assert nodes[1].discovery.stats().peers == 1
        world.network.heal()
        # They have each other, so that nobody is alone and searches.
        await trio.sleep(10 * CHECK)
        assert nodes[1].discovery.stats().peers == 11


# Those who mean ill


class Liar:
    """A node of its own making: `answer` gives what it says to each question."""

    def __init__(self, host: Host, name: str, world: DhtWorld) -> None:
        self.identity = Identity.generate(SeededEntropy(name))
        self.host = host
        self.record = SignedPeerRecord.sign(
            self.identity,
            int(world.clock.now()),
            [Multiaddr.of(("ip4", host.ip), ("udp", str(PORT)))],
        )
        self.messenger = Messenger(
            self.identity, lambda: self.record, entropy=SeededEntropy(name), known=lambda node_id: None
        )
        self.inventions: list[SignedPeerRecord] = []
        self.asked = 0

    def answer(self, asked: Asked) -> list[Any]:
        self.asked += 1
        match asked.message:
            case Ping():
                return [Pong(self.record.record.seq, *asked.contact.address)]
            case FindNode((0,)):
                return nodes_answer([self.record])
            case FindNode() | FindNodeFast():
                start = self.asked * 7 % max(1, len(self.inventions))
                return list(nodes_answer((self.inventions * 2)[start:]))
            case GetProviders():
                return [Providers(1, tuple(self.inventions[:5]))]
        return []

    async def run(self, targets: list[DhtNode], task_status: trio.TaskStatus[None]) -> None:
        socket = self.host.bind(PORT)
        for target in targets:
            _, sends = self.messenger.request(Contact.of(target.record), Ping(1), trio.current_time())
            for send in sends:
                await socket.send(send.data, send.to)
        task_status.started()
        while True:
            data, source = await socket.receive()
            for event in self.messenger.receive(data, source, trio.current_time()):
                if isinstance(event, Asked):
                    for send in self.messenger.respond(event, *self.answer(event)):
                        await socket.send(send.data, send.to)
                elif isinstance(event, Send):
                    await socket.send(event.data, event.to)


@asynccontextmanager
async def with_liars(world: DhtWorld, count: int, ip: str, inventions: int) -> AsyncIterator[list[Liar]]:
    """Liars that everybody knows, and who all tell of the same nodes that are not there."""
    invented = [
        SignedPeerRecord.sign(
            Identity.generate(SeededEntropy(f"invented {number}")),
            1,
            [Multiaddr.parse(f"/ip4/10.{100 + number % 50}.{number // 50}.9/udp/{PORT}")],
        )
        for number in range(inventions)
    ]
    async with trio.open_nursery() as nursery:
        liars = []
        for number in range(count):
            liar = Liar(world.network.host(ip.format(number + 1)), f"liar {number}", world)
            liar.inventions = invented
            await nursery.start(liar.run, world.nodes)
            liars.append(liar)
        yield liars
        nursery.cancel_scope.cancel()


async def test_a_flood_of_invented_nodes_fills_no_table_and_hides_nobody(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 12)
        async with with_liars(world, 3, "10.66.0.{}", 300) as liars:
            await trio.sleep(300)
            assert all(liar.asked for liar in liars)
            for number in range(12):
                assert await nodes[number].discovery.provide(CIDS[number]) >= 8
            await trio.sleep(60)
            successes, slowest = 0, 0.0
            for number in range(12):
                started = trio.current_time()
                successes += nodes[number].peer_id in await found(nodes[(number + 5) % 12], CIDS[number])
                slowest = max(slowest, trio.current_time() - started)
            assert successes >= 11
            assert slowest < 10.1
            for node in nodes:
                stats = node.discovery.stats()
                assert stats.nodes <= K * stats.buckets
                assert stats.waiting <= 8 * stats.buckets
                assert stats.requests < 100
        # Once they are gone, so is what they made up.
        await trio.sleep(900)
        real = {node.peer_id for node in nodes} | {liar.identity.peer_id for liar in liars}
        assert {node.peer_id for node in nodes[0].discovery.table() if node.seen} <= real


async def test_one_neighbourhood_full_of_attackers_gets_a_few_places(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 10, ip="9.{1}.0.1")
        async with with_liars(world, 60, "66.6.6.{}", 0) as liars:
            await trio.sleep(900)
            bad = {liar.identity.peer_id for liar in liars}
            for node in nodes:
                table = node.discovery.table()
                assert sum(one.peer_id in bad for one in table) <= 32
            for number in range(10):
                await nodes[number].discovery.provide(CIDS[number])
                assert await found(nodes[(number + 5) % 10], CIDS[number]) == {nodes[number].peer_id}


async def test_providers_that_were_made_up_hide_no_others(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 8)
        await nodes[1].discovery.provide(CIDS[0])
        async with with_liars(world, 2, "10.66.0.{}", 30):
            await trio.sleep(60)
            providers = await nodes[5].discovery.find_providers(CIDS[0])
            assert nodes[1].peer_id in names(providers)
            assert len(providers) <= 200


async def test_nobody_can_put_a_provider_forward_that_is_not_himself(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        alice, bob = await grow(world, 2)
        async with with_liars(world, 1, "10.66.0.{}", 0) as [liar]:
            await trio.sleep(30)
            socket = liar.host.bind(9999)
            message = AddProvider(content_id(CIDS[0]), bob.record)
            _, sends = liar.messenger.request(Contact.of(alice.record), message, trio.current_time())
            for send in sends:
                await socket.send(send.data, send.to)
            await trio.sleep(5)
            assert alice.discovery.stats().said == 0


async def test_garbage_is_counted_told_of_once_a_minute_and_nothing_else(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    lines = io.StringIO()
    log = configured(LogConfig(level="info", format="json"), stream=lines)

    def told() -> list[dict[str, Any]]:
        return [line for line in map(json.loads, lines.getvalue().splitlines()) if "dropped" in line["event"]]

    with log:
        async with open_dht(tmp_path) as world:
            alice, bob = await grow(world, 2)
            assert told() == []
            entropy = SeededEntropy("garbage")
            socket = world.network.host("10.66.0.1").bind(PORT)
            for number in range(500):
                await socket.send(entropy.token(number * 3), (alice.ip, PORT))
                if number % 50 == 0:
                    await trio.sleep(0.1)
            await trio.sleep(1)
            stats = alice.discovery.stats()
            assert stats.packets.garbage >= 400
            assert stats.nodes == 1
            await bob.discovery.provide(CIDS[0])
            assert await found(alice, CIDS[0]) == {bob.peer_id}
            await trio.sleep(120)
            [line] = told()
            assert (line["event"], line["most_from"], line["sources"]) == (
                "datagrams dropped",
                "10.66.0.1",
                1,
            )
            assert line["number"] == line["of_these"] == stats.packets.garbage + stats.packets.limited
            await socket.send(b"garbage", (alice.ip, PORT))
            await trio.sleep(1)
        assert [line["number"] for line in told()[1:]] == [1], "the end tells what had not been told"


# The service


async def test_a_port_that_is_taken_is_told_at_the_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_dht(tmp_path) as world:
        world.network.host("10.0.0.1").bind(PORT)
        with pytest.RaisesGroup(PortTaken, allow_unwrapped=True, flatten_subgroups=True):
            await world.join("10.0.0.1")


async def test_after_a_crash_the_same_handle_has_the_same_addresses_port_and_table(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_dht(tmp_path) as world:
        [bob, *_] = await grow(world, 3)
        network, clock = world.network, world.clock
        identity = Identity.generate(SeededEntropy("alice"))
        board = Board.of(identity, clock.now())
        host = network.host("10.0.0.77")
        lives = count()

        def service() -> DiscoveryService:
            return DiscoveryService(
                DiscoveryConfig(0),
                identity,
                board=board,
                open_socket=host.bind,
                directory=tmp_path / "alice",
                bootstrap=[bob.record],
                clock=clock,
                entropy=SeededEntropy(f"alice {next(lives)}"),
                offload=Inline(),
            )

        async with open_supervisor(clock=clock) as supervisor:
            alice = Discovery(await supervisor.start("discovery", service, Policy()), board)
            tcp = Multiaddr.parse("/ip4/10.0.0.77/tcp/1")
            udp = Multiaddr.parse(f"/ip4/10.0.0.77/udp/{board.port}")
            await alice.announce_addresses([tcp], udp)
            await trio.sleep(60)
            assert alice.stats().peers == 3
            record, port = alice.record(), board.port
            network.crash("10.0.0.77")
            await trio.sleep(0.05)
            assert alice.stats().peers == 0
            await trio.sleep(10)
            assert (alice.record(), board.port) == (record, port)
            assert alice.stats().peers == 3
            assert await alice.provide(CIDS[0]) == 3
        assert await found(bob, CIDS[0]) == {identity.peer_id}


@pytest.mark.parametrize("cut", [0.0, 0.005, 0.015, 0.03, 0.045, 0.065, 0.6, 1.1])
async def test_a_search_that_is_cancelled_leaves_nothing(
    tmp_path: Path, autojump_clock: MockClock, cut: float
) -> None:
    async with open_dht(tmp_path) as world:
        nodes = await grow(world, 6)
        for node in nodes[4:]:
            await world.die(node)
        finder = nodes[2].discovery
        tasks = trio.lowlevel.current_statistics().tasks_living
        for search in (finder.find_providers, finder.provide):
            with trio.move_on_after(cut):
                await search(CIDS[0])
            assert trio.lowlevel.current_statistics().tasks_living == tasks
        await trio.sleep(2)
        assert finder.stats().requests <= 1  # a node is being looked after, perhaps
        assert await finder.provide(CIDS[0]) >= 3


async def test_while_the_service_is_down_there_is_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    board = Board.of(Identity.generate(SeededEntropy("alice")), 1.0)
    discovery = Discovery(Mailbox("discovery"), board)
    assert discovery.table() == []
    assert discovery.stats().peers == 0
    assert discovery.record().record.addresses == ()
