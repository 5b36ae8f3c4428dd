"""The registry of jobs: each is settled once and truly, whoever ends it, and none outlives its place."""

import io
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.config import LogConfig
from codex.errors import (
    CorruptData,
    DiskFull,
    JobCancelled,
    NotFound,
    Problem,
    ServiceUnavailable,
    TooManyJobs,
)
from codex.logs import configured
from codex.node import Job, JobKind, Jobs, JobState, Node
from codex.node.events import Events
from codex.node.job import Json
from codex.runtime.clock import VirtualClock
from codex.runtime.mailbox import Mailbox
from codex.runtime.supervisor import Policy, open_supervisor
from codex.testing.content import noise
from codex.testing.counting import leak_check
from codex.testing.jobs import closed_registry, forever, open_registry, raising
from codex.testing.nodes import EPOCH, open_test_node


@pytest.fixture
async def jobs() -> AsyncIterator[Jobs]:
    """A registry whose service runs."""
    async with open_registry() as registry:
        yield registry.jobs


def problem(job: Job) -> Problem:
    """What a failed job says went wrong."""
    error = job.snapshot().error
    assert error is not None
    return error


# -- one job, from its begin to its end


async def test_a_tracked_job_is_done_when_its_block_is_left(jobs: Jobs, autojump_clock: MockClock) -> None:
    async with jobs.track(JobKind.UPLOAD, subject="codex.png", total=300) as job:
        assert jobs.get(job.id) is job
        assert jobs.list() == (job,)
        begun = job.snapshot()
        assert (begun.state, begun.phase, begun.bytes_done) == (JobState.RUNNING, "starting", 0)
        assert (begun.bytes_per_second, begun.eta_seconds, begun.ended) == (0.0, None, None)
        assert begun.started == EPOCH + trio.current_time()
        job.phase = "reading"
        await trio.sleep(2)
        job.bytes_done += 100
        halfway = job.snapshot()
        assert (halfway.bytes_per_second, halfway.eta_seconds) == (50.0, 4.0)
        await trio.sleep(2)
        job.bytes_done += 200
        job.result = {"cid": "z"}
    ended = job.snapshot()
    assert (ended.id, ended.kind, ended.subject) == (job.id, JobKind.UPLOAD, "codex.png")
    assert (ended.state, ended.phase, ended.bytes_done, ended.bytes_total) == (
        JobState.DONE,
        "reading",
        300,
        300,
    )
    assert (ended.bytes_per_second, ended.eta_seconds) == (75.0, None)
    assert ended.ended == ended.started + 4
    assert (ended.result, ended.error) == ({"cid": "z"}, None)
    assert await job.wait() == ended


async def test_an_ended_job_says_the_same_for_ever(jobs: Jobs) -> None:
    async with jobs.track(JobKind.UPLOAD) as job:
        job.bytes_done = 7
    ended = job.snapshot()
    job.bytes_done, job.phase, job.result = 8, "haunting", "boo"
    assert job.snapshot() == ended
    assert not jobs.cancel(job.id)
    assert job.snapshot() == ended


async def test_a_started_job_returns_its_result(jobs: Jobs) -> None:
    async def work(job: Job) -> Json:
        job.bytes_done += 5
        return [job.id]

    job = jobs.start(JobKind.SCRUB, work, subject="all", total=5)
    assert job.state is JobState.RUNNING
    view = await job.wait()
    assert (view.state, view.result, view.bytes_done, view.subject) == (JobState.DONE, [job.id], 5, "all")


async def test_ids_are_short_and_all_different(jobs: Jobs) -> None:
    ids = {jobs.start(JobKind.SCRUB, forever).id for _ in range(200)}
    assert len(ids) == 200
    assert all(len(id) == 12 and id.isalnum() for id in ids)


