"""A dataset that is deleted here while it comes from the network: nothing of it stays."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.data import BLOCK_SIZE
from codex.node import JobState, Node
from codex.testing.content import noise
from codex.testing.neighbourhood import Neighbourhood, open_test_network
from codex.testing.network import MemoryNetwork
from codex.testing.nodes import store_of

CONTENT = noise(100 * BLOCK_SIZE)


@pytest.fixture
async def people() -> AsyncIterator[Neighbourhood]:
    """Alice and bob, between whom what they tell takes its time."""
    async with open_test_network("alice", "bob", network=MemoryNetwork(bandwidth=1_000_000)) as people:
        yield people


async def fetch(bob: Node, cid: Cid) -> None:
    """Have it deleted while a job fetches it: the job ends."""
    job = await bob.fetch_dataset_async_task(cid)
    await trio.sleep(3)
    assert job.bytes_done
    await bob.delete(cid)
    view = await job.wait()
    assert view.state is JobState.CANCELLED
    assert view.bytes_done < len(CONTENT)


async def read(bob: Node, cid: Cid) -> None:
    """Have it deleted while it is read: whoever reads it gets the rest all the same."""
    async with bob.retrieve(cid) as dataset:
        first = bytes(await anext(dataset))
        await bob.delete(cid)
        assert first + await dataset.read() == CONTENT


@pytest.mark.parametrize("way", [fetch, read])
async def test_of_what_was_deleted_while_it_came_nothing_stays(
    people: Neighbourhood, autojump_clock: MockClock, way: Callable[[Node, Cid], Awaitable[None]]
) -> None:
    alice, bob = people["alice"], people["bob"]
    cid = await alice.store(CONTENT)
    before = await bob.space()
    await way(bob, cid)
    await store_of(bob).maintain()
    assert await bob.space() == before
    assert not [stored async for stored, _ in bob.iterate_manifests()]
    # And it can be had again, whole, to stay.
    await (await bob.fetch_dataset_async_task(cid)).wait()
    await store_of(bob).maintain()
    async with bob.retrieve(cid, local=True) as dataset:
        assert await dataset.read() == CONTENT
    await bob.delete(cid)
    assert await bob.space() == before


async def test_other_fetches_go_on(people: Neighbourhood, autojump_clock: MockClock) -> None:
    alice, bob = people["alice"], people["bob"]
    gone, stays = await alice.store(CONTENT), await alice.store(CONTENT[BLOCK_SIZE:])
    job, other = [await bob.fetch_dataset_async_task(cid) for cid in (gone, stays)]
    await bob.delete(gone)
    assert (await job.wait()).state is JobState.CANCELLED
    assert (await other.wait()).state is JobState.DONE
