"""State machines as tables: for each state what is done in it, where it may go, and what may interrupt it.

The table is data and is checked once (`validate`), stepped without any waiting (`Machine.fire`) and drawn
for the docs (`mermaid`). Whoever runs a state's step, and turns what came of it into an event, is not in
this file.
"""

from collections.abc import Hashable, Iterator, Mapping
from enum import Enum
from typing import Generic, TypeVar

from attrs import field, frozen

S = TypeVar("S", bound=Hashable)
E = TypeVar("E", bound=Hashable)
W = TypeVar("W")


class BadTable(ValueError):
    """A table that no machine may run on; the message lists everything that is wrong with it."""


class IllegalMove(ValueError):
    """An event that the table does not allow in the present state."""


@frozen
class Row(Generic[S, E, W]):
    """One state: what is done in it, and which event leads where.

    `moves` are the outcomes of its own `step`; `interrupts` come from outside and end the step before it is
    done. A state with neither is terminal. `step` is for the driver of the machine, and None where there is
    nothing to do.
    """

    moves: Mapping[E, S] = field(factory=dict)
    interrupts: Mapping[E, S] = field(factory=dict)
    step: W | None = None

    def exits(self) -> Iterator[tuple[E, S]]:
        """Yield every event that leaves this state, with where it leads: own moves first."""
        yield from self.moves.items()
        yield from self.interrupts.items()


@frozen
class Table(Generic[S, E, W]):
    """A whole machine: where it starts, where it may end, and a row for each state."""

    start: S
    terminal: frozenset[S]
    rows: Mapping[S, Row[S, E, W]]


def validate(table: Table[S, E, W]) -> Table[S, E, W]:
    """Return `table`, or raise `BadTable`.

    Every state named has a row; a state has exits exactly when it is not terminal; every state can be
    reached from the start; no event is at once a move and an interrupt of the same state.
    """
    wrong = [
        f"{_word(state)} has no row" for state in (table.start, *table.terminal) if state not in table.rows
    ]
    for state, row in table.rows.items():
        exits = dict(row.exits())
        wrong += [
            f"{_word(state)} goes to {_word(target)} on {_word(event)}, which has no row"
            for event, target in row.exits()
            if target not in table.rows
        ]
        wrong += [
            f"{_word(state)} has {_word(event)} both as a move and as an interrupt"
            for event in row.moves.keys() & row.interrupts.keys()
        ]
        if exits and state in table.terminal:
            wrong.append(f"{_word(state)} is terminal and has an exit")
        if not exits and state not in table.terminal:
            wrong.append(f"{_word(state)} has no exit")
    wrong += [f"{_word(state)} cannot be reached" for state in table.rows if state not in _reachable(table)]
    if wrong:
        raise BadTable("; ".join(wrong))
    return table


def mermaid(table: Table[S, E, W]) -> str:
    """Return the table as a mermaid state diagram; interrupts are marked with an exclamation mark."""
    lines = ["stateDiagram-v2", f"    [*] --> {_word(table.start)}"]
    for state, row in table.rows.items():
        lines += [f"    {_word(state)} --> {_word(to)}: {_word(event)}" for event, to in row.moves.items()]
        lines += [
            f"    {_word(state)} --> {_word(to)}: {_word(event)}!" for event, to in row.interrupts.items()
        ]
        if state in table.terminal:
            lines.append(f"    {_word(state)} --> [*]")
    return "\n".join(lines) + "\n"


class Machine(Generic[S, E, W]):
    """Where one thing stands on a valid table. Moves by `fire` only, and never waits."""

    def __init__(self, table: Table[S, E, W], state: S | None = None) -> None:
        """Stand at `state`, for something that was there before a restart; at the start of the table when
        None."""
        self._table = table
        self._state = table.start if state is None else state
        if self._state not in table.rows:
            raise IllegalMove(f"there is no state {_word(self._state)}")

    @property
    def state(self) -> S:
        return self._state

    @property
    def step(self) -> W | None:
        """What is to be done in the present state."""
        return self._table.rows[self._state].step

    @property
    def ended(self) -> bool:
        """Whether the present state is terminal."""
        return self._state in self._table.terminal

    def interrupted_by(self, event: E) -> bool:
        """Whether `event` may end the present state's step before it is done."""
        return event in self._table.rows[self._state].interrupts

    def fire(self, event: E) -> S:
        """Take the exit that `event` opens, and return the new state. Raises `IllegalMove` when there is
        none."""
        row = self._table.rows[self._state]
        for name, target in row.exits():
            if name == event:
                self._state = target
                return target
        raise IllegalMove(f"{_word(event)} means nothing in state {_word(self._state)}")


def _reachable(table: Table[S, E, W]) -> set[S]:
    reached: set[S] = set()
    ahead = [table.start]
    while ahead:
        state = ahead.pop()
        if state not in reached and state in table.rows:
            reached.add(state)
            ahead += [target for _, target in table.rows[state].exits()]
    return reached


def _word(name: object) -> str:
    return str(name.value) if isinstance(name, Enum) else str(name)
