"""Everyone uploads a file, then everyone downloads all of them, all at once; at 2, 10 and 30 nodes."""

import random

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.node import JobState, Node
from codex.testing.content import noise
from codex.testing.neighbourhood import Neighbourhood, open_test_network


def names(count: int) -> list[str]:
    return [f"node {number}" for number in range(count)]


async def stored(people: Neighbourhood, size: int) -> dict[Cid, bytes]:
    """Have everyone upload; what there is then."""
    files = {}
    for name, node in people.nodes.items():
        content = noise(size, name)
        files[await node.store(content)] = content
    await trio.sleep(5)  # until all are announced
    return files


@pytest.mark.parametrize(
    ("count", "size"),
    [(2, 3_000_000), (10, 300_000), pytest.param(30, 66_000, marks=pytest.mark.soak)],
)
async def test_everyone_gets_what_everyone_has(autojump_clock: MockClock, count: int, size: int) -> None:
    async with open_test_network(*names(count)) as people:
        tasks = trio.lowlevel.current_statistics().tasks_living
        files = await stored(people, size)

        async def download(node: Node, order: list[Cid]) -> None:
            for cid in order:
                async with node.retrieve(cid) as dataset:
                    assert await dataset.read() == files[cid]

        chance = random.Random(1)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for node in people.nodes.values():
                nursery.start_soon(download, node, chance.sample(list(files), count))
        assert trio.current_time() - started < 60
        everything = sorted(files, key=lambda cid: cid.raw)
        for node in people.nodes.values():
            assert [cid async for cid, _ in node.iterate_manifests()] == everything
            assert all(peer.trade.wants_ours == peer.trade.wants_theirs == 0 for peer in node.peers())
            assert len(node.info().table) == count - 1
        await trio.sleep(120)
        # A connection has so many tasks at each end and no more, whatever went over it.
        links = sum(len(node.peers()) for node in people.nodes.values())
        assert links <= count * (count - 1)
        assert trio.lowlevel.current_statistics().tasks_living - tasks <= 12 * links


async def test_everyone_fetches_everything_in_the_background(autojump_clock: MockClock) -> None:
    async with open_test_network(*names(5)) as people:
        files = await stored(people, 300_000)
        nodes = people.nodes.values()
        jobs = [await node.fetch_dataset_async_task(cid) for cid in files for node in nodes]
        assert {(await job.wait()).state for job in jobs} == {JobState.DONE}
        for node in nodes:
            assert (await node.space()).quota_used >= len(files) * 300_000
