"""What arrives is stored batch by batch: at once where nothing else is to come, else with what comes soon."""

from collections.abc import Sequence
from typing import Any

import pytest
import trio

from codex.codec import root_cid
from codex.data import BLOCK_SIZE, Block, LeafAddress, MerkleProof
from codex.exchange.calls import FetchLeaves
from codex.exchange.fetching import GATHER, WRITE_BYTES, Fetcher
from codex.exchange.messages import Delivery
from codex.exchange.wants import Wants
from codex.p2p import PeerId
from codex.store import Leaf

TREE = root_cid(b"t" * 32)
ALICE = PeerId(b"alice")
BLOCK = Block.of(bytes(BLOCK_SIZE))
BATCH = WRITE_BYTES // BLOCK_SIZE


class Nobody:
    """A searcher that finds nobody else."""

    async def pursue(self, fetch: Any, search: Any) -> None:
        await trio.sleep_forever()


class Shelf:
    """A store that takes everything, and when it took how many."""

    def __init__(self) -> None:
        self.took: list[tuple[float, int]] = []

    async def put_leaves(
        self, tree: Any, leaves: Sequence[Leaf], blocks: Sequence[Block] = (), *, ttl: float | None = None
    ) -> None:
        assert len(leaves) == len(blocks)
        self.took.append((trio.current_time(), len(blocks)))


class Fetching:
    """A fetch of some leaves from alice, who sends what is ordered when she is told to."""

    def __init__(self) -> None:
        self.wants = Wants()
        self.wants.joined(ALICE, -1000)
        self.wants.hint(ALICE, TREE)
        self.shelf = Shelf()
        self.fetcher = Fetcher(
            self.wants,
            Nobody(),
            self.shelf,
            timeout=60,
            step=lambda: self.wants.plan(trio.current_time()) and None,
            stored=lambda addresses: None,
        )

    async def run(self, count: int) -> None:
        indices, wanted = trio.open_memory_channel[Sequence[int]](1)
        handed, arrivals = trio.open_memory_channel[list[tuple[Leaf, Block]]](0)
        call = FetchLeaves(TREE, count, BLOCK_SIZE, True, None, trio.current_time(), wanted, handed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.fetcher.fetch_leaves, call)
            await indices.send(range(count))
            indices.close()
            self.came = sorted([leaf.index async for batch in arrivals for leaf, _ in batch])

    def on_order(self) -> int:
        source = self.wants.source(ALICE)
        assert source is not None
        return len(source.asked)

    def send(self, most: int) -> int:
        """Have the next blocks arrive, as far as they are ordered; how many did."""
        source, now = self.wants.source(ALICE), trio.current_time()
        assert source is not None
        wants = list(source.asked)[:most]
        deliveries = [
            Delivery(want.address, BLOCK, MerkleProof(want.address.index, 1, b""))
            for want in wants
            if isinstance(want.address, LeafAddress)
        ]
        self.wants.arriving(ALICE, [want.address for want in wants], now)
        came = zip(wants, [BLOCK_SIZE] * len(wants), deliveries, strict=True)
        for fetch, some in self.wants.delivered(ALICE, came, now).items():
            self.fetcher.arrived(fetch, ALICE, some)
        self.wants.plan(now)
        return len(wants)


@pytest.mark.parametrize(("every", "least"), [(GATHER / 80, BATCH), (GATHER / 2.5, 3)])
async def test_pieces_that_come_one_after_the_other_are_stored_together(every, least, autojump_clock):
    count, fetching = 512, Fetching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetching.run, count)
        await trio.testing.wait_all_tasks_blocked()
        sent = 0
        while sent < count:
            sent += fetching.send(1)
            await trio.sleep(every)
    assert fetching.came == list(range(count))
    (_, first), *batches, (_, last) = fetching.shelf.took
    # The first is not kept waiting, and the last has nothing to wait for.
    assert (first, last) <= (1, BATCH)
    assert min(size for _, size in batches) >= least


async def test_what_waits_for_more_is_stored_when_all_that_is_on_order_has_come(autojump_clock):
    fetching = Fetching()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetching.run, 16)
        await trio.testing.wait_all_tasks_blocked()
        fetching.send(1)
        await trio.sleep(1)
        while fetching.on_order() > 1:
            fetching.send(1)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(GATHER / 2)
        began = trio.current_time()
        fetching.send(1)
    assert [(taken - began <= 0, size) for taken, size in fetching.shelf.took] == [(True, 1), (True, 15)]


async def test_what_comes_slowly_waits_no_longer_than_it_may(autojump_clock):
    fetching, sent = Fetching(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetching.run, 40)
        await trio.testing.wait_all_tasks_blocked()
        while len(sent) < 40:
            sent += [trio.current_time()] * fetching.send(1)
            await trio.sleep(3 * GATHER)
    assert [size for _, size in fetching.shelf.took] == [1] * 40
    waits = [stored - came for came, (stored, _) in zip(sent, fetching.shelf.took, strict=True)]
    assert max(waits) == pytest.approx(GATHER)
    # The first, and the last, behind which nothing is on order.
    assert waits[0] == waits[-1] == 0


async def test_what_arrives_when_nothing_else_is_on_order_is_stored_at_once(autojump_clock):
    fetching, sent = Fetching(), 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fetching.run, 100)
        await trio.testing.wait_all_tasks_blocked()
        while sent < 100:
            await trio.sleep(2 * GATHER)
            sent += fetching.send(fetching.on_order())
        await trio.testing.wait_all_tasks_blocked()
        assert fetching.shelf.took[-1][0] == trio.current_time()
        assert sum(size for _, size in fetching.shelf.took) == 100
