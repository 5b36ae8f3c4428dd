"""However askers, work, crashes and stops fall together: every ask is settled once, and rightly."""

from typing import Any, Literal

import pytest
import trio
import trio.testing
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.errors import BlockNotFound, ServiceUnavailable
from codex.runtime.mailbox import Call, Inbox, serve
from codex.runtime.supervisor import Policy, open_supervisor

END = 300.0  # seconds of virtual time; long after the last of anything that is drawn below
Ending = Literal["answer", "error", "crash", "crash-at-once"]


@frozen
class Job(Call[int]):
    """A call: how long its work takes, how long that takes to unwind when it is cut, and what comes of it."""

    id: int
    seconds: float
    unwinding: float
    ending: Ending


@frozen
class Asker:
    """Asks at `at`; is cancelled at `cancelled_at`, or has that for a deadline from the start."""

    job: Job
    at: float
    cancelled_at: float | None
    by_deadline: bool


@define
class World:
    """What really happened."""

    running: set[int] = field(factory=set)
    most_at_once: int = 0
    crashes: int = 0
    settled: dict[int, list[str]] = field(factory=dict)


class Worker:
    """The service: does jobs, and keeps the books."""

    def __init__(self, world: World, limit: int) -> None:
        self.world = world
        self.limit = limit

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await serve(inbox, self.answer, limit=self.limit)

    async def answer(self, job: Job) -> int:
        world = self.world
        assert job.id not in world.running
        world.running.add(job.id)
        world.most_at_once = max(world.most_at_once, len(world.running))
        try:
            if job.ending == "crash-at-once":
                raise ZeroDivisionError(job.id)
            await trio.sleep(job.seconds)
            if job.ending == "crash":
                raise ZeroDivisionError(job.id)
            if job.ending == "error":
                raise BlockNotFound(str(job.id))
            return job.id
        except ZeroDivisionError:
            world.crashes += 1
            raise
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(job.unwinding)
            world.running.discard(job.id)


@st.composite
def askers(draw: st.DrawFn) -> list[Asker]:
    few = st.integers(0, 12).map(float)
    return [
        Asker(
            Job(
                number,
                seconds=draw(few),
                unwinding=draw(st.sampled_from([0.0, 0.0, 0.0, 3.0])),
                ending=draw(st.sampled_from(["answer", "answer", "error", "crash", "crash-at-once"])),
            ),
            at=draw(few),
            cancelled_at=draw(st.none() | few),
            by_deadline=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 10)))
    ]


@settings(max_examples=150, deadline=None)
@given(
    askers=askers(),
    limit=st.integers(1, 3),
    stop_at=st.none() | st.integers(0, 25),
    restarts=st.integers(0, 20),
)
def test_every_ask_is_settled_once(
    askers: list[Asker], limit: int, stop_at: int | None, restarts: int
) -> None:
    world = World()

    async def ask(asker: Asker, mailbox: Any) -> None:
        await trio.sleep_until(asker.at)
        settled = world.settled.setdefault(asker.job.id, [])
        with trio.CancelScope() as scope:
            if asker.cancelled_at is not None and asker.by_deadline:
                scope.deadline = asker.cancelled_at
            elif asker.cancelled_at is not None:
                nursery.start_soon(cancel, scope, asker.cancelled_at)
            try:
                assert await mailbox.ask(asker.job) == asker.job.id
                settled.append("answered")
            except BlockNotFound as error:
                settled.append("error" if error.message == str(asker.job.id) else f"error of {error}")
            except ServiceUnavailable:
                settled.append("unavailable")
            except trio.Cancelled:
                settled.append("cancelled")
                raise
        if settled[-1] != "unavailable":
            assert asker.job.id not in world.running

    async def cancel(scope: trio.CancelScope, at: float) -> None:
        await trio.sleep_until(at)
        scope.cancel()

    async def main() -> None:
        nonlocal nursery
        policy = Policy(restarts=restarts, window=1000, backoff_min=1, backoff_max=4)
        with trio.fail_after(END):
            async with (
                open_supervisor(on_event=lambda event: None) as supervisor,
                trio.open_nursery() as nursery,
            ):
                mailbox = await supervisor.start(
                    "worker", lambda: Worker(world, limit), policy, stop_timeout=5
                )
                for asker in askers:
                    nursery.start_soon(ask, asker, mailbox)
                if stop_at is not None:
                    await trio.sleep_until(stop_at)
                    await supervisor.stop()

    nursery: Any = None
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert not world.running
    assert world.most_at_once <= limit
    for asker in askers:
        [how] = world.settled[asker.job.id]
        match how:
            case "answered":
                assert asker.job.ending == "answer"
            case "error":
                assert asker.job.ending == "error"
            case "unavailable":
                assert world.crashes or stop_at is not None
            case "cancelled":
                assert asker.cancelled_at is not None
            case _:
                pytest.fail(how)
    if not world.crashes and stop_at is None:
        untroubled = [asker for asker in askers if asker.cancelled_at is None]
        assert all(world.settled[asker.job.id] in (["answered"], ["error"]) for asker in untroubled)
