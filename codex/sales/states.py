"""The states of a sale, as the table that an agent moves by: one slot, from the first look at it to the last.

::

    PREPARING -> SLOT_RESERVING -> DOWNLOADING -> INITIAL_PROVING -> FILLING
              -> FILLED -> PROVING -> PAYOUT -> FINISHED

Up to FILLING nothing is at stake: whatever goes wrong ends the sale, and everything that was set aside comes
back. From FILLED on the contract has the collateral, and only the chain ends the sale: a step that fails is
done again (AGAIN leads a state to itself), for to give up would cost the collateral.

FILLING, and what takes the collateral back, is interrupted by nothing: what was sent cannot be taken back,
and the next step looks at what came of it. A stop ends an agent wherever it is; the next start takes it up
in UNKNOWN, from what the chain says and the reservation has noted.
"""

from enum import StrEnum

from codex.runtime.machine import Row, Table, validate


class State(StrEnum):
    """Where a sale stands. The values are those that the network's tools know."""

    PREPARING = "SalePreparing"
    SLOT_RESERVING = "SaleSlotReserving"
    DOWNLOADING = "SaleDownloading"
    INITIAL_PROVING = "SaleInitialProving"
    FILLING = "SaleFilling"
    FILLED = "SaleFilled"
    PROVING = "SaleProving"
    PAYOUT = "SalePayout"
    FINISHED = "SaleFinished"
    FAILED = "SaleFailed"
    CANCELLED = "SaleCancelled"
    ERRORED = "SaleErrored"
    IGNORED = "SaleIgnored"
    UNKNOWN = "SaleUnknown"
    CLEANED_UP = "SaleCleanedUp"  # nobody sees an agent in it: it is gone by then


class Event(StrEnum):
    """What happens to a sale."""

    # Outcomes of steps.
    MATCHED = "matched"  # an availability takes the slot, and has set its share aside
    UNWANTED = "unwanted"  # none does
    CLOSED = "closed"  # the slot cannot be filled any more
    RESERVED = "reserved"
    REFUSED = "refused"  # as many hosts as may have reserved it
    STORED = "stored"
    PROVED = "proved"
    STALE = "stale"  # the proof was made for a challenge that is over
    FILLED = "filled"
    PAID = "paid"
    LOST = "lost"  # the slot was ours, and was taken from us
    FAULT = "fault"  # something failed while nothing was at stake
    AGAIN = "again"  # something failed, and is tried again after a pause
    CLEAN = "clean"
    # How a sale that was begun before a restart goes on.
    RESERVE = "reserve"
    STORE = "store"
    # What comes from outside; a step that sees it first says the same.
    REQUEST_CANCELLED = "request-cancelled"
    REQUEST_FAILED = "request-failed"
    REQUEST_FINISHED = "request-finished"
    SLOT_FREED = "slot-freed"
    OUTDONE = "outdone"  # another host has filled the slot
    LOOK = "look"  # the chain took back what it had told


_OVER = {
    Event.REQUEST_CANCELLED: State.CANCELLED,
    Event.REQUEST_FAILED: State.FAILED,
}
_UNSTAKED = {**_OVER, Event.REQUEST_FINISHED: State.IGNORED, Event.OUTDONE: State.IGNORED}
_STAKED = {
    **_OVER,
    Event.REQUEST_FINISHED: State.PAYOUT,
    Event.SLOT_FREED: State.ERRORED,
    Event.LOOK: State.UNKNOWN,
}
_FAULT = {Event.FAULT: State.ERRORED}


def _again(state: State) -> dict[Event, State]:
    return {Event.AGAIN: state}


SALE: Table[State, Event, None] = validate(
    Table(
        start=State.PREPARING,
        terminal=frozenset({State.CLEANED_UP}),
        rows={
            State.PREPARING: Row(
                moves={
                    Event.MATCHED: State.SLOT_RESERVING,
                    Event.UNWANTED: State.IGNORED,
                    Event.CLOSED: State.IGNORED,
                    **_FAULT,
                    **_again(State.PREPARING),
                },
                interrupts=_UNSTAKED,
            ),
            State.SLOT_RESERVING: Row(
                moves={
                    Event.RESERVED: State.DOWNLOADING,
                    Event.REFUSED: State.IGNORED,
                    **_FAULT,
                    **_again(State.SLOT_RESERVING),
                },
                interrupts=_UNSTAKED,
            ),
            State.DOWNLOADING: Row(
                moves={
                    Event.STORED: State.INITIAL_PROVING,
                    Event.CLOSED: State.IGNORED,
                    **_FAULT,
                    **_again(State.DOWNLOADING),
                },
                interrupts=_UNSTAKED,
            ),
            State.INITIAL_PROVING: Row(
                moves={Event.PROVED: State.FILLING, **_FAULT, **_again(State.INITIAL_PROVING)},
                interrupts=_UNSTAKED,
            ),
            State.FILLING: Row(
                moves={
                    Event.FILLED: State.FILLED,
                    Event.OUTDONE: State.IGNORED,
                    Event.REFUSED: State.IGNORED,
                    Event.STALE: State.INITIAL_PROVING,
                    **_FAULT,
                    **_again(State.FILLING),
                },
            ),
            State.FILLED: Row(
                moves={Event.STORED: State.PROVING, Event.LOST: State.ERRORED, **_again(State.FILLED)},
                interrupts=_STAKED,
            ),
            State.PROVING: Row(
                moves={Event.LOST: State.ERRORED, **_again(State.PROVING)},
                interrupts=_STAKED,
            ),
            State.PAYOUT: Row(
                moves={Event.PAID: State.FINISHED, Event.LOOK: State.UNKNOWN, **_again(State.PAYOUT)}
            ),
            State.FINISHED: Row(moves={Event.CLEAN: State.CLEANED_UP, **_again(State.FINISHED)}),
            State.FAILED: Row(moves={Event.LOST: State.ERRORED, **_again(State.FAILED)}),
            State.CANCELLED: Row(
                moves={
                    Event.CLEAN: State.CLEANED_UP,
                    Event.LOST: State.ERRORED,
                    Event.LOOK: State.UNKNOWN,
                    **_again(State.CANCELLED),
                }
            ),
            State.ERRORED: Row(
                moves={
                    Event.CLEAN: State.CLEANED_UP,
                    Event.LOOK: State.UNKNOWN,
                    **_again(State.ERRORED),
                }
            ),
            State.IGNORED: Row(moves={Event.CLEAN: State.CLEANED_UP, **_again(State.IGNORED)}),
            State.UNKNOWN: Row(
                moves={
                    Event.RESERVE: State.SLOT_RESERVING,
                    Event.STORE: State.DOWNLOADING,
                    Event.FILLED: State.FILLED,
                    Event.REQUEST_FINISHED: State.PAYOUT,
                    Event.PAID: State.FINISHED,
                    Event.REQUEST_FAILED: State.FAILED,
                    Event.REQUEST_CANCELLED: State.CANCELLED,
                    Event.LOST: State.ERRORED,
                    Event.CLOSED: State.IGNORED,
                    **_again(State.UNKNOWN),
                },
            ),
            State.CLEANED_UP: Row(),
        },
    )
)

STAKED = frozenset(
    {State.FILLED, State.PROVING, State.PAYOUT, State.FAILED, State.CANCELLED, State.FINISHED, State.UNKNOWN}
)
"""States in which the contract may have the collateral: no failure of ours ends a sale there."""

SETTLED = frozenset({State.FILLED, State.PROVING, State.PAYOUT, State.FINISHED})
"""States in which the work of getting a slot is done, and another may be begun."""
