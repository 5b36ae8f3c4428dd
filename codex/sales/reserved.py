"""The slots that this account has reserved on the chain: who has is not told by the marketplace.

Where a reorganisation takes another host's filling back, a slot that is full of reservations is open to those
who have one: also after a restart. What could not be kept costs no more than such a slot.
"""

from codex.errors import CodexError
from codex.logs import get_logger
from codex.market import SlotId
from codex.store import MarketBook

KIND = "reserved"
KEEP = 1000
"""Slots of which it is remembered."""

_log = get_logger("sales")


class Reserved:
    """The newest thousand of them, kept with the index of the store."""

    def __init__(self, book: MarketBook) -> None:
        self._book = book
        self._slots: dict[SlotId, None] = {}

    def __contains__(self, slot: SlotId) -> bool:
        return slot in self._slots

    def __len__(self) -> int:
        return len(self._slots)

    async def load(self) -> None:
        """Know what former lives have kept. Raises what the store raises."""
        records = await self._book.records(KIND, limit=KEEP)
        kept = [SlotId(record.key) for record in reversed(records)]
        self._slots = dict.fromkeys(kept) | self._slots

    async def note(self, slot: SlotId) -> None:
        """This account has reserved it."""
        self._slots[slot] = None
        if len(self._slots) > KEEP:
            del self._slots[next(iter(self._slots))]
        try:
            await self._book.put_records(KIND, [(slot.raw, b"")], keep=KEEP)
        except CodexError as error:
            _log.info("a reservation could not be kept", slot=str(slot), why=error.message)

    async def forget(self, slot: SlotId) -> None:
        """It is not reserved (any more)."""
        if slot not in self._slots:
            return
        del self._slots[slot]
        try:
            await self._book.drop_record(KIND, slot.raw)
        except CodexError as error:
            _log.info("a reservation is kept that is gone", slot=str(slot), why=error.message)
