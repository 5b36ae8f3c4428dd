"""Ten nodes: everyone uploads a file of their own, then everyone downloads all of them, all at once."""

import random

import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.node import JobState, Node
from codex.testing.content import noise
from codex.testing.neighbourhood import Neighbourhood, open_test_network

NODES = 10
SIZE = 300_000
NAMES = [f"node {number}" for number in range(NODES)]


async def stored(people: Neighbourhood) -> dict[Cid, bytes]:
    """Have everyone upload; what there is then."""
    files = {}
    for name in NAMES:
        content = noise(SIZE, name)
        files[await people[name].store(content)] = content
    await trio.sleep(5)  # until all are announced
    return files


async def test_everyone_gets_what_everyone_has(autojump_clock: MockClock) -> None:
    async with open_test_network(*NAMES) as people:
        files = await stored(people)

        async def download(node: Node, order: list[Cid]) -> None:
            for cid in order:
                async with node.retrieve(cid) as dataset:
                    assert await dataset.read() == files[cid]

        chance = random.Random(1)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for name in NAMES:
                nursery.start_soon(download, people[name], chance.sample(list(files), NODES))
        assert trio.current_time() - started < 60
        for name in NAMES:
            assert [cid async for cid, _ in people[name].iterate_manifests()] == sorted(
                files, key=lambda cid: cid.raw
            )
            assert all(peer.trade.wants_ours == peer.trade.wants_theirs == 0 for peer in people[name].peers())
            assert len(people[name].info().table) == NODES - 1


async def test_everyone_fetches_everything_in_the_background(autojump_clock: MockClock) -> None:
    async with open_test_network(*NAMES) as people:
        files = await stored(people)
        jobs = [await people[name].fetch_dataset_async_task(cid) for cid in files for name in NAMES]
        assert {(await job.wait()).state for job in jobs} == {JobState.DONE}
        for name in NAMES:
            assert (await people[name].space()).quota_used >= NODES * SIZE
