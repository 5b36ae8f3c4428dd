"""An agent: one task that brings one slot from the first look to the last, by the table in states.py.

The task does the step of its state, turns what came of it into an event, and moves. An interrupt ends a step
that may be interrupted; one that comes while a step may not be is let go, for every step that matters begins
with a look at the chain. A step that cannot be done now is done again after a pause that grows; while nothing
is at stake only so often.
"""

from collections.abc import Callable

import trio

from codex.errors import ChainRefused, ChainUnreachable, CodexError, InsufficientFunds
from codex.logs import get_logger
from codex.market import RequestState, Slot, SlotId
from codex.runtime import Machine
from codex.sales import holding
from codex.sales.bench import Bench, SaleMoved
from codex.sales.deciding import Decision, Verdict
from codex.sales.queue import Item
from codex.sales.sale import Sale
from codex.sales.states import SALE, SETTLED, STAKED, Event, State
from codex.sales.steps import STEPS
from codex.store import SlotReservation, Stage

TRIES = 5
"""How often a step is tried that does not succeed, while nothing is at stake."""
PAUSES = (1.0, 60.0)
"""Seconds before the first of further tries, and at most before any."""
WATCH_AGAIN = 5.0
"""Seconds after which a watch that failed is taken up again."""

_log = get_logger("sales")

_VERDICTS = {
    Event.UNWANTED: Verdict.UNWANTED,
    Event.CLOSED: Verdict.CLOSED,
    Event.REFUSED: Verdict.REFUSED,
    Event.OUTDONE: Verdict.OUTDONE,
    Event.FAULT: Verdict.FAILED,
    Event.LOST: Verdict.LOST,
    Event.SLOT_FREED: Verdict.LOST,
    Event.REQUEST_CANCELLED: Verdict.CANCELLED,
    Event.REQUEST_FINISHED: Verdict.CLOSED,
}
"""What an event means that ends a sale, or lets it end."""


