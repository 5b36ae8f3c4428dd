"""The door of the sales: typed methods over their mailbox."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from codex.market import Slot, SlotId
from codex.runtime import Lagged, Mailbox
from codex.sales import calls
from codex.sales.bench import SaleEvent
from codex.sales.board import SalesBoard
from codex.sales.deciding import Decision
from codex.sales.history import Held
from codex.sales.views import SaleView
from codex.store import Availability, SlotReservation


class Sales:
    """What this host offers, the slots that it holds, and why it took them or not.

    Sizes are bytes, durations and moments seconds, amounts the token's smallest unit. Availabilities can be
    asked for and changed while no provider of the chain answers. Any method may raise what the store raises.
    """

    def __init__(self, mailbox: Mailbox, board: SalesBoard) -> None:
        self._mailbox = mailbox
        self._board = board

    # -- room for sale

    async def availabilities(self) -> list[Availability]:
        """All, the oldest first."""
        return await self._mailbox.ask(calls.ListAvailabilities())

    async def add(
        self,
        *,
        total: int,
        duration: int,
        price: int,
        collateral: int,
        enabled: bool = True,
        until: int = 0,
    ) -> Availability:
        """Offer room, and look at every slot again that was not wanted.

        Raises InvalidInput, QuotaExceeded.
        """
        return await self._mailbox.ask(
            calls.AddAvailability(total, duration, price, collateral, enabled, until)
        )

    async def change(
        self,
        id: bytes,
        *,
        total: int | None = None,
        duration: int | None = None,
        price: int | None = None,
        collateral: int | None = None,
        enabled: bool | None = None,
        until: int | None = None,
    ) -> Availability:
        """Change what is given, and look at slots again that were not wanted before.

        Raises AvailabilityNotFound, QuotaExceeded, and InvalidInput, also for what would break a promise.
        """
        return await self._mailbox.ask(
            calls.ChangeAvailability(id, total, duration, price, collateral, enabled, until)
        )

    async def delete(self, id: bytes) -> None:
        """Offer it no more. Raises AvailabilityNotFound, and InvalidInput while slots are in it."""
        await self._mailbox.ask(calls.DeleteAvailability(id))

    async def reservations(self, availability: bytes) -> list[SlotReservation]:
        """What slots have taken of an availability. Raises AvailabilityNotFound."""
        return await self._mailbox.ask(calls.ListReservations(availability))

    # -- slots

    async def slots(self) -> list[Slot]:
        """The slots that the marketplace says are this host's. Raises ChainUnreachable."""
        return await self._mailbox.ask(calls.ListSlots())

    async def sales(self) -> list[SaleView]:
        """Every slot that is being worked on or held."""
        return await self._mailbox.ask(calls.ListSales())

    async def sale(self, slot: SlotId) -> SaleView | None:
        """The one of a slot; None when nobody works on it (any more)."""
        return await self._mailbox.ask(calls.GetSale(slot))

    async def decisions(self, slot: SlotId | None = None, *, limit: int = 100) -> list[Decision]:
        """What was decided, about a slot or about all, the newest first."""
        return await self._mailbox.ask(calls.ListDecisions(slot, limit))

    async def history(self, *, limit: int = 100) -> list[Held]:
        """The slots that this host has held, and what each has brought and cost, the last filled first."""
        return await self._mailbox.ask(calls.ListHeld(limit))

    def events(self, size: int) -> AbstractAsyncContextManager[AsyncIterator[SaleEvent | Lagged]]:
        """News of sales, for the length of the block; at most `size` wait to be taken."""
        return self._board.events.subscribe(size)
