"""The jobs of a node: begun, watched, cancelled, remembered for a while.

A job runs in one of two places. A *tracked* one is a block of its caller's own code (an upload that a route
serves, say); a *started* one is a task of the jobs service. In both it lives exactly as long as its work, is
settled exactly once, by the table in `job`, and cancelling it cancels its work:

    left, or returned                -> done, with its result; also when it was cancelled too late to matter
    raised a CodexError              -> failed, with its problem
    raised anything else             -> failed: "broken-off" when tracked, for it is its caller's affair,
                                        "internal" and logged when started
    cancelled by whom it runs for    -> cancelled, silently
    cancelled by its id, or because  -> cancelled; the caller of a tracked job gets `JobCancelled`
    the node stops

When full: a thousand jobs run at once, and further ones are refused. Ended ones are kept for an hour, of each
kind the last 200, so that a flood of downloads does not push out what a scrub has found.
"""

import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from codex.errors import CodexError, JobCancelled, NotFound, Problem, ServiceUnavailable, TooManyJobs
from codex.logs import get_logger
from codex.node.events import Events, JobEnded, JobProgressed, JobStarted
from codex.node.job import BEGINNING, STATES, JobEnd, JobKind, JobState, JobView, Json, Pace, Progress
from codex.runtime.clock import Clock, Entropy
from codex.runtime.groups import leaves, lone, unwrapped
from codex.runtime.machine import Machine
from codex.runtime.mailbox import Inbox

MAX_RUNNING = 1000  # a job costs about 2 KiB and, while somebody listens, some 10 µs four times a second
KEPT = 200  # ended jobs of each kind
KEPT_SECONDS = 3600.0
TICK = 0.25  # seconds between two looks at the running jobs, and so between two events about one of them

_log = get_logger("node")

Work = Callable[["Job"], Awaitable[Json]]


class Job(Progress):
    """One job. Its work writes `phase`, `bytes_done`, `bytes_total` and `result`; everything else is read.

    Made by `Jobs` only. Once ended it says the same for ever, whatever is written then.
    """

    def __init__(self, id: str, kind: JobKind, subject: str | None, total: int | None, clock: Clock) -> None:
        super().__init__(bytes_total=total)
        self.id = id
        self.kind = kind
        self.subject = subject
        self.started = clock.now()
        self.result: Json = None
        self._clock = clock
        self._machine = Machine(STATES)
        self._scope = trio.CancelScope()
        self._why = ""
        self._pace = Pace(clock.monotonic())
        self._told: tuple[object, ...] = ()
        self._ended = trio.Event()
        self._ended_at = 0.0
        self._last: JobView | None = None

    def __repr__(self) -> str:
        return f"<Job {self.id}, {self.kind}, {self.state}>"

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return self._machine.state

    @property
    def cancelling(self) -> bool:
        """Whether it was cancelled by its id, or because the node stops, and may still be unwinding."""
        return self._scope.cancel_called

    def snapshot(self) -> JobView:
        """Everything about it, as of now."""
        if self._last is not None:
            return self._last
        rate = self._rate()
        return self._view(rate, self.eta(rate))

    async def wait(self) -> JobView:
        """Wait until it has ended; how it has. Never raises what the job did."""
        await self._ended.wait()
        return self.snapshot()

    def _view(
        self, rate: float, eta: float | None, ended: float | None = None, error: Problem | None = None
    ) -> JobView:
        return JobView(
            id=self.id,
            kind=self.kind,
            subject=self.subject,
            state=self.state,
            phase=self.phase,
            bytes_done=self.bytes_done,
            bytes_total=self.bytes_total,
            bytes_per_second=rate,
            eta_seconds=eta,
            started=self.started,
            ended=ended,
            result=self.result,
            error=error,
        )

    def _rate(self) -> float:
        now = self._clock.monotonic()
        self._pace.sample(now, self.bytes_done)
        return self._pace.rate(now, self.bytes_done)

    def _moved(self) -> bool:
        """Whether the job is elsewhere than when this was asked last."""
        before, self._told = self._told, (self.phase, self.bytes_done, self.bytes_total, self._rate())
        return before != self._told

    def _cancel(self, why: str) -> None:
        self._why = why
        self.phase = "cancelling"
        self._scope.cancel()

    def _settle(self, end: JobEnd, error: Problem | None) -> None:
        self._machine.fire(end)
        if self.phase == BEGINNING:
            self.phase = self.state.value  # there was nothing to do, or no time for it
        self._ended_at = self._clock.monotonic()
        rate = self._pace.average(self._ended_at, self.bytes_done)
        self._last = self._view(rate, None, self._clock.now(), error)
        self._ended.set()


