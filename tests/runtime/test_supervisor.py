"""The supervisor: order, restarts, giving up, and an end in bounded time."""

import io
import json
import math
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import field, frozen

from codex.errors import DataDirLocked, GaveUp, ServiceUnavailable
from codex.logs import configured
from codex.runtime.clock import VirtualClock
from codex.runtime.lifecycle import State
from codex.runtime.mailbox import Call, Inbox, serve
from codex.runtime.supervisor import CRITICAL, Policy, ServiceEvent, StopReport, open_supervisor
from codex.runtime.threads import Threads
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.counting import leak_check

PATIENT = Policy(restarts=3, window=60, backoff_min=1, backoff_max=4)


@frozen
class Lives(Call[int]):
    """Which life of the service answers?"""


@frozen
class Crash(Call[None]):
    pass


@frozen
class Sleep(Call[str]):
    seconds: float


@frozen
class Tell(Call[Any]):
    """Have the service run something."""

    run: Callable[[], Awaitable[Any]] = field(eq=False)


class Diary:
    """What services and the supervisor did, with the time: a list of lines, and the raw events."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[ServiceEvent] = []

    def write(self, line: str) -> None:
        self.lines.append(f"{trio.current_time():g} {line}")

    def tell(self, event: ServiceEvent) -> None:
        self.events.append(event)


class Clerk:
    """A service that answers the calls above; `boot` and `leave` are run at its begin and end."""

    def __init__(
        self,
        name: str,
        diary: Diary,
        *,
        boot: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
        leave: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    ) -> None:
        self.name = name
        self.diary = diary
        self.boot = boot
        self.leave = leave
        self.lives = 0

    def __call__(self) -> "Clerk":
        """The factory: each life is counted."""
        self.lives += 1
        return self

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        await self.boot()
        self.diary.write(f"{self.name} up")
        task_status.started()
        try:
            await serve(inbox, self.answer, limit=4)
            await self.leave()
        finally:
            self.diary.write(f"{self.name} down")

    async def answer(self, call: Call[Any]) -> object:
        match call:
            case Lives():
                return self.lives
            case Crash():
                raise ZeroDivisionError(f"a bug in {self.name}")
            case Sleep(seconds):
                await trio.sleep(seconds)
                return "slept"
            case Tell(run):
                return await run()
        raise AssertionError(call)


class Hermit:
    """A service that is asked nothing."""

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await inbox.stopping.wait()


async def test_a_started_service_is_ready(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start(
            "store", Clerk("store", diary, boot=partial(trio.sleep, 3)), CRITICAL
        )
        diary.write("ready")
        assert await mailbox.ask(Lives()) == 1
    assert diary.lines == ["3 store up", "3 ready", "3 store down"]
    assert [event.state for event in diary.events] == ["starting", "running", "stopping", "stopped"]


async def test_after_a_crash_the_caller_is_told_and_the_same_handle_works_again(
    autojump_clock: object,
) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
        with pytest.raises(ServiceUnavailable, match="the p2p service crashed"):
            await mailbox.ask(Crash())
        assert await mailbox.ask(Lives()) == 2
        [state] = supervisor.states()
        assert (state.state, state.restarts) == (State.RUNNING, 1)
        assert state.last_error == "ZeroDivisionError: a bug in p2p"
    assert [event.state for event in diary.events] == [
        "starting", "running", "restarting", "starting", "running", "stopping", "stopped",
    ]  # fmt: skip
    assert isinstance(diary.events[2].error, ZeroDivisionError)


async def test_calls_that_wait_survive_a_restart(autojump_clock: object) -> None:
    diary = Diary()
    answers = []

    async def ask(call: Call[Any]) -> None:
        answers.append(await mailbox.ask(call))

    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
        with pytest.raises(ServiceUnavailable):
            await mailbox.ask(Crash())
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask, Lives())
            await trio.testing.wait_all_tasks_blocked()
            assert mailbox.waiting == 20
            assert supervisor.states()[0].state is State.RESTARTING
    assert answers == [2] * 20


async def test_pauses_double_up_to_their_limit_and_shrink_again_in_quiet_times(
    autojump_clock: object,
) -> None:
    diary = Diary()
    policy = Policy(restarts=4, window=100, backoff_min=1, backoff_max=3)
    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start("p2p", Clerk("p2p", diary), policy)
        pauses = []
        for quiet in (0, 0, 0, 150):
            await trio.sleep(quiet)
            began = trio.current_time()
            with pytest.raises(ServiceUnavailable):
                await mailbox.ask(Crash())
            await mailbox.ask(Lives())
            pauses.append(trio.current_time() - began)
    assert pauses == [1, 2, 3, 1]


async def test_a_boot_that_fails_later_counts_as_a_crash(autojump_clock: object) -> None:
    diary = Diary()

    async def boot() -> None:
        if clerk.lives == 2:
            raise DataDirLocked("another node runs here")

    clerk = Clerk("store", diary, boot=boot)
    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start("store", clerk, PATIENT)
        with pytest.raises(ServiceUnavailable):
            await mailbox.ask(Crash())
        assert await mailbox.ask(Lives()) == 3
        assert supervisor.states()[0].last_error == "DataDirLocked: another node runs here"


async def test_a_service_given_up_is_closed_and_the_others_live_on(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        store = await supervisor.start("store", Clerk("store", diary), CRITICAL)
        p2p = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
        for _ in range(PATIENT.restarts + 1):
            with pytest.raises(ServiceUnavailable, match="crashed"):
                await p2p.ask(Crash())
        with pytest.raises(ServiceUnavailable, match="the p2p service is failed"):
            await p2p.ask(Lives())
        assert [(state.name, state.state) for state in supervisor.states()] == [
            ("store", State.RUNNING),
            ("p2p", State.FAILED),
        ]
        assert await store.ask(Lives()) == 1
        # What failed may be started anew by hand.
        again = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
        assert await again.ask(Lives()) == 1
        report = await supervisor.stop()
    assert report == StopReport(("p2p", "store"), ())


async def test_crashes_outside_the_window_are_forgiven(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
        for _ in range(10):
            await trio.sleep(PATIENT.window / 2)
            with pytest.raises(ServiceUnavailable, match="crashed"):
                await mailbox.ask(Crash())
        assert await mailbox.ask(Lives()) == 11


async def test_a_service_given_up_may_end_the_node(autojump_clock: object) -> None:
    diary = Diary()
    policy = Policy(restarts=1, backoff_min=1, on_give_up="stop-node")

    async def node() -> None:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            mailbox = await supervisor.start("chain", Clerk("chain", diary), policy)
            for _ in range(2):
                with pytest.raises(ServiceUnavailable):
                    await mailbox.ask(Crash())
            await trio.sleep_forever()

    with pytest.raises(GaveUp, match="the chain service crashed too often: ZeroDivisionError") as caught:
        await node()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_a_critical_crash_unwinds_the_block_with_the_error_itself(autojump_clock: object) -> None:
    diary = Diary()

    async def node() -> None:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            store = await supervisor.start("store", Clerk("store", diary), CRITICAL)
            await supervisor.start("p2p", Clerk("p2p", diary, leave=partial(trio.sleep, 2)), PATIENT)
            await supervisor.start("api", Clerk("api", diary, leave=partial(trio.sleep, 1)), PATIENT)
            try:
                with pytest.raises(ServiceUnavailable):
                    await store.ask(Crash())
                await trio.sleep_forever()
            finally:
                diary.write("block left")

    with pytest.raises(ZeroDivisionError, match="a bug in store"):
        await node()
    # The others are still stopped as ever: politely, and in order.
    assert diary.lines[3:] == ["0 store down", "0 block left", "1 api down", "3 p2p down"]
    assert [(event.service, event.state) for event in diary.events[6:]] == [
        ("store", State.FAILED),
        ("api", State.STOPPING),
        ("api", State.STOPPED),
        ("p2p", State.STOPPING),
        ("p2p", State.STOPPED),
    ]


async def test_a_first_boot_that_fails_is_raised_to_the_caller_as_itself(autojump_clock: object) -> None:
    diary = Diary()

    async def boot() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)

    async def refuse() -> None:
        raise DataDirLocked("another node runs here") from OSError("locked")

    clerk = Clerk("store", diary, boot=boot)
    async with open_supervisor(on_event=diary.tell) as supervisor:
        with pytest.raises(DataDirLocked, match="another node") as caught:
            await supervisor.start("store", clerk, PATIENT)
        assert isinstance(caught.value.__cause__, OSError)
        assert clerk.lives == 1
        assert [(state.name, state.state) for state in supervisor.states()] == [("store", State.FAILED)]
    assert diary.events[-1].state == "failed"


async def test_a_service_that_ends_by_itself_has_crashed(autojump_clock: object) -> None:
    class Quitter:
        async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()

    class Mute:
        async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
            await trio.lowlevel.checkpoint()

    async def node() -> None:
        async with open_supervisor(on_event=Diary().tell) as supervisor:
            with pytest.raises(RuntimeError, match="the mute service ended"):
                await supervisor.start("mute", Mute, PATIENT)
            await supervisor.start("store", Quitter, CRITICAL)
            await trio.sleep_forever()

    with pytest.raises(RuntimeError, match="the store service ended without having been asked to"):
        await node()


async def test_a_service_that_says_twice_that_it_is_ready_has_a_bug(autojump_clock: object) -> None:
    class Stutterer:
        async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            task_status.started()

    async def node() -> None:
        async with open_supervisor(on_event=Diary().tell) as supervisor:
            await supervisor.start("store", Stutterer, CRITICAL)
            await trio.sleep_forever()

    with pytest.raises(RuntimeError, match="said twice"):
        await node()


async def test_services_stop_in_reverse_order_each_before_the_next(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        for name in ("store", "p2p", "api"):
            await supervisor.start(name, Clerk(name, diary, leave=partial(trio.sleep, 1)), PATIENT)
        report = await supervisor.stop()
        assert report == await supervisor.stop() == StopReport(("api", "p2p", "store"), ())
        assert {state.state for state in supervisor.states()} == {State.STOPPED}
    assert diary.lines[3:] == ["1 api down", "2 p2p down", "3 store down"]


async def test_calls_in_work_are_finished_and_calls_that_come_are_refused_while_stopping(
    autojump_clock: object,
) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor, trio.open_nursery() as nursery:
        mailbox = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)

        async def ask() -> None:
            diary.write(await mailbox.ask(Sleep(5)))

        nursery.start_soon(ask)
        await trio.sleep(1)
        nursery.start_soon(supervisor.stop)
        await trio.sleep(1)
        with pytest.raises(ServiceUnavailable, match="the p2p service is stopping"):
            await mailbox.ask(Lives())
        with pytest.raises(ServiceUnavailable, match="everything is stopping"):
            await supervisor.start("api", Hermit, PATIENT)
    assert sorted(diary.lines) == ["0 p2p up", "5 p2p down", "5 slept"]


async def test_a_laggard_is_cancelled_and_named(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        await supervisor.start("store", Clerk("store", diary), PATIENT)
        await supervisor.start(
            "sales", Clerk("sales", diary, leave=trio.sleep_forever), PATIENT, stop_timeout=7
        )
        await supervisor.start("api", Hermit, PATIENT)
        report = await supervisor.stop()
    assert report == StopReport(("api", "sales", "store"), ("sales",))
    assert diary.lines[2:] == ["7 sales down", "7 store down"]
    notes = [(event.service, event.note) for event in diary.events if event.note]
    assert notes == [("sales", "did not stop within 7 s and is cancelled")]


async def test_a_laggard_that_shields_itself_does_not_keep_the_others_up(autojump_clock: object) -> None:
    diary = Diary()

    async def cling() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async with open_supervisor(on_event=diary.tell) as supervisor:
        await supervisor.start("store", Clerk("store", diary), PATIENT)
        await supervisor.start("sales", Clerk("sales", diary, leave=cling), PATIENT, stop_timeout=7)
        report = await supervisor.stop()
        assert trio.current_time() == 14
    # The block waits on, since a task cannot be left behind.
    assert report.laggards == ("sales",)
    assert diary.lines[2:] == ["14 store down", "100 sales down"]
    assert [event.note for event in diary.events if event.note] == [
        "did not stop within 7 s and is cancelled",
        "has not unwound after another 7 s; the others are stopped",
    ]


async def test_a_block_cancelled_from_outside_still_stops_in_order_and_in_time(
    autojump_clock: object,
) -> None:
    diary = Diary()
    with trio.move_on_after(10) as scope:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            await supervisor.start("store", Clerk("store", diary, leave=partial(trio.sleep, 2)), CRITICAL)
            await supervisor.start(
                "sales", Clerk("sales", diary, leave=trio.sleep_forever), PATIENT, stop_timeout=5
            )
            await supervisor.start("api", Clerk("api", diary, leave=partial(trio.sleep, 1)), PATIENT)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert diary.lines[3:] == ["11 api down", "16 sales down", "18 store down"]


async def test_a_stop_that_is_cancelled_is_taken_up_again(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        await supervisor.start("store", Clerk("store", diary), PATIENT)
        await supervisor.start("api", Clerk("api", diary, leave=partial(trio.sleep, 5)), PATIENT)
        with trio.move_on_after(2) as scope:
            await supervisor.stop()
        assert scope.cancelled_caught
        assert [state.state for state in supervisor.states()] == [State.RUNNING, State.STOPPING]
        assert await supervisor.stop() == StopReport(("api", "store"), ())
    assert diary.lines[2:] == ["5 api down", "5 store down"]


async def test_a_service_may_ask_for_the_stop_of_all(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        await supervisor.start("store", Clerk("store", diary), PATIENT)
        api = await supervisor.start("api", Clerk("api", diary), PATIENT, stop_timeout=3)
        with pytest.raises(ServiceUnavailable, match="was stopped"):
            # It waits for its own end, and is the laggard; leaving the block stops the rest.
            await api.ask(Tell(supervisor.stop))
    assert diary.lines[2:] == ["3 api down", "3 store down"]


async def test_stopping_does_not_wait_out_a_pause(autojump_clock: object) -> None:
    diary = Diary()
    policy = Policy(restarts=3, window=60, backoff_min=30)
    async with open_supervisor(on_event=diary.tell) as supervisor:
        mailbox = await supervisor.start("p2p", Clerk("p2p", diary), policy)
        with pytest.raises(ServiceUnavailable):
            await mailbox.ask(Crash())
        await trio.testing.wait_all_tasks_blocked()
        assert (await supervisor.stop()).laggards == ()
    assert trio.current_time() == 0
    assert [event.state for event in diary.events][2:] == ["restarting", "stopping", "stopped"]


async def test_a_crash_while_stopping_is_noted_and_ends_the_node_only_when_critical(
    autojump_clock: object,
) -> None:
    async def crash() -> None:
        raise ZeroDivisionError("a bug at the end")

    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        await supervisor.start("p2p", Clerk("p2p", diary, leave=crash), PATIENT)
    [state] = supervisor.states()
    assert (state.state, state.last_error) == (State.FAILED, "ZeroDivisionError: a bug at the end")

    async def node() -> None:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            await supervisor.start("store", Clerk("store", diary, leave=crash), CRITICAL)

    with pytest.raises(ZeroDivisionError, match="a bug at the end"):
        await node()


async def test_a_crash_while_stopping_is_not_a_service_given_up(autojump_clock: object) -> None:
    async def crash() -> None:
        raise ZeroDivisionError("a bug at the end")

    async def node() -> None:
        policy = Policy(restarts=5, on_give_up="stop-node")
        async with open_supervisor(on_event=Diary().tell) as supervisor:
            await supervisor.start("chain", Clerk("chain", Diary(), leave=crash), policy)

    with pytest.raises(ZeroDivisionError, match="a bug at the end"):
        await node()


async def test_a_later_boot_is_not_cut_by_a_cancellation_from_outside_but_stopped_in_its_turn(
    autojump_clock: object,
) -> None:
    diary = Diary()
    with trio.move_on_after(8) as scope:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            clerk = Clerk("p2p", diary, boot=partial(trio.sleep, 5))
            p2p = await supervisor.start("p2p", clerk, PATIENT)
            await supervisor.start("api", Clerk("api", diary, leave=partial(trio.sleep, 1)), PATIENT)
            with pytest.raises(ServiceUnavailable):
                await p2p.ask(Crash())
            await trio.sleep_forever()
    assert scope.cancelled_caught
    # Crashed at 5, booting again from 6 to 11, cancelled from outside at 8.
    assert diary.lines == ["5 p2p up", "5 api up", "5 p2p down", "9 api down", "11 p2p up", "11 p2p down"]


async def test_cancelling_a_start_cancels_the_boot(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor:
        with trio.move_on_after(2) as scope:
            await supervisor.start("store", Clerk("store", diary, boot=trio.sleep_forever), PATIENT)
        assert scope.cancelled_caught
        assert supervisor.states()[0].state is State.STOPPED
        # The name is free again.
        await supervisor.start("store", Clerk("store", diary), PATIENT)
        with pytest.raises(ValueError, match="store"):
            await supervisor.start("store", Clerk("store", diary), PATIENT)


async def test_a_boot_that_gets_ready_as_it_is_cancelled_does_not_stay(autojump_clock: object) -> None:
    diary = Diary()

    async def boot() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(3)

    async with open_supervisor(on_event=diary.tell) as supervisor:
        with trio.move_on_after(2) as scope:
            await supervisor.start("store", Clerk("store", diary, boot=boot), PATIENT)
        assert scope.cancelled_caught
        assert trio.current_time() == 3
        assert supervisor.states()[0].state is State.STOPPED


async def test_a_boot_may_be_stopped(autojump_clock: object) -> None:
    diary = Diary()
    async with open_supervisor(on_event=diary.tell) as supervisor, trio.open_nursery() as nursery:

        async def start() -> None:
            with pytest.raises(ServiceUnavailable, match="was stopped while it started"):
                await supervisor.start(
                    "store", Clerk("store", diary, boot=trio.sleep_forever), PATIENT, stop_timeout=4
                )
            diary.write("told")

        nursery.start_soon(start)
        await trio.sleep(1)
        assert (await supervisor.stop()).laggards == ("store",)
    assert diary.lines == ["5 told"]


async def test_an_error_of_the_block_comes_out_alone_and_with_others_in_a_group(
    autojump_clock: object,
) -> None:
    async def node() -> None:
        async with open_supervisor(on_event=Diary().tell) as supervisor:
            await supervisor.start("api", Hermit, PATIENT)
            raise KeyError("alone")

    with pytest.raises(KeyError, match="alone"):
        await node()

    async def crash() -> None:
        raise ZeroDivisionError("a bug at the end")

    diary = Diary()

    async def node() -> None:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            await supervisor.start("store", Clerk("store", diary, leave=crash), CRITICAL)
            raise KeyError("first")

    with pytest.raises(ExceptionGroup) as caught:
        await node()
    assert caught.group_contains(KeyError)
    assert caught.group_contains(ZeroDivisionError)


async def test_states_carry_the_time_of_the_given_clock(autojump_clock: object) -> None:
    epoch = 1_700_000_000.0
    async with open_supervisor(clock=VirtualClock(epoch), on_event=Diary().tell) as supervisor:
        await trio.sleep(5)
        await supervisor.start("api", Hermit, PATIENT)
        await trio.sleep(5)
        assert supervisor.states()[0].since == epoch + 5


@pytest.mark.parametrize(
    "wrong", [{"restarts": -1}, {"window": -1.0}, {"backoff_min": -0.1}, {"backoff_max": -0.1}]
)
def test_a_policy_of_negative_numbers_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Policy(**wrong)


async def test_a_thousand_starts_and_stops_leave_nothing_behind(autojump_clock: object) -> None:
    diary = Diary()
    threads = Threads(limit=2)

    async def boot() -> None:
        await threads.run(math.sqrt, 2.0)

    async def once() -> None:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            store = await supervisor.start("store", Clerk("store", diary, boot=boot), CRITICAL)
            p2p = await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
            await supervisor.start("api", Hermit, PATIENT)
            assert await store.ask(Lives()) == await p2p.ask(Lives()) == 1

    await once()
    with leak_check():
        for _ in range(1000):
            await once()
    stopped = [event for event in diary.events if event.state is State.STOPPED]
    assert len(stopped) == 3 * 1001


async def test_cancelled_at_every_checkpoint_nothing_stays_up(autojump_clock: object) -> None:
    diary = Diary()

    async def operation() -> None:
        async with open_supervisor(on_event=diary.tell) as supervisor:
            store = await supervisor.start("store", Clerk("store", diary), CRITICAL)
            await supervisor.start("p2p", Clerk("p2p", diary), PATIENT)
            await store.ask(Lives())
            await supervisor.stop()

    async def check() -> None:
        for name in ("store", "p2p"):
            lives = [line.split()[2] for line in diary.lines if f" {name} " in line]
            assert lives == ["up", "down"] * (len(lives) // 2)
        ups = [event.service for event in diary.events if event.state is State.STARTING]
        ends = [event.service for event in diary.events if event.state is State.STOPPED]
        assert sorted(ups) == sorted(ends)

    with leak_check():
        assert await cancel_at_every_checkpoint(operation, check) > 10


async def test_the_log_names_crashes_and_laggards(autojump_clock: object) -> None:
    @frozen
    class Settings:
        level: str = "info"
        format: str = "json"
        file: Path | None = None

    stream = io.StringIO()
    with configured(Settings(), stream=stream):
        async with open_supervisor() as supervisor:
            clerk = Clerk("p2p", Diary(), leave=trio.sleep_forever)
            mailbox = await supervisor.start("p2p", clerk, PATIENT, stop_timeout=7)
            with pytest.raises(ServiceUnavailable):
                await mailbox.ask(Crash())
            await mailbox.ask(Lives())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "service starting"),
        ("info", "service running"),
        ("error", "service crashed"),
        ("info", "service starting"),
        ("info", "service running"),
        ("info", "service stopping"),
        ("warn", "service lags"),
        ("info", "service stopped"),
    ]
    assert {(line["topic"], line["service"]) for line in lines} == {("runtime", "p2p")}
    assert "ZeroDivisionError: a bug in p2p" in lines[2]["exception"]
    assert lines[6]["note"] == "did not stop within 7 s and is cancelled"