async def test_an_id_that_is_taken_is_not_given_again(autojump_clock: MockClock) -> None:
    class Forgetful:
        """Draws everything twice."""

        def __init__(self) -> None:
            self.left: list[bytes] = []
            self.dice = random.Random(1)

        def token(self, n: int) -> bytes:
            if not self.left:
                self.left = [self.dice.randbytes(n)] * 2
            return self.left.pop()

    jobs = Jobs(clock=VirtualClock(EPOCH), entropy=Forgetful(), events=Events())
    async with jobs.track(JobKind.UPLOAD) as one, jobs.track(JobKind.UPLOAD) as other:
        assert one.id != other.id
        assert jobs.get(one.id) is one
        assert jobs.get(other.id) is other


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DiskFull("no room", remedy="make some"), Problem("disk-full", "no room", "make some")),
        (OSError("no such file"), Problem("broken-off", "OSError: no such file")),
        (EOFError(), Problem("broken-off", "EOFError")),
    ],
)
async def test_what_a_tracked_job_raises_is_its_end_and_goes_on(
    jobs: Jobs, error: Exception, expected: Problem
) -> None:
    with pytest.raises(type(error)) as caught:
        async with jobs.track(JobKind.UPLOAD) as job:
            raise error
    assert caught.value is error
    assert (job.state, problem(job)) == (JobState.FAILED, expected)


async def test_errors_in_groups_are_told_too(jobs: Jobs) -> None:
    with pytest.raises(DiskFull):
        async with jobs.track(JobKind.UPLOAD), trio.open_nursery() as nursery:
            nursery.start_soon(raising(DiskFull("no room")), jobs.list()[0])
    assert problem(jobs.list()[0]).code == "disk-full"
    with pytest.raises(ExceptionGroup):
        async with jobs.track(JobKind.UPLOAD) as several:
            raise ExceptionGroup("", [CorruptData("bad"), KeyError("bug")])
    assert problem(several) == Problem("broken-off", "KeyError: 'bug'")


async def test_an_error_weighs_more_than_the_cancellation_that_came_along(jobs: Jobs) -> None:
    async def upload() -> None:
        async with jobs.track(JobKind.UPLOAD):
            try:
                await trio.sleep_forever()
            finally:
                raise DiskFull("could not be undone")

    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(DiskFull):
            await upload()
    assert problem(jobs.list()[0]).code == "disk-full"


async def test_what_a_started_job_raises_stays_in_it(jobs: Jobs) -> None:
    job = jobs.start(JobKind.VERIFY, raising(CorruptData("rotten", remedy="restore it")))
    await job.wait()
    assert (job.state, problem(job)) == (JobState.FAILED, Problem("corrupt-data", "rotten", "restore it"))


async def test_a_bug_in_a_started_job_is_logged_and_ends_nothing_else(node: Node) -> None:
    output = io.StringIO()
    with configured(LogConfig(level="info", format="json", file=None), stream=output):
        job = node.jobs.start(JobKind.VERIFY, raising(ZeroDivisionError("of all things")))
        await job.wait()
        grouped = node.jobs.start(
            JobKind.VERIFY, raising(ExceptionGroup("", [KeyError("key"), DiskFull("no room")]))
        )
        await grouped.wait()
        failed = node.jobs.start(JobKind.VERIFY, raising(CorruptData("rotten")))  # no bug, and not logged
        await failed.wait()
    assert problem(job) == Problem("internal", "ZeroDivisionError: of all things")
    assert problem(grouped) == Problem("internal", "KeyError: 'key'")
    first, second = [json.loads(line) for line in output.getvalue().splitlines()]
    assert (first["level"], first["job"], first["kind"]) == ("error", job.id, "verify")
    assert "ZeroDivisionError: of all things" in str(first)
    assert "in work" in str(first)  # the traceback leads to the place
    assert "KeyError" in str(second)
    assert await node.store(noise(1_000_000))


# -- cancelling


async def test_cancelling_a_tracked_job_is_told_to_its_caller(jobs: Jobs) -> None:
    undone = []

    async def upload() -> None:
        async with jobs.track(JobKind.UPLOAD) as job:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.lowlevel.checkpoint()
                    undone.append(job.snapshot().phase)

    async def caller() -> None:
        with pytest.raises(JobCancelled, match=r"upload \w+ was cancelled$"):
            await upload()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller)
        await wait_all_tasks_blocked()
        [job] = jobs.list(JobKind.UPLOAD, JobState.RUNNING)
        assert jobs.cancel(job.id)
        assert job.state is JobState.RUNNING  # not before it is undone
        assert jobs.cancel(job.id)
    assert undone == ["cancelling"]
    assert (job.state, job.snapshot().error) == (JobState.CANCELLED, None)