class Agent:
    """The sale of one slot. `run` ends when there is nothing more to be done for it."""

    def __init__(
        self,
        bench: Bench,
        slot: SlotId,
        item: Item | None,
        reservation: SlotReservation | None,
        known: Slot | None = None,
        *,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """For a slot off the queue (`item`), or one that was begun before: then what is known of it. `moved`
        is called after each move.
        """
        self.sale = Sale(bench, slot, item, reservation, known)
        self.requeue: Item | None = None
        """The slot as it is to be put back, when it was not wanted."""
        self._bench = bench
        self._moved = moved
        self._machine = Machine(SALE, None if item is not None else State.UNKNOWN)
        self._scope = trio.CancelScope()
        self._interrupt: Event | None = None
        self._told_filled = self.sale.stage >= Stage.STAKED
        """A former life has told that the slot is filled, or this one."""

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def settled(self) -> bool:
        """Whether another slot may be worked at: this one is held, or given up."""
        return self.state in SETTLED or self._machine.ended

    def interrupt(self, event: Event) -> None:
        """Tell it of something from outside; nothing happens in a state that this does not interrupt."""
        if self._interrupt is None and self._machine.interrupted_by(event):
            self._interrupt = event
            self._scope.cancel()

    async def run(self) -> None:
        """Work until the sale is over, whatever its steps raise."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            while not self._machine.ended:
                self._move(await self._step())
            nursery.cancel_scope.cancel()

    async def _step(self) -> Event:
        """Do the step of the present state until it has an outcome, or is interrupted."""
        self._scope = trio.CancelScope()
        outcome: Event | None = None
        with self._scope:
            outcome = await self._try()
        # An interrupt that came when the step was just done goes first: what the step did is undone as if it
        # had come a moment later.
        if self._interrupt is not None:
            self.sale.reason = ""  # what the step was about to say counts no more
            return self._interrupt
        assert outcome is not None
        return outcome

    async def _try(self) -> Event:
        try:
            return await STEPS[self.state](self.sale)
        except CodexError as error:
            return await self._failed(error)
        except Exception as error:
            _log.exception("a step of a sale failed", slot=str(self.sale.slot), state=self.state.value)
            return await self._failed(error)

    async def _failed(self, error: Exception) -> Event:
        """What to make of a step that raised: try again, after a pause, or give up."""
        sale = self.sale
        sale.trouble = str(error) or type(error).__name__
        if isinstance(error, CodexError) and error.remedy:
            sale.trouble += f". {error.remedy}"
        if isinstance(error, ChainUnreachable):
            # An outage is nobody's fault, and the chain's clock stands still in it as far as money goes.
            await self._bench.chain.connected()
            await trio.sleep(PAUSES[0])
            return Event.AGAIN
        sale.failures += 1
        final = isinstance(error, ChainRefused | InsufficientFunds) or sale.failures >= TRIES
        if final and self.state not in STAKED and Event.FAULT in SALE.rows[self.state].moves:
            sale.reason = sale.trouble
            return Event.FAULT
        _log.warning(
            "a step of a sale is tried again",
            slot=str(sale.slot),
            state=self.state.value,
            why=sale.trouble,
        )
        first, most = PAUSES
        await trio.sleep(min(most, first * 2.0 ** min(sale.failures - 1, 10)))
        return Event.AGAIN

    def _move(self, event: Event) -> None:
        before = self.state
        after = self._machine.fire(event)
        self._interrupt = None
        if event is Event.AGAIN:
            return
        self.sale.went_well()
        self._tell(event)
        if before is State.PREPARING and event is Event.UNWANTED:
            self.requeue = self.sale.item
        if after is not State.ERRORED:
            self.sale.reason = ""  # why a slot was given up, or lost, is asked for until it is cleaned up
        _log.info("sale", slot=str(self.sale.slot), state=after.value, after=event.value)
        if not self._machine.ended:
            self._bench.events.publish(SaleMoved(self.sale.slot, after))
        self._moved()

    def _tell(self, event: Event) -> None:
        """Keep what was decided, where this event decides something."""
        sale = self.sale
        verdict = _VERDICTS.get(event)
        if event is Event.STORED and self.state is State.PROVING and not self._told_filled:
            verdict = Verdict.FILLED
            self._told_filled = True
        elif event is Event.PAID:
            verdict = Verdict.FINISHED
        elif event is Event.MATCHED:
            verdict = Verdict.TAKEN
        elif event is Event.LOST and sale.stage < Stage.STAKED:
            verdict = Verdict.CLOSED
        elif event is Event.REQUEST_FINISHED and self.state is State.PAYOUT:
            verdict = None  # the payment tells it
        if verdict is None:
            return
        sale.reason = sale.reason or _REASONS.get(event, event.value)
        self._bench.journal.note(
            Decision(
                slot=sale.slot,
                request=sale.request_id,
                index=sale.index,
                at=int(self._bench.clock.now()),
                verdict=verdict,
                reason=sale.reason,
                checks=sale.checks if event in (Event.MATCHED, Event.UNWANTED) else (),
                availability=sale.availability,
            )
        )

    # -- what time alone brings

    async def _watch(self) -> None:
        """Interrupt the sale when its request is cancelled or over, of which the chain says nothing."""
        while True:
            try:
                return await self._watch_once()
            except CodexError:
                await self._bench.chain.connected()
            except Exception:
                _log.exception("the watch over a sale failed", slot=str(self.sale.slot))
            await trio.sleep(WATCH_AGAIN)

    async def _watch_once(self) -> None:
        bench, request = self._bench, self.sale.request_id
        market, time = bench.market, bench.time
        expiry, end = await market.request_expiry(request), await market.request_end(request)
        while True:
            state = await market.request_state(request)
            if state is None:
                return  # the steps find out by themselves
            if state.over:
                self.interrupt(_OVER[state])
                # It may come back: an interrupt that found the sale sending something is told again.
                await time.until(await time.now() + bench.config.proofs.period)
            elif state is RequestState.NEW and await time.now() <= expiry:
                await time.until(expiry + 1)
            elif state is RequestState.STARTED and await time.now() <= end:
                await time.until(end + 1)
            else:
                # The newest block is not as late as the clock says.
                await trio.sleep(1.0)


_OVER = {
    RequestState.CANCELLED: Event.REQUEST_CANCELLED,
    RequestState.FAILED: Event.REQUEST_FAILED,
    RequestState.FINISHED: Event.REQUEST_FINISHED,
}

_REASONS = {
    Event.MATCHED: "an availability takes it",
    Event.CLOSED: "the slot cannot be filled any more",
    Event.REFUSED: "as many hosts as may have reserved it",
    Event.OUTDONE: "another host has filled it first",
    Event.LOST: "the slot is another's or nobody's now, and its collateral is gone",
    Event.SLOT_FREED: "the slot was taken away for missed proofs, and its collateral is gone",
    Event.REQUEST_CANCELLED: holding.NOT_FILLED_IN_TIME,
    Event.REQUEST_FINISHED: "the request is over",
    Event.STORED: holding.PROVED_FROM_NOW_ON,
    Event.PAID: holding.HELD_TO_THE_END,
}
