"""The runtime's figures: what the loop and the services do is what the families say."""

from collections.abc import Iterable

import pytest
import trio
from attrs import frozen
from prometheus_client.core import Metric

from codex.errors import Problem, ServiceUnavailable
from codex.runtime.condition import Condition
from codex.runtime.lifecycle import State
from codex.runtime.mailbox import Call, Inbox, serve
from codex.runtime.measures import HOLD, LoopFigures, service_families
from codex.runtime.stall import LoopWatch
from codex.runtime.supervisor import CRITICAL, Policy, ServiceEvent, open_supervisor


@frozen
class Divide(Call[float]):
    by: float


class Divider:
    """Divides, and crashes over a zero."""

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        await serve(inbox, self._answer, limit=1, task_status=task_status)

    async def _answer(self, call: Divide) -> float:
        await trio.sleep(1)
        return 1 / call.by


def quiet(event: ServiceEvent) -> None:
    assert event.service


def read(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


async def test_services_tell_of_their_lives_and_their_mailboxes(autojump_clock: object) -> None:
    async with open_supervisor(on_event=quiet) as supervisor:
        await supervisor.start("store", Divider, CRITICAL)
        mailbox = await supervisor.start("p2p", Divider, Policy(backoff_min=4.0))
        with pytest.raises(ServiceUnavailable):
            await mailbox.ask(Divide(0))
        await trio.sleep(1)
        crashed = read(service_families(supervisor.states()))
        assert crashed["codex_service_running", "p2p"] == 0
        assert crashed["codex_service_running", "store"] == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.ask, Divide(1))
            await trio.sleep(2)
            waiting = read(service_families(supervisor.states()))
        after = read(service_families(supervisor.states()))
    assert waiting["codex_mailbox_waiting", "p2p"] == 1
    assert waiting["codex_mailbox_oldest_wait_seconds", "p2p"] == 2
    assert waiting["codex_service_restarts_total", "p2p"] == 0
    assert after["codex_service_running", "p2p"] == 1
    assert after["codex_service_restarts_total", "p2p"] == 1
    assert after["codex_service_restarts_total", "store"] == 0
    assert after["codex_mailbox_waiting", "p2p"] == 0
    buckets = [
        after["codex_mailbox_wait_seconds_bucket", "p2p", le] for le in ("0.001", "1.0", "10.0", "+Inf")
    ]
    assert buckets == [1, 1, 2, 2]
    assert after["codex_mailbox_wait_seconds_count", "p2p"] == 2
    assert after["codex_mailbox_wait_seconds_sum", "p2p"] == pytest.approx(3)
    assert not any("store" in key for key in after if key[0].startswith("codex_mailbox"))


async def test_what_ails_a_service_is_measured_until_its_next_life(autojump_clock: trio.abc.Clock) -> None:
    async with open_supervisor(on_event=quiet) as supervisor:
        mailbox = await supervisor.start("store", Divider, Policy(restarts=1, backoff_min=1))
        well = read(service_families(supervisor.states()))
        mailbox.inbox.condition = Condition(Problem("disk-full", "the disk is full"), 5.0, serves=True)
        ailing = read(service_families(supervisor.states()))
        with pytest.raises(ServiceUnavailable):
            await mailbox.ask(Divide(0))
        await trio.sleep(5)
        [after] = supervisor.states()
    condition = ("codex_service_condition", "store", "disk-full")
    assert condition not in well
    assert ailing[condition] == ailing["codex_service_running", "store"] == 1
    assert (after.state, after.condition) == (State.RUNNING, None)


def watch(steps: int, over: int, wall: float, cpu: float) -> LoopWatch:
    """A watch that has seen this; it watches no loop."""
    seen = LoopWatch()
    saw(seen, steps, over, wall, cpu)
    return seen


def saw(seen: LoopWatch, steps: int, over: int, wall: float, cpu: float) -> None:
    seen.steps, seen.over, seen.worst_wall, seen.worst_cpu = steps, over, wall, cpu


async def test_the_longest_step_is_shown_for_a_minute_to_everybody_who_looks(autojump_clock: object) -> None:
    stall = LoopWatch()
    figures = LoopFigures(stall)

    def longest() -> tuple[float, float]:
        found = read(figures.families())
        name = "codex_loop_longest_step_seconds"
        return found[name, "wall"], found[name, "cpu"]

    saw(stall, 10, 1, 0.9, 0.3)
    assert longest() == longest() == (0.9, 0.3)
    await trio.sleep(HOLD)
    assert longest() == (0.9, 0.3)
    saw(stall, 10, 0, 0.1, 0.4)
    await trio.sleep(HOLD - 1)
    assert longest() == (0.9, 0.4)
    await trio.sleep(1)
    assert longest() == (0.9, 0.4)
    await trio.sleep(1)
    assert longest() == (0.1, 0.4)
    await trio.sleep(HOLD)
    assert longest() == (0.1, 0.4)
    assert longest() == (0.0, 0.0)


async def test_steps_are_counted_on_over_every_reset(autojump_clock: object) -> None:
    stall = watch(steps=10, over=1, wall=0.9, cpu=0.3)
    figures = LoopFigures(stall)
    await trio.sleep(HOLD)
    counts = []
    for _ in range(2):
        found = read(figures.families())
        counts.append((found["codex_loop_steps_total",], found["codex_loop_long_steps_total",]))
        saw(stall, 5, 2, 0.0, 0.0)
    found = read(figures.families())
    counts.append((found["codex_loop_steps_total",], found["codex_loop_long_steps_total",]))
    assert counts == [(10, 1), (15, 3), (15, 3)]
