"""State machines: what a table may look like, and how a machine moves on it."""

from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.runtime.machine import BadTable, IllegalMove, Machine, Row, Table, mermaid, validate


class Door(Enum):
    OPEN = "open"
    SHUT = "shut"
    GONE = "gone"


DOOR: Table[Door, str, str] = Table(
    start=Door.OPEN,
    terminal=frozenset({Door.GONE}),
    rows={
        Door.OPEN: Row(moves={"push": Door.SHUT}, interrupts={"fire": Door.GONE}, step="stand"),
        Door.SHUT: Row(moves={"pull": Door.OPEN, "knock": Door.SHUT}, interrupts={"fire": Door.GONE}),
        Door.GONE: Row(),
    },
)


def test_a_good_table_is_returned() -> None:
    assert validate(DOOR) is DOOR


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        (
            Table("a", frozenset("b"), {"a": Row({"go": "b"})}),
            "b has no row; a goes to b on go, which has no row",
        ),
        (Table("x", frozenset("b"), {"b": Row()}), "x has no row; b cannot be reached"),
        (Table("a", frozenset(), {"a": Row()}), "a has no exit"),
        (Table("a", frozenset("a"), {"a": Row({"go": "a"})}), "a is terminal and has an exit"),
        (Table("a", frozenset("ab"), {"a": Row(), "b": Row()}), "b cannot be reached"),
        (
            Table("a", frozenset("b"), {"a": Row({"go": "b"}, {"go": "a"}), "b": Row()}),
            "a has go both as a move and as an interrupt",
        ),
    ],
)
def test_a_bad_table_is_refused_with_all_that_is_wrong(table: Table[str, str, None], wrong: str) -> None:
    with pytest.raises(BadTable) as caught:
        validate(table)
    assert str(caught.value) == wrong


def test_a_machine_starts_at_the_start_and_ends_at_a_terminal_state() -> None:
    door = Machine(DOOR)
    assert (door.state, door.step, door.ended) == (Door.OPEN, "stand", False)
    assert door.fire("push") is Door.SHUT
    assert (door.state, door.step) == (Door.SHUT, None)
    assert door.fire("knock") is Door.SHUT
    assert door.fire("fire") is Door.GONE
    assert door.ended


def test_an_illegal_event_is_refused_and_moves_nothing() -> None:
    door = Machine(DOOR)
    with pytest.raises(IllegalMove, match="pull means nothing in state open"):
        door.fire("pull")
    assert door.state is Door.OPEN


def test_only_interrupts_interrupt() -> None:
    door = Machine(DOOR)
    assert door.interrupted_by("fire")
    assert not door.interrupted_by("push")


def test_a_machine_may_go_on_from_a_state_it_was_in() -> None:
    door = Machine(DOOR, Door.SHUT)
    assert door.fire("pull") is Door.OPEN
    with pytest.raises(IllegalMove, match="no state ajar"):
        Machine(DOOR, "ajar")


def test_the_drawing_shows_every_exit() -> None:
    assert mermaid(DOOR) == (
        "stateDiagram-v2\n"
        "    [*] --> open\n"
        "    open --> shut: push\n"
        "    open --> gone: fire!\n"
        "    shut --> open: pull\n"
        "    shut --> shut: knock\n"
        "    shut --> gone: fire!\n"
        "    gone --> [*]\n"
    )


@given(st.lists(st.sampled_from(["push", "pull", "knock", "fire"])))
def test_a_machine_is_where_its_table_says(events: list[str]) -> None:
    door, state = Machine(DOOR), Door.OPEN
    for event in events:
        exits = dict(DOOR.rows[state].exits())
        if event in exits:
            state = exits[event]
            assert door.fire(event) is state
        else:
            with pytest.raises(IllegalMove):
                door.fire(event)
        assert door.state is state
