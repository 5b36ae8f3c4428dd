"""The sales as a service: offers are answered for at once, slots are traded while there is a chain.

Restart is boot: slots that were begun are taken up again, each with what it has reserved, and what happened
on the chain is read from the oldest request on that was open when the last life ended.
"""

from typing import Any

import trio

from codex.errors import AvailabilityNotFound, CodexError
from codex.logs import get_logger
from codex.market import MarketplaceConfig, Slot
from codex.runtime import Clock, Entropy, Inbox, serve
from codex.sales import calls
from codex.sales.bench import Bench
from codex.sales.board import SalesBoard
from codex.sales.duties import Duties
from codex.sales.history import History
from codex.sales.journal import Journal
from codex.sales.ports import Chain, Marketplace
from codex.sales.trade import Trade
from codex.store import Availability, MarketBook, SlotReservation

LIMIT = 32
"""Calls in work at once."""
PAUSE = 5.0
"""Seconds between two attempts to begin trading."""

_log = get_logger("sales")


class SalesService:
    """The task behind `Sales`. One object is one life."""

    def __init__(
        self,
        *,
        market: Marketplace,
        chain: Chain,
        book: MarketBook,
        duties: Duties,
        board: SalesBoard,
        clock: Clock,
        entropy: Entropy,
        leave_out: int = 0,
    ) -> None:
        """`leave_out`: of so many proofs one is left out, for test networks; 0 leaves out none."""
        self._market = market
        self._chain = chain
        self._book = book
        self._duties = duties
        self._board = board
        self._clock = clock
        self._entropy = entropy
        self._leave_out = leave_out
        self._journal = Journal(book)
        self._history = History(book)
        self._trade: Trade | None = None

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer and trade until `inbox` ends. Slots that are held stay as they are for the next life."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._journal.run)
            nursery.start_soon(self._run_trade)
            await serve(inbox, self._answer, limit=LIMIT, task_status=task_status)
            nursery.cancel_scope.cancel()

    async def _run_trade(self) -> None:
        self._trade = Trade(self._bench(await self._configuration()))
        await self._trade.run()

    async def _configuration(self) -> MarketplaceConfig:
        """What the marketplace was set up with; waits as long as it takes to be told."""
        while True:
            try:
                return await self._market.configuration()
            except CodexError as error:
                _log.warning("the marketplace cannot be asked yet", why=error.message, remedy=error.remedy)
            await trio.sleep(PAUSE)

    def _bench(self, config: MarketplaceConfig) -> Bench:
        return Bench(
            market=self._market,
            chain=self._chain,
            config=config,
            book=self._book,
            duties=self._duties,
            journal=self._journal,
            history=self._history,
            clock=self._clock,
            entropy=self._entropy,
            events=self._board.events,
            leave_out=self._leave_out,
        )

    async def _answer(self, call: Any) -> Any:
        match call:
            case calls.ListAvailabilities():
                return await self._book.availabilities()
            case calls.AddAvailability():
                return await self._add(call)
            case calls.ChangeAvailability(id, total, duration, price, collateral, enabled, until):
                changed = await self._book.alter(
                    id,
                    total=total,
                    duration=duration,
                    price=price,
                    collateral=collateral,
                    enabled=enabled,
                    until=until,
                )
                return self._offered(changed)
            case calls.DeleteAvailability(id):
                return await self._book.delete(id)
            case calls.ListReservations(availability):
                return await self._reservations(availability)
            case calls.ListSlots():
                return await self._slots()
            case calls.ListSales():
                return self._trade.views() if self._trade is not None else []
            case calls.GetSale(slot):
                return self._trade.view(slot) if self._trade is not None else None
            case calls.ListDecisions(slot, limit):
                return await self._journal.decisions(slot, limit=limit)
            case calls.ListHeld(limit):
                return await self._history.newest(limit=limit)
        raise TypeError(f"the sales have no answer to {type(call).__name__}")

    async def _add(self, call: calls.AddAvailability) -> Availability:
        made = Availability(
            id=self._entropy.token(32),
            total=call.total,
            free=call.total,
            duration=call.duration,
            price=call.price,
            collateral=call.collateral,
            remaining=call.collateral,
            enabled=call.enabled,
            until=call.until,
        )
        await self._book.put(made)
        return self._offered(made)

    def _offered(self, there: Availability) -> Availability:
        """Have slots looked at again, now that something else is offered."""
        if self._trade is not None:
            self._trade.look_again()
        return there

    async def _reservations(self, availability: bytes) -> list[SlotReservation]:
        if all(there.id != availability for there in await self._book.availabilities()):
            raise AvailabilityNotFound(f"there is no availability 0x{availability.hex()}")
        return await self._book.slots(availability)

    async def _slots(self) -> list[Slot]:
        found = [await self._market.get_active_slot(slot) for slot in await self._market.my_slots()]
        return [slot for slot in found if slot is not None]
