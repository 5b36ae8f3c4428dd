"""The table of a sale: every state has a way out, and each interrupt leads where money is safe."""

import pytest

from codex.runtime import Machine, mermaid
from codex.sales.states import SALE, STAKED, Event, State
from codex.sales.steps import STEPS

UNSTAKED = {State.PREPARING, State.SLOT_RESERVING, State.DOWNLOADING, State.INITIAL_PROVING}
HELD = {State.FILLED, State.PROVING}
FROM_OUTSIDE = [
    Event.REQUEST_CANCELLED,
    Event.REQUEST_FAILED,
    Event.REQUEST_FINISHED,
    Event.SLOT_FREED,
    Event.OUTDONE,
    Event.LOOK,
]


def where(state: State, event: Event) -> State | None:
    """Where an interrupt leads, None when it is let go."""
    match event:
        case Event.REQUEST_CANCELLED if state in UNSTAKED | HELD:
            return State.CANCELLED
        case Event.REQUEST_FAILED if state in UNSTAKED | HELD:
            return State.FAILED
        case Event.REQUEST_FINISHED if state in HELD:
            return State.PAYOUT
        case Event.REQUEST_FINISHED | Event.OUTDONE if state in UNSTAKED:
            return State.IGNORED
        case Event.SLOT_FREED if state in HELD:
            return State.ERRORED
        case Event.LOOK if state in HELD:
            return State.UNKNOWN
    return None


@pytest.mark.parametrize("event", FROM_OUTSIDE)
@pytest.mark.parametrize("state", State)
def test_each_state_with_each_interrupt(state: State, event: Event) -> None:
    expected = where(state, event)
    machine = Machine(SALE, state)
    assert machine.interrupted_by(event) == (expected is not None)
    if expected is not None:
        assert machine.fire(event) is expected


@pytest.mark.parametrize("state", State)
def test_each_state_has_its_step_and_its_end(state: State) -> None:
    """From everywhere the sale can be cleaned up, and where money is at stake no fault of ours ends it."""
    row = SALE.rows[state]
    assert (state in STEPS) == (state not in SALE.terminal)
    reached, ahead = set(), [state]
    while ahead:
        here = ahead.pop()
        if here not in reached:
            reached.add(here)
            ahead += [target for _, target in SALE.rows[here].exits()]
    assert State.CLEANED_UP in reached
    if state in STAKED:
        assert Event.FAULT not in row.moves
    if state in STEPS:
        assert row.moves[Event.AGAIN] is state


def test_nobody_holds_a_slot_who_has_not_filled_it() -> None:
    """FILLED is reached from filling and from what the chain says only, PAYOUT from holding only."""
    into = {
        target: {s for s, row in SALE.rows.items() if target in dict(row.exits()).values()}
        for target in State
    }
    assert into[State.FILLED] == {State.FILLING, State.UNKNOWN, State.FILLED}
    assert into[State.PAYOUT] == {State.FILLED, State.PROVING, State.UNKNOWN, State.PAYOUT}
    assert into[State.CLEANED_UP] == {State.FINISHED, State.CANCELLED, State.ERRORED, State.IGNORED}


def test_the_drawing_has_every_state() -> None:
    drawn = mermaid(SALE)
    assert all(state.value in drawn for state in State)
