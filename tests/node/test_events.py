"""What the node says of its own accord: what happened, in order, bounded, and nothing when nobody listens."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.errors import EmptyDataset, ServiceUnavailable
from codex.node import (
    Job,
    JobEnded,
    JobKind,
    JobProgressed,
    JobStarted,
    JobState,
    ManifestDeleted,
    ManifestStored,
    Node,
    NodeEvent,
)
from codex.node.events import Events
from codex.node.job import Json
from codex.runtime.broadcast import Lagged, Subscription
from codex.testing.content import noise
from codex.testing.jobs import forever
from codex.testing.nodes import open_test_node

CONTENT = noise(100_000)


async def taken(events: Subscription[NodeEvent]) -> list[NodeEvent | Lagged]:
    """Everything that a subscription holds now."""
    found: list[NodeEvent | Lagged] = []

    async def take() -> None:
        while True:
            found.append(await anext(events))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return found


def kinds(events: Sequence[NodeEvent | Lagged]) -> list[str]:
    return [type(event).__name__ for event in events]


async def test_an_upload_and_a_deletion_are_told_in_order(node: Node) -> None:
    async with node.events(16) as events:
        cid = await node.store(CONTENT, filename="codex.png")
        started, stored, ended = await taken(events)
        assert isinstance(started, JobStarted)
        assert (started.job.kind, started.job.state) == (JobKind.UPLOAD, JobState.RUNNING)
        assert (started.job.subject, started.job.bytes_total) == ("codex.png", len(CONTENT))
        assert stored == ManifestStored(cid)
        assert isinstance(ended, JobEnded)
        assert ended.job == node.jobs.get(started.job.id).snapshot()
        assert (ended.job.state, ended.job.result) == (JobState.DONE, {"cid": str(cid)})
        await node.delete(cid)
        await node.delete(cid)  # nothing to delete any more, and nothing to tell
        assert await taken(events) == [ManifestDeleted(cid)]


async def test_a_single_block_that_is_deleted_is_no_dataset(node: Node) -> None:
    cid = await node.store(CONTENT)
    manifest = await node.fetch_manifest(cid)
    async with node.events(16) as events:
        await node.delete(manifest.tree_cid)
        assert await taken(events) == []


async def test_a_failed_upload_is_told_and_stores_nothing(node: Node) -> None:
    async with node.events(16) as events:
        with pytest.raises(EmptyDataset):
            await node.store(b"")
        started, ended = await taken(events)
        assert isinstance(started, JobStarted)
        assert isinstance(ended, JobEnded)
        assert ended.job.error is not None
        assert ended.job.error.code == "empty-dataset"


async def test_every_listener_hears_it_and_a_slow_one_what_it_missed(node: Node) -> None:
    async with node.events(16) as quick, node.events(1) as slow:
        cid = await node.store(CONTENT)
        assert kinds(await taken(quick)) == ["JobStarted", "ManifestStored", "JobEnded"]
        lagged, last = await taken(slow)
        assert lagged == Lagged(2)
        assert isinstance(last, JobEnded)
        assert last.job.result == {"cid": str(cid)}


async def test_events_end_when_the_node_has_stopped_and_all_that_happened_was_told(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        heard: list[NodeEvent | Lagged] = []

        async def listen(node: Node, task_status: trio.TaskStatus[None]) -> None:
            async with node.events(16) as events:
                task_status.started()
                heard.extend([event async for event in events])

        async with open_test_node(tmp_path) as node:
            await nursery.start(listen, node)
            job = node.jobs.start(JobKind.FETCH, forever)
            await wait_all_tasks_blocked()
        assert kinds(heard) == ["JobStarted", "JobEnded"]
        assert job.state is JobState.CANCELLED
    with pytest.raises(ServiceUnavailable):
        node.events(1)


# -- progress


async def test_progress_is_told_four_times_a_second_however_often_it_is_made(
    node: Node, autojump_clock: MockClock
) -> None:
    async def work(job: Job) -> Json:
        job.bytes_total = 10_000
        for _ in range(1000):
            await trio.sleep(0.01)
            job.bytes_done += 10
        return None

    async with node.events(1000) as events:
        job = node.jobs.start(JobKind.SCRUB, work)
        await job.wait()
        told = await taken(events)
    assert kinds(told) in [["JobStarted", *["JobProgressed"] * count, "JobEnded"] for count in (39, 40)]
    views = [event.job for event in told if isinstance(event, JobProgressed)]
    assert [view.bytes_done for view in views] == sorted({view.bytes_done for view in views})
    assert all(view.state is JobState.RUNNING for view in views)
    assert all(view.bytes_per_second == pytest.approx(1000, rel=0.1) for view in views)
    for view in views:
        assert view.eta_seconds is not None
        assert view.eta_seconds == pytest.approx((10_000 - view.bytes_done) / view.bytes_per_second)


async def test_a_job_that_stands_still_is_told_until_its_rate_shows_it(
    node: Node, autojump_clock: MockClock
) -> None:
    async def work(job: Job) -> Json:
        job.bytes_done = 1_000_000
        await trio.sleep(3600)
        job.phase = "again"
        await trio.sleep(1)
        return None

    async with node.events(1000) as events:
        job = node.jobs.start(JobKind.SCRUB, work)
        await job.wait()
        views = [event.job for event in await taken(events) if isinstance(event, JobProgressed)]
    assert len(views) < 4 * 8
    assert [view.phase for view in views[-2:]] == ["starting", "again"]
    assert views[-2].bytes_per_second == 0


async def test_with_nobody_listening_a_running_job_wakes_the_loop_for_nothing(
    node: Node, autojump_clock: MockClock
) -> None:
    steps = Steps()
    job = node.jobs.start(JobKind.SCRUB, forever)
    await wait_all_tasks_blocked()
    trio.lowlevel.add_instrument(steps)
    try:
        await trio.sleep(50)
        assert steps.taken < 20
        async with node.events(1):
            await trio.sleep(50)
        assert steps.taken > 200
        steps.taken = 0
        await trio.sleep(50)
        assert steps.taken < 20
    finally:
        trio.lowlevel.remove_instrument(steps)
    node.jobs.cancel(job.id)


async def test_with_no_job_running_a_listener_wakes_the_loop_for_nothing(
    node: Node, autojump_clock: MockClock
) -> None:
    async with node.events(1000):
        await node.store(CONTENT)
        await trio.sleep(1)
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        try:
            await trio.sleep(50)
        finally:
            trio.lowlevel.remove_instrument(steps)
        assert steps.taken < 20


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    taken = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.taken += 1


# -- the broadcast by itself


async def test_it_is_known_whether_anybody_listens() -> None:
    events = Events()
    assert not events.heard
    async with events.subscribe(1):
        async with events.subscribe(1):
            assert events.heard
        assert events.heard
        await events.wait_heard()
    assert not events.heard
    with trio.move_on_after(0) as scope:
        await events.wait_heard()
    assert scope.cancelled_caught


async def test_a_size_that_holds_nothing_is_no_subscription() -> None:
    events = Events()
    with pytest.raises(ValueError):
        async with events.subscribe(0):
            raise AssertionError
    assert not events.heard
