"""The door to what the market keeps on this disk: room for sale, the slots in it, and records.

As with blocks: whatever returns is durable, whatever raises has changed nothing, and any method may raise
DiskFull, DiskFailed, CorruptData and ServiceUnavailable.
"""

from collections.abc import Sequence

from codex.runtime import Mailbox
from codex.store import calls
from codex.store.availability import Availability, SlotReservation, Stage
from codex.store.records import Record


class MarketBook:
    """Availabilities, reservations of slots, and records, each change in one transaction of the store."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    # -- room for sale

    async def availabilities(self) -> list[Availability]:
        """All, the oldest first."""
        return await self._mailbox.ask(calls.ListAvailabilities())

    async def put(self, availability: Availability) -> None:
        """Offer room, which counts as reserved from now on. Raises InvalidInput, QuotaExceeded."""
        await self._mailbox.ask(calls.PutAvailability(availability))

    async def alter(
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
        """Change what is given; how it is then. A new collateral starts with nothing lost.

        Raises AvailabilityNotFound, QuotaExceeded, and InvalidInput, also for what would break a promise.
        """
        return await self._mailbox.ask(
            calls.AlterAvailability(id, total, duration, price, collateral, enabled, until)
        )

    async def delete(self, id: bytes) -> None:
        """Offer it no more. Raises AvailabilityNotFound, and InvalidInput while slots are in it."""
        await self._mailbox.ask(calls.DeleteAvailability(id))

    # -- slots

    async def take(
        self,
        availability: bytes,
        *,
        id: bytes,
        request: bytes,
        slot: int,
        size: int,
        collateral: int,
        until: int,
    ) -> SlotReservation:
        """Set bytes and collateral aside for a slot, under the name `id`.

        Raises AvailabilityNotFound, QuotaExceeded, and InvalidInput when there is too little left, or the
        slot is reserved already.
        """
        return await self._mailbox.ask(
            calls.TakeSlot(availability, id, request, slot, size, collateral, until)
        )

    async def advance(self, id: bytes, stage: Stage, returned: int | None = None) -> SlotReservation:
        """Write down how far a slot has come; from STORED on it keeps no room but what it fills.

        Raises InvalidInput for a reservation that there is not.
        """
        return await self._mailbox.ask(calls.AdvanceSlot(id, stage, returned))

    async def give_back(self, id: bytes, collateral: int) -> bool:
        """End a reservation: all of its bytes and so much of its collateral go back, the rest is lost.

        False when there is no such reservation (any more).
        """
        return await self._mailbox.ask(calls.GiveBack(id, collateral))

    async def slots(self, availability: bytes | None = None) -> list[SlotReservation]:
        """What slots have reserved, of one availability or of all, the oldest first."""
        return await self._mailbox.ask(calls.ListSlotReservations(availability))

    # -- records

    async def put_records(self, kind: str, entries: Sequence[tuple[bytes, bytes]], *, keep: int) -> None:
        """Remember values by their keys, all at once; of the kind the `keep` newest keys are kept.

        Raises InvalidInput for a value of more than 1 MiB.
        """
        await self._mailbox.ask(calls.PutRecords(kind, entries, keep))

    async def drop_record(self, kind: str, key: bytes) -> None:
        """Forget a value. Nothing happens when there is none."""
        await self._mailbox.ask(calls.DropRecord(kind, key))

    async def records(
        self, kind: str, *, prefix: bytes = b"", before: int | None = None, limit: int = 1000
    ) -> list[Record]:
        """Up to `limit` records, the newest key first; ask again with `before` the last one's number."""
        return await self._mailbox.ask(calls.ListRecords(kind, prefix, before, limit))
