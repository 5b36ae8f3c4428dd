"""The registry of jobs against a simple model of it: any order of everything that may happen to jobs."""

import pytest
import trio
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.errors import CodexError, DiskFull, JobCancelled, TooManyJobs
from codex.node import Job, JobEnded, JobKind, Jobs, JobStarted, JobState, NodeEvent
from codex.node.events import Events
from codex.node.job import Json
from codex.node.jobs import KEPT_SECONDS
from codex.runtime.broadcast import Lagged
from codex.testing.counting import leak_check
from codex.testing.jobs import open_registry
from codex.testing.nodes import EPOCH

LIMIT, KEPT = 4, 3
KINDS = [JobKind.UPLOAD, JobKind.SCRUB]


@define(eq=False)
class Known:
    """A job as it should be, and the two ends by which the test holds it."""

    kind: JobKind
    orders: trio.MemorySendChannel[str]
    scope: trio.CancelScope | None  # the caller's, for a tracked one
    state: JobState = JobState.RUNNING
    code: str | None = None
    done: int = 0
    ended: float | None = None
    raised: list[type[BaseException]] = field(factory=list)  # at the caller
    expected: list[type[BaseException]] = field(factory=list)


class Model:
    """What should be known of the jobs, in the order they were begun."""

    def __init__(self, jobs: Jobs, callers: trio.Nursery) -> None:
        self.jobs = jobs
        self.callers = callers
        self.known: dict[str, Known] = {}
        self.all: list[Known] = []
        self.said: list[tuple[str, str]] = []
        self.stopped_at = 0

    def running(self) -> list[str]:
        return [id for id, known in self.known.items() if known.state is JobState.RUNNING]

    async def begin(self, kind: JobKind, tracked: bool) -> None:
        orders, inbox = trio.open_memory_channel[str](0)
        scope = trio.CancelScope() if tracked else None
        known = Known(kind, orders, scope)
        jobs = self.jobs

        async def work(job: Job) -> Json:
            async for order in inbox:
                match order:
                    case "finish":
                        return "well"
                    case "fail":
                        raise DiskFull("no room")
                    case "break":
                        raise ZeroDivisionError
                    case _:
                        job.bytes_done += int(order)
            raise AssertionError

        async def caller() -> None:
            assert scope is not None
            try:
                with scope:
                    async with jobs.track(kind) as job:
                        job.result = await work(job)
            except (CodexError, ZeroDivisionError) as error:
                known.raised.append(type(error))

        full = len(self.running()) == LIMIT
        if tracked:
            self.callers.start_soon(caller)
            await wait_all_tasks_blocked()
            if full:
                assert known.raised == [TooManyJobs]
                return
        elif full:
            with pytest.raises(TooManyJobs):
                jobs.start(kind, work)
            return
        else:
            jobs.start(kind, work)
            await wait_all_tasks_blocked()
        newest = jobs.list()[-1]
        self.known[newest.id] = known
        self.all.append(known)
        self.said.append(("started", newest.id))

    async def order(self, id: str, order: str) -> None:
        known = self.known[id]
        known.orders.send_nowait(order)
        match order:
            case "finish":
                self.end(id, JobState.DONE)
            case "fail":
                self.end(id, JobState.FAILED, "disk-full", DiskFull)
            case "break":
                self.end(id, JobState.FAILED, "broken-off" if known.scope else "internal", ZeroDivisionError)
            case _:
                known.done += int(order)
        await wait_all_tasks_blocked()

    async def cancel(self, id: str, by_caller: bool) -> None:
        known = self.known[id]
        if by_caller and known.scope is not None and known.state is JobState.RUNNING:
            known.scope.cancel()
            self.end(id, JobState.CANCELLED)
        else:
            assert self.jobs.cancel(id) == (known.state is JobState.RUNNING)
            if known.state is JobState.RUNNING:
                self.end(id, JobState.CANCELLED, None, JobCancelled)
        await wait_all_tasks_blocked()

    def end(
        self, id: str, state: JobState, code: str | None = None, raised: type[BaseException] | None = None
    ) -> None:
        known = self.known[id]
        known.state, known.code, known.ended = state, code, trio.current_time()
        if known.scope is not None and raised is not None:
            known.expected.append(raised)
        self.said.append(("ended", id))

    def forget(self) -> None:
        for kind in KINDS:
            past = [id for id, known in self.known.items() if known.kind is kind and known.ended is not None]
            past.sort(key=lambda id: self.said.index(("ended", id)))
            for number, id in enumerate(reversed(past)):
                ended = self.known[id].ended
                assert ended is not None
                if number >= KEPT or trio.current_time() - ended >= KEPT_SECONDS:
                    del self.known[id]

    def stop(self) -> None:
        """Whatever runs is cancelled; in which order it unwinds is open."""
        self.stopped_at = len(self.said)
        for id in self.running():
            self.end(id, JobState.CANCELLED, None, JobCancelled)

    def compare(self, kind: JobKind | None, state: JobState | None) -> None:
        """Assert that the registry says of these jobs what the model says."""
        jobs = self.jobs
        self.forget()
        expected = [
            (id, known.kind, known.state, known.code, known.done)
            for id, known in self.known.items()
            if kind in (None, known.kind) and state in (None, known.state)
        ]
        views = [job.snapshot() for job in jobs.list(kind, state)]
        assert expected == [
            (view.id, view.kind, view.state, view.error.code if view.error else None, view.bytes_done)
            for view in views
        ]
        for view in views:
            assert jobs.get(view.id).snapshot() == view
            assert view.result == ("well" if view.state is JobState.DONE else None)
            ended = self.known[view.id].ended
            assert view.ended == (None if ended is None else EPOCH + ended)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_registry_does_as_the_model_does(data: st.DataObject) -> None:
    clock = MockClock()

    async def main() -> None:
        heard: list[NodeEvent | Lagged] = []

        async def listen(events: Events, task_status: trio.TaskStatus[None]) -> None:
            async with events.subscribe(10_000) as subscription:
                task_status.started()
                heard.extend([event async for event in subscription])

        with leak_check():
            async with trio.open_nursery() as listening:
                async with trio.open_nursery() as callers, open_registry(LIMIT, KEPT) as registry:
                    await listening.start(listen, registry.events)
                    model = Model(registry.jobs, callers)
                    for _ in range(data.draw(st.integers(1, 25), "steps")):
                        await step(model, data, clock)
                        model.compare(None, None)
                        kind = data.draw(st.sampled_from([None, *KINDS]))
                        model.compare(kind, data.draw(st.sampled_from([None, *JobState])))
                    model.stop()
                registry.events.close()
        assert registry.jobs.list(state=JobState.RUNNING) == ()
        for known in model.all:
            assert known.raised == known.expected
        told = [
            ("ended" if isinstance(event, JobEnded) else "started", event.job.id)
            for event in heard
            if isinstance(event, JobStarted | JobEnded)
        ]
        assert sorted(told) == sorted(model.said)
        assert told[: model.stopped_at] == model.said[: model.stopped_at]

    trio.run(main, clock=clock)


async def step(model: Model, data: st.DataObject, clock: MockClock) -> None:
    """One of the things that may happen."""
    actions = ["begin", "wait"]
    if model.running():
        actions += ["order", "order", "order"]
    if model.known:
        actions.append("cancel")
    match data.draw(st.sampled_from(actions)):
        case "begin":
            await model.begin(data.draw(st.sampled_from(KINDS)), data.draw(st.booleans(), "tracked"))
        case "order":
            id = data.draw(st.sampled_from(model.running()))
            await model.order(id, data.draw(st.sampled_from(["finish", "fail", "break", "1", "1000"])))
        case "cancel":
            id = data.draw(st.sampled_from(list(model.known)))
            await model.cancel(id, data.draw(st.booleans(), "by its caller"))
        case "wait":
            clock.jump(data.draw(st.sampled_from([0.125, 60.0, 1800.0, KEPT_SECONDS])))
            await wait_all_tasks_blocked()
