"""The table of a service's states."""

import pytest

from codex.runtime.lifecycle import STATES, Event, State
from codex.runtime.machine import validate


def test_the_table_is_valid_and_covers_every_state() -> None:
    assert set(validate(STATES).rows) == set(State)


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.RESTARTING])
def test_a_living_service_may_be_stopped_or_given_up_at_any_time(state: State) -> None:
    assert STATES.rows[state].interrupts[Event.STOP] is State.STOPPING
    assert STATES.rows[state].interrupts[Event.GIVE_UP] is State.FAILED


def test_stopping_is_not_undone_by_a_restart() -> None:
    assert set(dict(STATES.rows[State.STOPPING].exits()).values()) == {State.STOPPED, State.FAILED}


def test_states_read_as_words() -> None:
    assert [str(state) for state in State] == [
        "starting",
        "running",
        "restarting",
        "stopping",
        "stopped",
        "failed",
    ]
