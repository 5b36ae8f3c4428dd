"""The decisions, kept: written many at a time, read back the newest first.

What was decided in the last moments before a crash may be missing. No money depends on it.
"""

import trio

from codex.errors import CodexError
from codex.logs import get_logger
from codex.market import SlotId
from codex.sales.deciding import Decision
from codex.store import MarketBook

KIND = "decision"
KEEP = 20_000
"""Decisions kept. One takes some 300 bytes, more with many availabilities."""
BATCH = 256
PAUSE = 1.0  # seconds between two writes
MOST = 4096  # waiting to be written, while the disk refuses; beyond that the oldest are let go

_log = get_logger("sales")


class Journal:
    """Decisions on their way to the store, and those that are there."""

    def __init__(self, book: MarketBook) -> None:
        self._book = book
        self._waiting: list[tuple[bytes, Decision]] = []
        self._noted = 0
        self._news = trio.Event()
        self._writing = trio.Lock()

    def note(self, decision: Decision) -> None:
        """Keep a decision; does not wait."""
        # The key begins with the slot, so that its story can be read; the rest makes it one of its own.
        self._noted += 1
        key = decision.slot.raw + decision.at.to_bytes(8, "big") + self._noted.to_bytes(8, "big")
        self._waiting.append((key, decision))
        del self._waiting[:-MOST]
        self._news.set()

    async def run(self) -> None:
        """Write what is noted, until cancelled. What the disk refuses is tried again."""
        while True:
            await self._news.wait()
            await trio.sleep(PAUSE)
            try:
                await self.flush()
            except CodexError as error:
                _log.warning("decisions cannot be kept now", why=error.message)

    async def flush(self) -> None:
        """Write what is noted, now. Raises what the store raises; then it waits for the next time."""
        async with self._writing:
            self._news = trio.Event()
            while waiting := self._waiting[:BATCH]:
                # Made into bytes only now: of tens of thousands that come at once most are let go again.
                batch = [(key, decision.to_bytes()) for key, decision in waiting]
                try:
                    await self._book.put_records(KIND, batch, keep=KEEP)
                except CodexError:
                    self._news.set()
                    raise
                written = {key for key, _ in batch}
                self._waiting = [entry for entry in self._waiting if entry[0] not in written]

    async def decisions(self, slot: SlotId | None = None, *, limit: int = 100) -> list[Decision]:
        """The newest decisions, about one slot or about all."""
        await self.flush()
        prefix = b"" if slot is None else slot.raw
        records = await self._book.records(KIND, prefix=prefix, limit=limit)
        return [Decision.from_bytes(record.value) for record in records]
