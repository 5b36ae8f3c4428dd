"""What is missing of a dataset, and getting all of it."""

from typing import NoReturn

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from codex.data import BLOCK_SIZE, Manifest
from codex.errors import BlockNotFound, JobCancelled, NotEnabled, NotOnNetwork, QuotaExceeded
from codex.node import Job, JobKind, JobState, Node
from codex.node.fetching import Leaves, Stretch, begin, fetch_dataset, stretches
from codex.node.job import Progress
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import noise
from codex.testing.elsewhere import Dataset, Elsewhere, Shelf

BLOCKS = 25
DATASET = Dataset(noise(BLOCKS * BLOCK_SIZE))
TREE = DATASET.manifest.tree_cid


async def found(shelf: Shelf, first: int, count: int, length: int) -> list[Stretch]:
    return [part async for part in stretches(shelf, TREE, first, count, length=length)]


@settings(max_examples=50, deadline=None)
@given(
    here=st.sets(st.integers(0, BLOCKS - 1)),
    pair=st.tuples(st.integers(0, BLOCKS), st.integers(0, BLOCKS)),
    length=st.integers(1, 30),
)
async def test_stretches_cover_what_is_asked_for(here: set[int], pair: tuple[int, int], length: int) -> None:
    first, stop = sorted(pair)
    parts = await found(Shelf(DATASET, here), first, stop - first, length)
    assert [part.first for part in parts] == [first, *[part.stop for part in parts[:-1]]]
    assert parts[-1].stop == stop
    assert [index for part in parts for index in part.missing] == sorted(set(range(first, stop)) - here)


async def test_a_dataset_that_is_here_or_not_at_all_is_asked_for_once() -> None:
    assert await found(Shelf(DATASET, range(BLOCKS)), 2, 20, 4) == [Stretch(2, 22, ())]
    assert await found(Shelf(DATASET), 2, 20, 4) == [Stretch(2, 22, range(2, 22))]


@pytest.mark.parametrize("here", [(), range(7), range(0, BLOCKS, 2), range(BLOCKS)])
async def test_only_what_is_missing_is_fetched(here: range, autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET, here)
    network = Elsewhere(shelf)
    progress = Progress()
    missing = BLOCKS - len(here)
    assert await fetch_dataset(shelf, network, DATASET.manifest, progress) == {"blocks": missing}
    assert len(shelf.here) == BLOCKS
    assert sorted(network.wanted) == sorted(set(range(BLOCKS)) - set(here))
    assert (progress.phase, progress.bytes_done) == ("fetching", missing * BLOCK_SIZE)
    assert shelf.read == []