async def test_a_tracked_job_cancelled_too_late_is_done(jobs: Jobs) -> None:
    async with jobs.track(JobKind.UPLOAD) as job:
        jobs.cancel(job.id)
    assert job.state is JobState.DONE


async def test_a_tracked_job_whose_caller_is_cancelled_is_cancelled_without_a_word(jobs: Jobs) -> None:
    with trio.move_on_after(0) as scope:
        async with jobs.track(JobKind.DOWNLOAD) as job:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert job.state is JobState.CANCELLED


async def test_cancelling_reaches_everything_inside(jobs: Jobs) -> None:
    async def work(_: Job) -> Json:
        async with jobs.track(JobKind.UPLOAD), trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
        raise AssertionError

    outer = jobs.start(JobKind.FETCH, work)
    await wait_all_tasks_blocked()
    [inner] = jobs.list(JobKind.UPLOAD)
    jobs.cancel(outer.id)
    await outer.wait()
    assert (outer.state, inner.state) == (JobState.CANCELLED, JobState.CANCELLED)


async def test_a_started_job_cancelled_before_its_turn_is_not_begun(jobs: Jobs) -> None:
    begun = []

    async def work(job: Job) -> Json:
        begun.append(job)
        return None

    job = jobs.start(JobKind.SCRUB, work)
    jobs.cancel(job.id)
    assert (await job.wait()).state is JobState.CANCELLED
    assert begun == []


async def test_an_unknown_job_is_not_found(jobs: Jobs) -> None:
    for ask in (jobs.get, jobs.cancel):
        with pytest.raises(NotFound, match="no job 123") as caught:
            ask("123")
        assert caught.value.remedy


async def test_a_cancelled_waiter_leaves_the_job_alone(jobs: Jobs) -> None:
    job = jobs.start(JobKind.SCRUB, forever)
    with trio.move_on_after(0):
        await job.wait()
    assert job.state is JobState.RUNNING


# -- bounds


async def test_too_many_jobs_are_refused_until_one_ends() -> None:
    async with open_registry(limit=3) as registry:
        jobs = registry.jobs
        first, *_ = [jobs.start(JobKind.SCRUB, forever) for _ in range(3)]
        with pytest.raises(TooManyJobs, match="3 jobs") as caught:
            jobs.start(JobKind.SCRUB, forever)
        assert caught.value.remedy
        with pytest.raises(TooManyJobs):
            async with jobs.track(JobKind.UPLOAD):
                raise AssertionError
        assert len(jobs.list()) == 3
        jobs.cancel(first.id)
        await first.wait()
        async with jobs.track(JobKind.UPLOAD):
            assert len(jobs.list(state=JobState.RUNNING)) == 3


async def test_a_thousand_run_at_once(jobs: Jobs) -> None:
    for _ in range(1000):
        jobs.start(JobKind.FETCH, forever)
    with pytest.raises(TooManyJobs):
        jobs.start(JobKind.FETCH, forever)


async def test_of_each_kind_the_last_two_hundred_are_kept(jobs: Jobs) -> None:
    async with jobs.track(JobKind.SCRUB) as scrub:
        pass
    downloads = []
    for _ in range(250):
        async with jobs.track(JobKind.DOWNLOAD) as job:
            downloads.append(job)
    assert jobs.list(JobKind.DOWNLOAD) == tuple(downloads[50:])
    assert jobs.get(scrub.id) is scrub
    with pytest.raises(NotFound):
        jobs.get(downloads[49].id)


