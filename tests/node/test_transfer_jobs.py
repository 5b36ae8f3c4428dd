"""Uploads and downloads as jobs: counted, ended as they end, and cancelled without a trace."""

from collections.abc import AsyncIterator, Callable

import pytest
import trio
from trio.testing import MockClock

from codex.errors import BlockNotFound, CodexError, JobCancelled, Problem
from codex.node import Job, JobKind, JobState, Node
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import noise
from codex.testing.nodes import holdings, store_of

CONTENT = noise(1_000_000)


def problem(job: Job) -> Problem:
    """What a failed job says went wrong."""
    error = job.snapshot().error
    assert error is not None
    return error


async def test_an_upload_is_a_job_that_counts_what_it_takes(node: Node, autojump_clock: MockClock) -> None:
    seen = []

    async def source() -> AsyncIterator[bytes]:
        [job] = node.jobs.list()
        for _ in range(10):
            seen.append((job.phase, job.bytes_done))
            await trio.sleep(1)
            yield b"x" * 1000

    cid = await node.store(source(), filename="codex.png", size=10_000)
    assert seen == [("reading", 1000 * number) for number in range(10)]
    [job] = node.jobs.list()
    view = job.snapshot()
    assert (view.kind, view.state, view.subject) == (JobKind.UPLOAD, JobState.DONE, "codex.png")
    assert (view.phase, view.bytes_done, view.bytes_total) == ("committing", 10_000, 10_000)
    assert view.bytes_per_second == pytest.approx(1000)
    assert view.result == {"cid": str(cid)}


async def test_an_upload_of_unknown_size_has_no_total(node: Node) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"some file contents"

    await node.store(source())
    view = node.jobs.list()[0].snapshot()
    assert (view.subject, view.bytes_total, view.bytes_done) == (None, None, 18)


async def test_an_upload_whose_source_fails_has_failed(node: Node) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield b"some"
        raise OSError("the stick was pulled")

    with pytest.raises(OSError, match="pulled"):
        await node.store(source())
    assert problem(node.jobs.list()[0]) == Problem("broken-off", "OSError: the stick was pulled")


async def test_a_download_is_a_job_that_counts_what_it_gives(node: Node) -> None:
    cid = await node.store(CONTENT)
    async with node.retrieve(cid, offset=10, length=800_000) as retrieval:
        [job] = node.jobs.list(JobKind.DOWNLOAD)
        assert (job.phase, job.bytes_done, job.bytes_total) == ("reading", 0, 800_000)
        first = await anext(retrieval)
        assert job.bytes_done == len(first) > 0
        await retrieval.read()
    view = job.snapshot()
    assert (view.state, view.subject, view.bytes_done) == (JobState.DONE, str(cid), 800_000)


async def test_a_download_of_a_block_is_a_job_too(node: Node) -> None:
    manifest = await node.fetch_manifest(await node.store(b"some file contents"))
    [leaf] = await store_of(node).leaves(manifest.tree_cid, 0, 1)
    async with node.retrieve(leaf.cid) as retrieval:
        size = len(await retrieval.read())
    [job] = node.jobs.list(JobKind.DOWNLOAD)
    assert (job.state, job.bytes_done, job.bytes_total) == (JobState.DONE, size, size)


async def test_a_download_of_nothing_has_failed(node: Node) -> None:
    cid = await node.store(b"some file contents")
    await node.delete(cid)
    with pytest.raises(CodexError):
        async with node.retrieve(cid):
            raise AssertionError
    assert problem(node.jobs.list(JobKind.DOWNLOAD)[0]).code == "block-not-found"


async def test_asking_whether_a_dataset_is_here_is_no_download(node: Node) -> None:
    cid = await node.store(CONTENT)
    await node.delete(cid)
    for _ in range(2):
        with pytest.raises(BlockNotFound):
            async with node.retrieve(cid, local=True):
                raise AssertionError
    assert node.jobs.list(JobKind.DOWNLOAD) == ()


async def test_an_upload_cancelled_at_any_step_is_cancelled_and_leaves_nothing(node: Node) -> None:
    before = await holdings(node)

    async def upload() -> None:
        await node.store(CONTENT)

    await cancel_at_every_checkpoint(upload, lambda: settled(node, before))
    assert {job.state for job in node.jobs.list()} == {JobState.DONE, JobState.CANCELLED}


async def test_a_download_cancelled_at_any_step_is_cancelled(node: Node) -> None:
    cid = await node.store(CONTENT)

    async def download() -> None:
        async with node.retrieve(cid) as retrieval:
            assert await retrieval.read() == CONTENT

    async def check() -> None:
        assert node.jobs.list(state=JobState.RUNNING) == ()

    cut = await cancel_at_every_checkpoint(download, check)
    states = [job.state for job in node.jobs.list(JobKind.DOWNLOAD)]
    assert states.count(JobState.CANCELLED) in (cut, cut - 1)
    assert states[-1] is JobState.DONE


async def test_an_upload_cancelled_by_its_id_at_any_step_tells_its_caller(node: Node) -> None:
    before = await holdings(node)
    step = 0
    outcomes: list[str] = []
    while not outcomes or outcomes[-1] != "untouched":
        step += 1
        trigger = At(step, lambda: [node.jobs.cancel(job.id) for job in node.jobs.list(JobKind.UPLOAD)])
        trio.lowlevel.add_instrument(trigger)
        try:
            await node.store(CONTENT)
            outcomes.append("done" if trigger.left <= 0 else "untouched")
        except JobCancelled:
            outcomes.append("cancelled")
        finally:
            trio.lowlevel.remove_instrument(trigger)
        state = JobState.CANCELLED if outcomes[-1] == "cancelled" else JobState.DONE
        assert node.jobs.list(JobKind.UPLOAD)[-1].state is state
        await settled(node, before)
    assert outcomes.count("cancelled") > 20


async def settled(node: Node, before: object) -> None:
    """Assert that no job runs, and that the last upload left everything when it is done, and else nothing."""
    assert node.jobs.list(state=JobState.RUNNING) == ()
    _, cids = await holdings(node)
    assert (node.jobs.list(JobKind.UPLOAD)[-1].state is JobState.DONE) == bool(cids)
    for cid in cids:
        await node.delete(cid)
    assert await holdings(node) == before


class At(trio.abc.Instrument):
    """Does something when the given number of task steps have ended."""

    def __init__(self, steps: int, act: Callable[[], object]) -> None:
        self.left = steps
        self._act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self._act()
