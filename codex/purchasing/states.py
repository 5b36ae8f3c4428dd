"""The states of a purchase, as a table: one request for storage, from asking for it to the last token.

UNKNOWN is where a purchase is taken up again after a restart, from what the chain says. What takes money out
is interrupted by nothing, and what cannot be done now is done again (AGAIN).
"""

from enum import StrEnum

from codex.runtime.machine import Row, Table, validate


class State(StrEnum):
    """Where a purchase stands. The values are those that the network's tools know."""

    PENDING = "pending"
    """It is being sent to the chain."""
    SUBMITTED = "submitted"
    """Hosts may fill its slots."""
    STARTED = "started"
    """All slots are filled."""
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"
    ERRORED = "errored"
    UNKNOWN = "unknown"


class Event(StrEnum):
    """What happens to a purchase."""

    SENT = "sent"
    REFUSED = "refused"  # the chain does not take it; nothing was paid
    UNSENT = "unsent"  # it may not have been sent before the node stopped
    FULFILLED = "fulfilled"
    EXPIRED = "expired"  # not all slots were filled in time
    ENDED = "ended"
    REQUEST_FAILED = "request-failed"  # more slots were lost than may be
    LOST = "lost"  # the chain does not know it, though it was sent
    AGAIN = "again"
    LOOK = "look"  # the chain took back what it had told


_OVER = {Event.EXPIRED: State.CANCELLED, Event.ENDED: State.FINISHED, Event.REQUEST_FAILED: State.FAILED}

PURCHASE: Table[State, Event, None] = validate(
    Table(
        start=State.PENDING,
        terminal=frozenset({State.FINISHED, State.CANCELLED, State.ERRORED}),
        rows={
            State.PENDING: Row(
                moves={
                    Event.SENT: State.SUBMITTED,
                    Event.REFUSED: State.ERRORED,
                    Event.AGAIN: State.PENDING,
                }
            ),
            State.SUBMITTED: Row(
                moves={Event.LOST: State.ERRORED, Event.AGAIN: State.SUBMITTED},
                interrupts={Event.FULFILLED: State.STARTED, Event.LOOK: State.UNKNOWN, **_OVER},
            ),
            State.STARTED: Row(
                moves={Event.LOST: State.ERRORED, Event.AGAIN: State.STARTED},
                interrupts={
                    Event.ENDED: State.FINISHED,
                    Event.REQUEST_FAILED: State.FAILED,
                    Event.LOOK: State.UNKNOWN,
                },
            ),
            State.FAILED: Row(moves={Event.REFUSED: State.ERRORED, Event.AGAIN: State.FAILED}),
            State.UNKNOWN: Row(
                moves={
                    Event.UNSENT: State.PENDING,
                    Event.SENT: State.SUBMITTED,
                    Event.FULFILLED: State.STARTED,
                    Event.LOST: State.ERRORED,
                    Event.AGAIN: State.UNKNOWN,
                    **_OVER,
                }
            ),
            State.FINISHED: Row(),
            State.CANCELLED: Row(),
            State.ERRORED: Row(),
        },
    )
)

LOOKED_AFTER = frozenset({State.SUBMITTED, State.STARTED})
"""States in which there is nothing to do but to wait for what the chain says."""
