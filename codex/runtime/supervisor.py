"""The supervisor: starts services in order, restarts those that crash, stops them in reverse and in time.

A service is an object with `run(inbox)`, made anew for each life by its factory. Restart is boot: a new
life rebuilds itself in `run` before it says `task_status.started()`. The supervisor owns the mailbox, so
handles and calls that wait survive the lives of the service.

How a service's state moves is the table in `lifecycle.py`. Who is told of a crash: the asker of the call it
happened over gets `ServiceUnavailable` at once; the log gets the error; when the policy says so, the block
of `open_supervisor` ends with it.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf
from typing import Literal, Protocol

import trio
from attrs import define, field, frozen
from attrs.validators import ge

from codex.errors import GaveUp, ServiceUnavailable
from codex.logs import get_logger
from codex.runtime.clock import Clock, SystemClock
from codex.runtime.condition import Condition
from codex.runtime.groups import lone, unwrapped
from codex.runtime.lifecycle import STATES, Event, State
from codex.runtime.machine import Machine
from codex.runtime.mailbox import Inbox, Mailbox
from codex.runtime.waits import Queue

_log = get_logger("runtime")


class Service(Protocol):
    """What the supervisor runs. One object is one life."""

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        """Boot, call `task_status.started()` when ready, and work until `inbox.stopping` is set; then return.

        Any other end is a crash: an exception, or returning without having been asked to.
        """
        ...


@frozen
class Policy:
    """How often a service may crash.

    `restarts` crashes within `window` seconds are followed by a new life, after a pause of `backoff_min`
    seconds that doubles with each crash in the window up to `backoff_max`. One more crash, and the service
    is given up:

    * "degrade": its mailbox is closed, its state is failed, and everything else goes on.
    * "stop-node": the block of `open_supervisor` ends with `GaveUp`, or, where no restart was ever allowed,
      with the crash itself.
    """

    restarts: int = field(default=5, validator=ge(0))
    window: float = field(default=60.0, validator=ge(0))
    backoff_min: float = field(default=0.1, validator=ge(0))
    backoff_max: float = field(default=30.0, validator=ge(0))
    on_give_up: Literal["stop-node", "degrade"] = "degrade"


CRITICAL = Policy(restarts=0, on_give_up="stop-node")
"""For a service after whose crash nothing in memory can be trusted: no restart, the crash ends the node."""


@frozen
class ServiceState:
    """How one service stands.

    `since` is unix seconds; `restarts` counts all so far; `last_error` is text, and empty when all was well;
    `queue` is what its mailbox holds; `condition` is what ails it by its own account, None when it is well.
    """

    name: str
    state: State
    since: float
    restarts: int
    last_error: str
    queue: Queue = field(factory=Queue)
    condition: Condition | None = None


@frozen
class ServiceEvent:
    """Something that happened to a service: it came to `state`; or `note` says why it does not leave it.

    `at` is unix seconds; `error` is what it crashed with.
    """

    service: str
    state: State
    at: float
    note: str = ""
    error: BaseException | None = None


def log_event(event: ServiceEvent) -> None:
    """Write `event` to the log: a crash as an error, a laggard as a warning, the rest as information."""
    if event.error is not None:
        _log.error("service crashed", service=event.service, state=event.state.value, exc_info=event.error)
    elif event.note:
        _log.warning("service lags", service=event.service, state=event.state.value, note=event.note)
    else:
        _log.info(f"service {event.state.value}", service=event.service)


@frozen
class StopReport:
    """The services in the order they were stopped, and those of them that had to be cancelled."""

    stopped: tuple[str, ...]
    laggards: tuple[str, ...]


@define(eq=False)
class _Unit:
    """One service under supervision, and where it stands. `scope` is around its present life."""

    name: str
    factory: Callable[[], Service]
    policy: Policy
    stop_timeout: float
    mailbox: Mailbox
    since: float
    machine: Machine[State, Event, None] = field(factory=lambda: Machine(STATES))
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)
    booted: bool = False
    crashes: deque[float] = field(factory=deque)
    restarts: int = 0
    last_error: str = ""
    laggard: bool = False

    @property
    def stopping(self) -> trio.Event:
        return self.mailbox.inbox.stopping

    def seen(self) -> ServiceState:
        queue, ails = self.mailbox.queue(), self.mailbox.inbox.condition
        return ServiceState(
            self.name, self.machine.state, self.since, self.restarts, self.last_error, queue, ails
        )


@asynccontextmanager
async def open_supervisor(
    *, clock: Clock | None = None, on_event: Callable[[ServiceEvent], None] = log_event
) -> AsyncIterator["Supervisor"]:
    """Open a supervisor; leaving the block, in whatever way, stops its services as `Supervisor.stop` does.

    A cancellation of the block from outside does not reach the services, so that they still stop in order:
    it is they who are asked, each within its `stop_timeout`. What cannot be bounded is code that shields
    itself from cancellation, or a thread that does not end; such a service is named, and the block waits
    for it.

    Raises what the block raised, and what ended a service whose policy says "stop-node": alone when it is
    one error, else as a group. `on_event` is told everything, at once; it must neither wait nor raise.
    """
    with unwrapped():
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(nursery, clock or SystemClock(), on_event)
            try:
                yield supervisor
            finally:
                with trio.CancelScope(shield=True):
                    await supervisor.stop()


class Supervisor:
    """The services of one node. Made by `open_supervisor`."""

    def __init__(self, nursery: trio.Nursery, clock: Clock, on_event: Callable[[ServiceEvent], None]) -> None:
        self._nursery = nursery
        self._clock = clock
        self._on_event = on_event
        self._units: dict[str, _Unit] = {}
        self._stopping = False
        self._stop_order: list[_Unit] = []
        self._one_stop = trio.Lock()

    async def start(
        self, name: str, factory: Callable[[], Service], policy: Policy, *, stop_timeout: float = 10.0
    ) -> Mailbox:
        """Start a service and return its mailbox once it is ready.

        What goes wrong in this first boot is raised here, as itself; there is no restart. Cancelling the
        caller cancels the boot. `stop_timeout`: seconds it may take to finish when it is asked to stop.

        Raises `ServiceUnavailable` when the supervisor is stopping, and ValueError when a service has that
        name.
        """
        if self._stopping:
            raise ServiceUnavailable(f"the {name} service is not started any more: everything is stopping")
        if name in self._units and not self._units[name].machine.ended:
            raise ValueError(f"there is a service named {name}")
        self._units.pop(name, None)
        unit = _Unit(name, factory, policy, stop_timeout, Mailbox(name), self._clock.now())
        self._units[name] = unit
        self._tell(unit)
        await self._nursery.start(self._keep, unit, name=f"service {name}")
        return unit.mailbox

    def states(self) -> tuple[ServiceState, ...]:
        """Return how every service stands, in the order they were started."""
        return tuple(unit.seen() for unit in self._units.values())

    async def stop(self) -> StopReport:
        """Stop every service, the last started first, each before the next.

        A service first sees `inbox.stopping`, and its mailbox is closed: calls that wait, and later ones,
        get `ServiceUnavailable`; calls in work are finished. After its `stop_timeout` it is named a laggard
        and cancelled. A laggard that has not unwound after another `stop_timeout` is named again and no
        longer waited for, so this returns within twice the sum of the timeouts.

        May be called again, also after a cancelled call: it goes on where it was, and reports on everything.
        """
        self._stopping = True
        async with self._one_stop:
            for unit in reversed(tuple(self._units.values())):
                if unit not in self._stop_order and not unit.machine.ended:
                    await self._stop(unit)
                    self._stop_order.append(unit)
        return StopReport(
            tuple(unit.name for unit in self._stop_order),
            tuple(unit.name for unit in self._stop_order if unit.laggard),
        )

    async def _stop(self, unit: _Unit) -> None:
        if unit.machine.state is not State.STOPPING:
            self._move(unit, Event.STOP)
            unit.mailbox.close(f"the {unit.name} service is stopping")
        with trio.move_on_after(unit.stop_timeout):
            await unit.ended.wait()
            return
        unit.laggard = True
        self._tell(unit, note=f"did not stop within {unit.stop_timeout:g} s and is cancelled")
        unit.scope.cancel()
        with trio.move_on_after(unit.stop_timeout):
            await unit.ended.wait()
            return
        self._tell(
            unit, note=f"has not unwound after another {unit.stop_timeout:g} s; the others are stopped"
        )

    async def _keep(self, unit: _Unit, *, task_status: trio.TaskStatus[None]) -> None:
        """Run a service, life after life, until it is stopped or given up."""
        error: BaseException | None = None
        told = False
        try:
            error = await self._lives(unit, task_status)
            told = unit.stopping.is_set()
        except trio.Cancelled:
            raise
        except BaseException as end:
            error = end
            raise
        finally:
            self._end(unit, error)
        if error is None:
            if not unit.booted:
                raise ServiceUnavailable(f"the {unit.name} service was stopped while it started")
        elif not unit.booted or unit.policy.on_give_up == "stop-node":
            if unit.booted and unit.policy.restarts and not told:
                raise GaveUp(f"the {unit.name} service crashed too often: {unit.last_error}") from error
            raise error

    async def _lives(self, unit: _Unit, task_status: trio.TaskStatus[None]) -> BaseException | None:
        """Run lives with pauses between them; return the crash that was one too many, or None when stopped.

        A crash is also returned, and not followed by a life, while stopping and in the first boot.
        """
        while True:
            crash = await self._live(unit, task_status)
            if unit.stopping.is_set() or not unit.booted or self._too_many(unit):
                return crash
            self._move(unit, Event.CRASH, crash)
            with trio.move_on_after(self._pause(unit)):
                await unit.stopping.wait()
                return None
            unit.restarts += 1
            self._move(unit, Event.RETRY)

    async def _live(self, unit: _Unit, task_status: trio.TaskStatus[None]) -> BaseException | None:
        """Run one life of a service; return what it crashed with, or None when it ended as it was told.

        A life is shielded from the cancellation of the supervisor's block, except for the first boot, which
        belongs to the caller of `start`.
        """
        unit.scope = trio.CancelScope(shield=unit.booted)
        unit.mailbox.inbox.condition = None
        try:
            with unit.scope:
                await unit.factory().run(unit.mailbox.inbox, task_status=_Ready(self, unit, task_status))
        except Exception as error:
            return lone(error)
        if unit.stopping.is_set():
            return None
        return RuntimeError(f"the {unit.name} service ended without having been asked to")

    def _ready(self, unit: _Unit) -> None:
        """Note that a service has booted."""
        if unit.machine.state is State.STARTING:
            self._move(unit, Event.READY)
        # A boot that is being cancelled must go on to be: no shield may come down in front of that.
        unit.scope.shield = trio.current_effective_deadline() > -inf
        unit.booted = True

    def _too_many(self, unit: _Unit) -> bool:
        """Count a crash, and return whether the policy allows no further life."""
        now = trio.current_time()
        unit.crashes.append(now)
        while unit.crashes[0] < now - unit.policy.window:
            unit.crashes.popleft()
        return len(unit.crashes) > unit.policy.restarts

    def _pause(self, unit: _Unit) -> float:
        """Return how long to wait before the next life, in seconds."""
        return min(unit.policy.backoff_max, unit.policy.backoff_min * 2.0 ** (len(unit.crashes) - 1))

    def _end(self, unit: _Unit, error: BaseException | None) -> None:
        """Note that a service will not run again."""
        if error is not None:
            self._move(unit, Event.GIVE_UP, error)
        else:
            if unit.machine.state is not State.STOPPING:
                self._move(unit, Event.STOP)
            self._move(unit, Event.END)
        unit.mailbox.close(f"the {unit.name} service is {unit.machine.state.value}")
        unit.ended.set()

    def _move(self, unit: _Unit, event: Event, error: BaseException | None = None) -> None:
        unit.machine.fire(event)
        unit.since = self._clock.now()
        if error is not None:
            unit.last_error = f"{type(error).__name__}: {error}"
        self._tell(unit, error=error)

    def _tell(self, unit: _Unit, note: str = "", error: BaseException | None = None) -> None:
        self._on_event(ServiceEvent(unit.name, unit.machine.state, self._clock.now(), note, error))


@define(eq=False)
class _Ready:
    """The `task_status` of one life; the first one also ends the wait of `Supervisor.start`."""

    _supervisor: Supervisor
    _unit: _Unit
    _start: trio.TaskStatus[None]
    _said: bool = field(default=False, init=False)

    def started(self, value: None = None) -> None:
        if self._said:
            raise RuntimeError(f"the {self._unit.name} service said twice that it had started")
        self._said = True
        first = not self._unit.booted
        self._supervisor._ready(self._unit)
        if first:
            self._start.started()