async def test_what_nobody_has_is_a_verdict(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    network = Elsewhere(shelf, lost={20}, batch=1)
    with pytest.raises(BlockNotFound, match="nobody has it"):
        await fetch_dataset(shelf, network, DATASET.manifest, Progress())
    assert len(shelf.here) == 20
    assert network.open == 0


# -- as a job


CID = DATASET.manifest.cid


async def the_manifest() -> Manifest:
    await trio.lowlevel.checkpoint()
    return DATASET.manifest


async def nothing(manifest: Manifest) -> None:
    await trio.lowlevel.checkpoint()


async def begun(node: Node, shelf: Shelf, network: Leaves | None, whole: list[str]) -> Job:
    async def note(manifest: Manifest) -> None:
        await trio.lowlevel.checkpoint()
        whole.append("whole")

    return await begin(node.jobs, shelf, network, CID, find=the_manifest, whole=note)


async def test_a_fetch_goes_on_as_a_job_once_it_is_known_what_is_missing(
    node: Node, autojump_clock: MockClock
) -> None:
    shelf, whole = Shelf(DATASET, range(5)), list[str]()
    job = await begun(node, shelf, Elsewhere(shelf, delay=1), whole)
    assert (job.state, job.bytes_total, len(shelf.here)) == (JobState.RUNNING, 20 * BLOCK_SIZE, 5)
    assert whole == []
    await job.wait()
    assert (job.state, len(shelf.here), whole) == (JobState.DONE, BLOCKS, ["whole"])


@pytest.mark.parametrize("connected", [True, False])
async def test_of_what_is_here_the_job_is_done_at_once(node: Node, connected: bool) -> None:
    shelf, whole = Shelf(DATASET, range(BLOCKS)), list[str]()
    job = await begun(node, shelf, Elsewhere(shelf) if connected else None, whole)
    assert (job.state, whole) == (JobState.DONE, [])


async def test_without_a_network_what_is_missing_is_told(node: Node) -> None:
    with pytest.raises(NotEnabled, match="25 blocks"):
        await begun(node, Shelf(DATASET), None, [])
    assert [job.state for job in node.jobs.list(JobKind.FETCH)] == [JobState.FAILED]


async def test_what_cannot_be_found_is_told(node: Node) -> None:
    async def find() -> NoReturn:
        raise NotOnNetwork("nobody has it")

    with pytest.raises(NotOnNetwork, match="nobody has it"):
        await begin(node.jobs, Shelf(DATASET), None, CID, find=find, whole=nothing)
    assert [job.state for job in node.jobs.list(JobKind.FETCH)] == [JobState.FAILED]


async def test_a_job_that_is_cancelled_while_it_begins_is_told(node: Node, autojump_clock: MockClock) -> None:
    async def find() -> NoReturn:
        node.jobs.cancel(node.jobs.list(JobKind.FETCH)[0].id)
        await trio.sleep_forever()

    with pytest.raises(JobCancelled, match="was cancelled"):
        await begin(node.jobs, Shelf(DATASET), None, CID, find=find, whole=nothing)


async def test_who_gives_up_while_a_fetch_begins_ends_the_job(node: Node) -> None:
    shelf = Shelf(DATASET)
    finished: list[bool] = []

    async def fetch() -> None:
        finished.clear()
        shelf.here.clear()
        await begun(node, shelf, Elsewhere(shelf, delay=0), [])
        finished.append(True)

    async def check() -> None:
        await trio.testing.wait_all_tasks_blocked()
        job = node.jobs.list(JobKind.FETCH)[-1]
        assert job.state is (JobState.DONE if finished else JobState.CANCELLED)

    assert await cancel_at_every_checkpoint(fetch, check, own_only=True) >= 2


# -- without room


@pytest.mark.parametrize("here", [(), range(5)])
async def test_what_does_not_fit_is_told_before_anything_is_fetched(here: range, node: Node) -> None:
    shelf = Shelf(DATASET, here)
    network = Elsewhere(shelf)
    shelf.quota = BLOCKS * BLOCK_SIZE - 1
    with pytest.raises(QuotaExceeded) as caught:
        await fetch_dataset(shelf, network, DATASET.manifest, Progress())
    missing = "1.56 MiB" if not here else "1.25 MiB"
    assert caught.value.message.startswith(
        f"{missing} of the dataset are not on this node, and its quota of 1.56"
    )
    # As much as is needed, in whole units.
    assert "--storage-quota=2MiB" in caught.value.remedy
    with pytest.raises(QuotaExceeded, match=r"of the dataset"):
        await begun(node, shelf, network, [])
    assert [job.state for job in node.jobs.list(JobKind.FETCH)] == [JobState.FAILED]
    assert network.wanted == []
    shelf.quota += 1
    assert await fetch_dataset(shelf, network, DATASET.manifest, Progress()) == {"blocks": BLOCKS - len(here)}


async def test_what_is_here_needs_no_room(node: Node) -> None:
    shelf = Shelf(DATASET, range(BLOCKS))
    shelf.quota = 0
    assert await fetch_dataset(shelf, Elsewhere(shelf), DATASET.manifest, Progress()) == {"blocks": 0}
    assert (await begun(node, shelf, Elsewhere(shelf), [])).state is JobState.DONE