class Jobs:
    """The jobs that run on a node, and those that ended lately. May be asked from any task of its loop.

    Its `run` is the service: it gives the jobs that are started a place to run, and ends all of them in
    order.
    """

    def __init__(
        self, *, clock: Clock, entropy: Entropy, events: Events, limit: int = MAX_RUNNING, kept: int = KEPT
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._events = events
        self._limit = limit
        self._kept = kept
        self._jobs: dict[str, Job] = {}  # all that are known, in the order they were begun
        self._running: dict[str, Job] = {}
        self._past: dict[JobKind, deque[Job]] = {}  # in the order they ended
        self._busy = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._closed = False

    # -- beginning

    @asynccontextmanager
    async def track(
        self, kind: JobKind, *, subject: str | None = None, total: int | None = None
    ) -> AsyncIterator[Job]:
        """Have the block be a job, in the caller's own task.

        What the block raises goes on to the caller. Raises JobCancelled when the job was cancelled by its id
        or because the node stops; TooManyJobs and ServiceUnavailable instead of beginning.
        """
        job = self._begin(kind, subject, total)
        with self._settling(job, "broken-off"):
            yield job

    def start(
        self, kind: JobKind, work: Work, *, subject: str | None = None, total: int | None = None
    ) -> Job:
        """Begin a job in a task of its own: `work(job)` does it and returns its result.

        Raises TooManyJobs and ServiceUnavailable.
        """
        nursery = self._nursery
        if nursery is None:
            raise _not_taking()
        job = self._begin(kind, subject, total)
        nursery.start_soon(self._carry_out, job, work, name=f"job {job.id} ({kind})")
        return job

    # -- asking

    def get(self, id: str) -> Job:
        """The job of that id. Raises NotFound when there is none, or none any more."""
        self._forget()
        job = self._jobs.get(id)
        if job is None:
            raise NotFound(
                f"there is no job {id}", remedy="look at the list of jobs; ended ones are kept for an hour"
            )
        return job

    def list(self, kind: JobKind | None = None, state: JobState | None = None) -> tuple[Job, ...]:
        """The jobs of that kind and in that state (None: of any), in the order they were begun."""
        self._forget()
        return tuple(
            job
            for job in self._jobs.values()
            if (kind is None or job.kind is kind) and (state is None or job.state is state)
        )

    def cancel(self, id: str) -> bool:
        """Cancel a job; False when it has ended already. Raises NotFound.

        Does not wait: the job has ended when its work has unwound, which may turn out to be done all the
        same. `wait` for it to know.
        """
        job = self.get(id)
        if job.id not in self._running:
            return False
        job._cancel(f"{job.kind} {job.id} was cancelled")
        return True

    # -- the service

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run what is started, and tell of progress, until `inbox` is stopping; then cancel every job, the
        tracked ones too, and return when all have ended.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._watch)
                task_status.started()
                await inbox.stopping.wait()
                self._closed = True
                self._nursery = None
                running = tuple(self._running.values())
                for job in running:
                    job._cancel(f"{job.kind} {job.id} was cancelled: the node is stopping")
                for job in running:
                    await job.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None

    async def _watch(self) -> None:
        while True:
            await self._busy.wait()
            await self._events.wait_heard()  # with nobody to tell, no timer wakes the loop
            await trio.sleep(TICK)
            for job in self._running.values():
                if job._moved():
                    self._events.publish(JobProgressed(job.snapshot()))
            if not self._running:
                self._busy = trio.Event()

    async def _carry_out(self, job: Job, work: Work) -> None:
        try:
            with self._settling(job, "internal"):
                await trio.lowlevel.checkpoint()  # cancelled before its turn came, it is not begun
                job.result = await work(job)
        except* CodexError:
            pass  # the job says so
        except* Exception as bugs:
            _log.error("a job failed over a bug", job=job.id, kind=job.kind.value, exc_info=lone(bugs))

    # -- bookkeeping: nothing below waits

    def _begin(self, kind: JobKind, subject: str | None, total: int | None) -> Job:
        if self._closed:
            raise _not_taking()
        if len(self._running) >= self._limit:
            raise TooManyJobs(
                f"{self._limit} jobs are running, and no more may", remedy="wait for some, or cancel them"
            )
        self._forget()
        id = self._entropy.token(6).hex()
        while id in self._jobs:
            id = self._entropy.token(6).hex()
        job = self._jobs[id] = self._running[id] = Job(id, kind, subject, total, self._clock)
        self._busy.set()
        if self._events.heard:
            self._events.publish(JobStarted(job.snapshot()))
        return job

    @contextmanager
    def _settling(self, job: Job, foreign: str) -> Iterator[None]:
        """Run the block in the job's scope and settle the job by its end; `foreign` is the code for an
        exception that is no answer.
        """
        try:
            with unwrapped(), job._scope:
                yield
        except BaseException as error:
            self._settle(job, *_verdict(error, foreign))
            raise
        if job._scope.cancelled_caught:
            self._settle(job, JobEnd.CANCEL)
            _forget_way(sys.exception())
            raise JobCancelled(job._why)
        self._settle(job, JobEnd.FINISH)

    def _settle(self, job: Job, end: JobEnd, error: Problem | None = None) -> None:
        job._settle(end, error)
        del self._running[job.id]
        self._past.setdefault(job.kind, deque()).append(job)
        self._forget()
        if self._events.heard:
            self._events.publish(JobEnded(job.snapshot()))

    def _forget(self) -> None:
        horizon = self._clock.monotonic() - KEPT_SECONDS
        for past in self._past.values():
            while past and (len(past) > self._kept or past[0]._ended_at <= horizon):
                del self._jobs[past.popleft().id]


