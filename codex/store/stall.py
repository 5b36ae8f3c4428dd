"""What the market keeps in the store: its changes, each a transaction, and its questions.

Changes are made by one thread at a time, questions asked by any number of them.
"""

from collections.abc import Sequence
from typing import Any

from codex.store import availability, records
from codex.store.availability import Availability, SlotReservation, Stage
from codex.store.index import Readers
from codex.store.ledger import Ledger
from codex.store.records import Record


class Stall:
    """The part of a `Repo` that is asked through `MarketBook`; there stands what each method does."""

    def __init__(self, ledger: Ledger, readers: Readers) -> None:
        self._ledger = ledger
        self._readers = readers

    def availabilities(self) -> list[Availability]:
        with self._readers.borrow() as connection:
            return availability.all_of(connection)

    def put(self, made: Availability) -> None:
        with self._ledger.change("offer room") as change:
            availability.put(change, self._ledger.quota, made)

    def alter(self, id: bytes, **changes: Any) -> Availability:
        with self._ledger.change("change an availability") as change:
            return availability.alter(change, self._ledger.quota, id, **changes)

    def delete(self, id: bytes) -> None:
        self._ledger.shrink("delete an availability", lambda change: availability.delete(change, id))

    def take(self, within: bytes, **taken: Any) -> SlotReservation:
        with self._ledger.change("reserve room for a slot") as change:
            return availability.take(change, self._ledger.quota, within, **taken)

    def advance(self, id: bytes, stage: Stage, returned: int | None = None) -> SlotReservation:
        # Of what this says money may depend: it goes through on a full disk, too.
        return self._ledger.shrink(
            "record a slot", lambda change: availability.advance(change, id, stage, returned)
        )

    def give_back(self, id: bytes, collateral: int) -> bool:
        return self._ledger.shrink(
            "end a slot", lambda change: availability.give_back(change, id, collateral)
        )

    def slots(self, within: bytes | None = None) -> list[SlotReservation]:
        with self._readers.borrow() as connection:
            return availability.slots(connection, within)

    def put_records(self, kind: str, entries: Sequence[tuple[bytes, bytes]], keep: int) -> None:
        with self._ledger.change("keep records") as change:
            records.put(change.tx, kind, entries, keep)

    def drop_record(self, kind: str, key: bytes) -> None:
        self._ledger.shrink("drop a record", lambda change: records.drop(change.tx, kind, key))

    def records(self, kind: str, prefix: bytes, before: int | None, limit: int) -> list[Record]:
        with self._readers.borrow() as connection:
            return records.newest(connection, kind, prefix=prefix, before=before, limit=limit)
