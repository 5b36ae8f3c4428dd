"""The states of a supervised service, as the table that the supervisor moves by.

A service that has stopped or failed stays so; the supervisor makes a new entry when it is started again.
"""

from enum import StrEnum

from codex.runtime.machine import Row, Table, validate


class State(StrEnum):
    """Where a service stands."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"  # crashed, and pausing before the next life
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Event(StrEnum):
    """What happens to a service."""

    READY = "ready"
    CRASH = "crash"
    GIVE_UP = "give-up"
    RETRY = "retry"
    STOP = "stop"
    END = "end"


_ANYTIME = {Event.STOP: State.STOPPING, Event.GIVE_UP: State.FAILED}

STATES: Table[State, Event, None] = validate(
    Table(
        start=State.STARTING,
        terminal=frozenset({State.STOPPED, State.FAILED}),
        rows={
            State.STARTING: Row(
                moves={Event.READY: State.RUNNING}, interrupts={Event.CRASH: State.RESTARTING, **_ANYTIME}
            ),
            State.RUNNING: Row(interrupts={Event.CRASH: State.RESTARTING, **_ANYTIME}),
            State.RESTARTING: Row(moves={Event.RETRY: State.STARTING}, interrupts=_ANYTIME),
            State.STOPPING: Row(moves={Event.END: State.STOPPED}, interrupts={Event.GIVE_UP: State.FAILED}),
            State.STOPPED: Row(),
            State.FAILED: Row(),
        },
    )
)