def _forget_way(ended: BaseException | None) -> None:
    """Drop the frames that exceptions went through which nobody gets to see.

    As from Python 3.12 on, a frame keeps its caller's, and that of a context manager the exception itself: in
    that circle all that was being sent stayed until the next collection of garbage.
    """
    if ended is not None:
        ended.__traceback__ = None
    if isinstance(ended, BaseExceptionGroup):
        for each in ended.exceptions:
            _forget_way(each)


def _not_taking() -> ServiceUnavailable:
    return ServiceUnavailable("no job can be begun: the node is stopping, or not ready yet")


def _verdict(error: BaseException, foreign: str) -> tuple[JobEnd, Problem | None]:
    """How a job ends that raised `error`: what is no answer weighs more than an answer, and that more than a
    cancellation.
    """
    raised = [leaf for leaf in leaves(error) if isinstance(leaf, Exception)]
    answers = [leaf for leaf in raised if isinstance(leaf, CodexError)]
    if len(raised) > len(answers):
        leaf = next(leaf for leaf in raised if not isinstance(leaf, CodexError))
        return JobEnd.FAIL, Problem(foreign, f"{type(leaf).__name__}: {leaf}".removesuffix(": "))
    if answers:
        return JobEnd.FAIL, answers[0].as_problem()
    return JobEnd.CANCEL, None
