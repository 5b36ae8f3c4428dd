"""Announcing what a node has: at once, ever again, evenly, over restarts, outages and deletions."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid, Multiaddr, manifest_cid, root_cid
from codex.data import Manifest
from codex.discovery import Advertiser, Board, Discovery, Stats
from codex.discovery.advertising import AT_ONCE, LISTING, LONGEST_REST, LOOK
from codex.discovery.calls import Provide
from codex.discovery.records import OwnRecords
from codex.discovery.schedule import INTERVAL
from codex.discovery.service import AdvertiserService
from codex.errors import DiskFailed, ServiceUnavailable
from codex.p2p import Identity
from codex.runtime import Clock, Inline, Mailbox, SeededEntropy, VirtualClock, serve
from codex.testing.dht import EPOCH, open_dht
from codex.testing.steps import watched_steps

ALICE = Identity.generate(SeededEntropy("alice"))


def dataset(number: int) -> tuple[Cid, Manifest]:
    manifest = Manifest.of_upload(root_cid(number.to_bytes(32)), 65536, None)
    return manifest_cid(manifest.to_bytes()), manifest


def cids_of(datasets: Sequence[tuple[Cid, Manifest]]) -> set[Cid]:
    return {cid for manifest, content in datasets for cid in (manifest, content.tree_cid)}


class Store:
    """Datasets, listed as the store lists them."""

    def __init__(self, count: int) -> None:
        self.datasets = dict(dataset(number) for number in range(count))
        self.fails = False

    async def manifests(self, after: Cid | None = None, limit: int = 1000) -> list[tuple[Cid, Manifest]]:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise DiskFailed("the disk is gone")
        names = sorted(self.datasets, key=lambda cid: cid.raw)
        later = [cid for cid in names if after is None or cid.raw > after.raw]
        return [(cid, self.datasets[cid]) for cid in later[:limit]]


class Network:
    """What discovery is told, with the time of each; `peers` are there to be told."""

    def __init__(self) -> None:
        self.peers = 3
        self.takes = 0.1
        self.fails = False
        self.told: list[tuple[float, Cid, bool]] = []
        self.at_once = 0
        self.board = Board.of(ALICE, EPOCH)
        self.board.stats = lambda: Stats(peers=self.peers)
        self.mailbox = Mailbox("discovery")
        self.discovery = Discovery(self.mailbox, self.board)
        self._under_way = 0

    async def answer(self, call: Any) -> int:
        assert isinstance(call, Provide)
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        try:
            await trio.sleep(self.takes)
        finally:
            self._under_way -= 1
        if self.fails:
            raise ServiceUnavailable("discovery is down")
        if self.peers:
            self.told.append((trio.current_time(), call.cid, call.again))
        return self.peers

    def come(self, peers: int) -> None:
        self.peers = peers
        self.board.arrivals.unpark_all()

    def times(self, cid: Cid) -> list[float]:
        return [at for at, one, _ in self.told if one == cid]


class WrongClock(VirtualClock):
    """A clock that is a year ahead until it is set right."""

    def __init__(self) -> None:
        super().__init__(EPOCH)
        self.ahead = 365 * 86400.0

    def now(self) -> float:
        return super().now() + self.ahead


@asynccontextmanager
async def advertising(
    directory: Path,
    network: Network,
    store: Store,
    mailbox: Mailbox | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Advertiser]:
    mailbox = mailbox or Mailbox("advertiser")
    service = AdvertiserService(
        discovery=network.discovery,
        source=store,
        directory=directory,
        clock=clock or VirtualClock(EPOCH),
        offload=Inline(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(network.mailbox.inbox, network.answer, limit=64))
        ended = trio.Event()

        async def run(task_status: trio.TaskStatus[None]) -> None:
            await service.run(mailbox.inbox, task_status=task_status)
            ended.set()

        await nursery.start(run)
        yield Advertiser(mailbox)
        mailbox.close()
        await ended.wait()
        nursery.cancel_scope.cancel()


async def test_what_is_here_is_announced_with_its_tree_and_every_half_hour_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(3)
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(60)
        assert {cid for _, cid, _ in network.told} == cids_of(list(store.datasets.items()))
        assert all(not again for _, _, again in network.told)
        await trio.sleep(3 * INTERVAL)
        for cid in cids_of(list(store.datasets.items())):
            times = network.times(cid)
            assert len(times) == 4
            assert all(abs(b - a - INTERVAL) < 10 for a, b in pairwise(times))
        assert all(again for _, _, again in network.told[6:])
        stats = await advertiser.stats()
        assert (stats.contents, stats.due, stats.lag, stats.announced) == (6, 0, 0.0, 24)


async def test_what_is_stored_is_announced_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    network, store = Network(), Store(2000)
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(5)  # there is much to do, and it is new
        cid, manifest = dataset(9999)
        store.datasets[cid] = manifest
        await advertiser.announce([cid, manifest.tree_cid])
        await trio.sleep(1.5)
        assert {cid, manifest.tree_cid} <= {one for _, one, _ in network.told}


async def test_what_was_deleted_is_announced_no_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    network, store = Network(), Store(3)
    first, second, third = sorted(store.datasets, key=lambda cid: cid.raw)
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(60)
        gone = store.datasets.pop(first)
        await advertiser.withdraw([first, gone.tree_cid])
        assert (await advertiser.stats()).contents == 4
        del store.datasets[second]  # nobody says so
        await trio.sleep(LISTING + INTERVAL)
    assert [len(network.times(cid)) for cid in (first, second, third)] == [1, 1, 2]


async def test_a_restart_goes_on_where_it_was_and_makes_no_storm(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(100)
    async with advertising(tmp_path, network, store):
        await trio.sleep(1000)
    assert len(network.told) == 200
    async with advertising(tmp_path, network, store):
        await trio.sleep(100)
        assert len(network.told) == 200  # nothing is due yet
        await trio.sleep(INTERVAL)
    assert len(network.told) == 400
    await trio.sleep(10 * INTERVAL)
    started = trio.current_time()
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(10)
        assert 400 < len(network.told) <= 415
        stats = await advertiser.stats()
        assert stats.due > 180
        assert stats.lag > 8 * INTERVAL
        await trio.sleep(INTERVAL)
    spread = [at - started for at, _, _ in network.told[400:600]]
    assert max(spread) - min(spread) > 150
    assert max(Counter(int(at) for at in spread).values()) <= 2


async def test_where_the_node_is_not_reached_any_more_is_put_right_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(5)
    home, office, cafe = (Multiaddr.parse(f"/ip4/10.0.{number}.1/tcp/8070") for number in range(3))
    network.board.records.announce([home], None)
    async with advertising(tmp_path, network, store):
        await trio.sleep(60)
        assert len(network.told) == 10
        # Another port for packets says nothing to those who look for contents.
        network.board.records.announce([home], Multiaddr.parse("/ip4/10.0.0.1/udp/8090"))
        await trio.sleep(60)
        assert len(network.told) == 10
        network.board.records.announce([office], None)
        await trio.sleep(60)
        assert len(network.told) == 20
    # A restart at the same place goes on where it was, one at another place does not.
    for place, told in ((office, 20), (cafe, 30)):
        network.board.records = OwnRecords(ALICE, EPOCH)
        async with advertising(tmp_path, network, store):
            await trio.sleep(1)
            network.board.records.announce([place], None)
            await trio.sleep(60)
            assert len(network.told) == told


async def test_a_crash_in_the_middle_of_telling_anew_forgets_none(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(30)
    network.board.records.announce([Multiaddr.parse("/ip4/10.0.0.1/tcp/8070")], None)
    async with advertising(tmp_path, network, store):
        await trio.sleep(100)
        assert len(network.told) == 60
        network.board.records.announce([Multiaddr.parse("/ip4/10.0.0.1/tcp/8071")], None)
        await trio.sleep(20)
        before = len(network.told)
        assert 60 < before < 100
    async with advertising(tmp_path, network, store):
        await trio.sleep(100)
    assert len(network.told) == 120
    assert set(Counter(cid for _, cid, _ in network.told).values()) == {2}


async def test_what_is_told_while_the_node_moves_is_told_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(1)
    network.takes = 20.0
    network.board.records.announce([Multiaddr.parse("/ip4/10.0.0.1/tcp/8070")], None)
    async with advertising(tmp_path, network, store):
        await trio.sleep(10)
        network.board.records.announce([Multiaddr.parse("/ip4/10.0.0.1/tcp/8071")], None)
        await trio.sleep(60)
    assert len(network.told) == 4


async def test_who_comes_after_the_last_one_failed_is_told_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(1)
    network.peers, network.takes = 0, 20.0
    async with advertising(tmp_path, network, store):
        await trio.sleep(30)
        network.come(3)
        await trio.sleep(40)
        assert len(network.told) == 2


async def test_a_clock_that_is_set_back_silences_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    network, store = Network(), Store(5)
    clock = WrongClock()
    async with advertising(tmp_path, network, store, clock=clock):
        await trio.sleep(60)
        assert len(network.told) == 10
        clock.ahead = 0.0
        await trio.sleep(60)
        assert len(network.told) == 20
        await trio.sleep(INTERVAL)
    assert len(network.told) == 30


async def test_ten_thousand_datasets_hold_neither_the_loop_nor_each_other(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network = Network()
    network.takes = 0.5
    page = [dataset(number) for number in range(500)]

    class Large(Store):
        """Ten thousand datasets without as many manifests: those of one page, under other names."""

        async def manifests(self, after: Cid | None = None, limit: int = 1000) -> list[tuple[Cid, Manifest]]:
            await trio.lowlevel.checkpoint()
            first = 0 if after is None else int.from_bytes(after.raw[-32:]) + 1
            return [
                (manifest_cid_of(number), page[number % 500][1])
                for number in range(first, min(first + limit, 10_000))
            ]

    with watched_steps() as watch:
        async with advertising(tmp_path, network, Large(0)) as advertiser:
            await trio.sleep(INTERVAL)
            stats = await advertiser.stats()
            assert stats.contents == 10_500
            assert stats.due == 0
    assert network.at_once <= AT_ONCE
    assert watch.worst_cpu < 0.05, watch.worst_cpu_task


def manifest_cid_of(number: int) -> Cid:
    return Cid(manifest_cid(b"").raw[:-32] + number.to_bytes(32))


async def test_while_nobody_is_there_it_rests_and_who_comes_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(5)
    network.peers = 0
    network.takes = 0.0
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(700)
        stats = await advertiser.stats()
        assert (stats.due, stats.announced) == (10, 0)
        assert stats.lag > 690
        assert "no other node" in stats.last_error
        network.come(1)
        came = trio.current_time()
        await trio.sleep(15)
        assert len(network.told) == 10
        assert network.told[0][0] - came < 1
        assert (await advertiser.stats()).due == 0


async def test_what_fails_is_tried_again_ever_more_rarely(tmp_path: Path, autojump_clock: MockClock) -> None:
    network, store = Network(), Store(1)
    network.fails = True
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(600)
        assert (await advertiser.stats()).last_error == "discovery is down"
        network.fails = False
        await trio.sleep(LONGEST_REST + 5)
        assert {cid for _, cid, _ in network.told} == cids_of(list(store.datasets.items()))


async def test_announcements_that_are_late_are_told_of_until_they_are_made(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store, mailbox = Network(), Store(5), Mailbox("advertiser")
    network.fails = True
    async with advertising(tmp_path, network, store, mailbox) as advertiser:
        await trio.sleep(INTERVAL - 1)
        assert mailbox.inbox.condition is None
        await trio.sleep(LOOK + 2)
        first = mailbox.inbox.condition
        assert first is not None
        assert first.serves
        assert first.problem.code == "announcements-late"
        assert "10 of 10 announcements are due" in first.problem.message
        assert "discovery is down" in first.problem.message
        await trio.sleep(5 * LOOK)
        later = mailbox.inbox.condition
        assert later is not None
        assert (later.since, (await advertiser.stats()).due) == (first.since, 10)
        network.fails = False
        await trio.sleep(2 * LONGEST_REST + LOOK)
        assert mailbox.inbox.condition is None


async def test_to_have_nobody_to_tell_is_no_fault_of_the_announcements(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store, mailbox = Network(), Store(5), Mailbox("advertiser")
    network.peers = 0
    async with advertising(tmp_path, network, store, mailbox) as advertiser:
        await trio.sleep(3 * INTERVAL)
        assert (await advertiser.stats()).due == 10
        assert mailbox.inbox.condition is None


async def test_a_store_that_cannot_be_listed_is_listed_later(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    network, store = Network(), Store(1)
    store.fails = True
    async with advertising(tmp_path, network, store) as advertiser:
        await trio.sleep(10)
        stats = await advertiser.stats()
        assert (stats.contents, stats.last_error) == (0, "the disk is gone")
        store.fails = False
        await trio.sleep(LISTING)
        assert len(network.told) == 2


async def test_times_that_are_damaged_are_begun_anew(tmp_path: Path, autojump_clock: MockClock) -> None:
    network, store = Network(), Store(1)
    (tmp_path / "announced.sqlite").write_bytes(b"other bytes" * 1000)
    async with advertising(tmp_path, network, store):
        await trio.sleep(10)
    assert len(network.told) == 2
    async with advertising(tmp_path, network, store):
        await trio.sleep(10)
    assert len(network.told) == 2


@pytest.mark.parametrize("nodes", [2, 5])
async def test_over_a_real_table_others_find_what_is_announced(
    tmp_path: Path, autojump_clock: MockClock, nodes: int
) -> None:
    store = Store(4)
    async with open_dht(tmp_path) as world:
        alice = await world.join("10.0.0.1")
        others = [await world.join(f"10.0.0.{number + 2}", [alice.record]) for number in range(nodes - 1)]
        mailbox = Mailbox("advertiser")
        service = AdvertiserService(
            discovery=alice.discovery,
            source=store,
            directory=tmp_path / "alice",
            clock=world.clock,
            offload=Inline(),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: service.run(mailbox.inbox, task_status=task_status))
            await trio.sleep(60)
            for cid in cids_of(list(store.datasets.items())):
                for other in others:
                    [record] = await other.discovery.find_providers(cid)
                    assert record.record.peer_id == alice.peer_id
            mailbox.close()
