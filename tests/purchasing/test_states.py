"""The table of a purchase: every state has a way out, and interrupts lead where the chain says."""

import pytest

from codex.purchasing.states import PURCHASE, Event, State
from codex.runtime import Machine, mermaid

EXPECTED = {
    (State.SUBMITTED, Event.FULFILLED): State.STARTED,
    (State.SUBMITTED, Event.EXPIRED): State.CANCELLED,
    (State.SUBMITTED, Event.ENDED): State.FINISHED,
    (State.SUBMITTED, Event.REQUEST_FAILED): State.FAILED,
    (State.SUBMITTED, Event.LOOK): State.UNKNOWN,
    (State.STARTED, Event.ENDED): State.FINISHED,
    (State.STARTED, Event.REQUEST_FAILED): State.FAILED,
    (State.STARTED, Event.LOOK): State.UNKNOWN,
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_each_state_with_each_interrupt(state: State, event: Event) -> None:
    machine = Machine(PURCHASE, state)
    assert machine.interrupted_by(event) == ((state, event) in EXPECTED)
    if (state, event) in EXPECTED:
        assert machine.fire(event) is EXPECTED[state, event]


@pytest.mark.parametrize("state", [state for state in State if state not in PURCHASE.terminal])
def test_what_cannot_be_done_now_is_done_again(state: State) -> None:
    assert PURCHASE.rows[state].moves[Event.AGAIN] is state


def test_the_drawing_has_every_state() -> None:
    assert all(state.value in mermaid(PURCHASE) for state in State)