async def test_ended_jobs_are_kept_for_an_hour_and_running_ones_for_ever(
    jobs: Jobs, autojump_clock: MockClock
) -> None:
    running = jobs.start(JobKind.SCRUB, forever)
    async with jobs.track(JobKind.SCRUB) as early:
        await trio.sleep(7200)
    await trio.sleep(1800)
    async with jobs.track(JobKind.UPLOAD) as late:
        pass
    await trio.sleep(1799)
    assert jobs.list() == (running, early, late)
    await trio.sleep(1)
    assert jobs.list() == (running, late)
    await trio.sleep(3600)
    assert jobs.list() == (running,)


# -- the service


async def test_stopping_cancels_every_job_and_waits_for_it(autojump_clock: MockClock) -> None:
    said = []

    async def slowly(job: Job) -> Json:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(7 if job.kind is JobKind.DOWNLOAD else 5)
        raise AssertionError

    async def caller(jobs: Jobs) -> None:
        try:
            async with jobs.track(JobKind.DOWNLOAD) as job:
                await slowly(job)
        except JobCancelled as error:
            said.append(error.message)

    async with trio.open_nursery() as nursery:
        with leak_check():
            async with open_registry() as registry:
                nursery.start_soon(caller, registry.jobs)
                job = registry.jobs.start(JobKind.BACKUP, slowly)
                await wait_all_tasks_blocked()
                before = trio.current_time()
                [download] = registry.jobs.list(JobKind.DOWNLOAD)
            assert trio.current_time() == before + 7
    assert (job.state, download.state) == (JobState.CANCELLED, JobState.CANCELLED)
    assert said == [f"download {download.id} was cancelled: the node is stopping"]
    with pytest.raises(ServiceUnavailable):
        registry.jobs.start(JobKind.SCRUB, forever)
    with pytest.raises(ServiceUnavailable):
        async with registry.jobs.track(JobKind.UPLOAD):
            raise AssertionError


async def test_nothing_is_started_before_there_is_a_place_for_it() -> None:
    jobs = closed_registry().jobs
    with pytest.raises(ServiceUnavailable, match="not ready"):
        jobs.start(JobKind.SCRUB, forever)
    assert jobs.list() == ()
    async with jobs.track(JobKind.UPLOAD) as job:  # needs no place
        assert jobs.list() == (job,)


async def test_a_life_that_is_cut_takes_its_jobs_along_and_another_goes_on() -> None:
    jobs = closed_registry().jobs
    inbox = Mailbox("jobs").inbox
    async with jobs.track(JobKind.UPLOAD) as upload:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: jobs.run(inbox, task_status=task_status))
            job = jobs.start(JobKind.SCRUB, forever)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert job.state is JobState.CANCELLED
        with pytest.raises(ServiceUnavailable):
            jobs.start(JobKind.SCRUB, forever)
        assert upload.state is JobState.RUNNING
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: jobs.run(inbox, task_status=task_status))
            job = jobs.start(JobKind.SCRUB, raising(DiskFull("no room")))
            await job.wait()
            nursery.cancel_scope.cancel()
    assert jobs.list() == (upload, *jobs.list(JobKind.SCRUB))


async def test_a_job_that_does_not_unwind_holds_the_stop_up_no_longer_than_its_bound(
    autojump_clock: MockClock,
) -> None:
    async def stubborn(_: Job) -> Json:
        with trio.CancelScope(shield=True):
            await trio.sleep(1000)
        return "after all"

    jobs = closed_registry().jobs
    async with open_supervisor(clock=VirtualClock(EPOCH)) as supervisor:
        await supervisor.start("jobs", lambda: jobs, Policy(), stop_timeout=10)
        job = jobs.start(JobKind.BACKUP, stubborn)
        await wait_all_tasks_blocked()
        before = trio.current_time()
        report = await supervisor.stop()
        assert report.laggards == ("jobs",)
        assert trio.current_time() == before + 20
    assert (job.state, job.snapshot().result) == (JobState.DONE, "after all")


async def test_a_node_may_be_stopped_from_within_a_job_of_its_own(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        cid = await node.store(noise(1_000_000))
        with pytest.raises(JobCancelled, match="stopping"):
            async with node.retrieve(cid):
                await node.stop()
        await node.stop()
