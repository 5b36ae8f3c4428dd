"""The slots that this host has held, kept: what each has brought, and what it has cost.

A slot has one record from the moment it is filled to the end, beside the decisions, which are many more and
are let go sooner. A record is written before what it tells of is given back, and so no crash loses it.
"""

import cbor2
from attrs import evolve, field, frozen

from codex.errors import DecodeError
from codex.logs import get_logger
from codex.market import RequestId, SlotId
from codex.sales.deciding import Verdict
from codex.store import MarketBook

KIND = "held"
KEEP = 10_000
"""Slots kept, the last that were filled. One takes some 300 bytes."""
ENDS = (Verdict.FINISHED, Verdict.CANCELLED, Verdict.LOST)

_log = get_logger("sales")


@frozen(kw_only=True)
class Held:
    """A slot that was filled, and what came of it. `name` tells the times apart that this host has filled the
    same slot; moments are unix seconds, amounts the token's smallest unit.
    """

    slot: SlotId
    name: bytes = field(repr=False)
    request: RequestId
    index: int
    availability: bytes | None
    filled: int
    """When it was first seen to be ours."""
    at: int
    """When it came to its `verdict`."""
    verdict: Verdict
    """FILLED while it is held, then one of ENDS."""
    reason: str
    """A sentence."""
    collateral: int
    """What was at stake."""
    returned: int | None = None
    """What of the collateral came back; None while it is held."""
    reward: int | None = None
    """What was paid beside the collateral; None while it is held, and where the receipt did not come."""

    @property
    def lost(self) -> int | None:
        """What of the collateral did not come back."""
        return None if self.returned is None else self.collateral - self.returned

    @property
    def key(self) -> bytes:
        return self.slot.raw + self.name

    def to_bytes(self) -> bytes:
        """As it is kept."""
        where = [self.slot.raw, self.name, self.request.raw, self.index, self.availability]
        course = [self.filled, self.at, self.verdict.value, self.reason]
        return cbor2.dumps([*where, *course, self.collateral, self.returned, self.reward])

    @classmethod
    def from_bytes(cls, data: bytes) -> "Held":
        """The reverse. Raises DecodeError."""
        try:
            slot, name, request, index, availability, *rest = cbor2.loads(data)
            filled, at, verdict, reason, collateral, returned, reward = rest
            return cls(
                slot=SlotId(slot),
                name=name,
                request=RequestId(request),
                index=index,
                availability=availability,
                filled=filled,
                at=at,
                verdict=Verdict(verdict),
                reason=reason,
                collateral=collateral,
                returned=returned,
                reward=reward,
            )
        except (ValueError, TypeError, cbor2.CBORDecodeError) as error:
            raise DecodeError(f"this is no record of a slot: {error}") from error


class History:
    """The records in the store. Any method may raise what the store raises."""

    def __init__(self, book: MarketBook) -> None:
        self._book = book

    async def newest(self, *, limit: int) -> list[Held]:
        """Up to so many, the last that was filled first."""
        found = [_read(record.value) for record in await self._book.records(KIND, limit=limit)]
        return [held for held in found if held is not None]

    async def begin(self, held: Held) -> None:
        """A slot is held. Nothing happens when that is known."""
        if await self._find(held) is None:
            await self._put(held)

    async def end(self, held: Held) -> None:
        """A slot came to one of ENDS. What was told of its end before stays, for that knew more."""
        before = await self._find(held)
        if before is None:
            await self._put(held)
        elif before.verdict not in ENDS:
            await self._put(evolve(held, filled=before.filled))

    async def drop(self, held: Held) -> None:
        """It was not held after all: the chain took the filling back."""
        before = await self._find(held)
        if before is not None and before.verdict not in ENDS:
            await self._book.drop_record(KIND, held.key)

    async def was_lost(self, slot: SlotId, reason: str) -> bool:
        """Whether a slot was once lost, for that reason."""
        found = [_read(record.value) for record in await self._book.records(KIND, prefix=slot.raw)]
        return any(
            held is not None and (held.verdict, held.reason) == (Verdict.LOST, reason) for held in found
        )

    async def _find(self, held: Held) -> Held | None:
        records = await self._book.records(KIND, prefix=held.key, limit=1)
        return _read(records[0].value) if records else None

    async def _put(self, held: Held) -> None:
        await self._book.put_records(KIND, [(held.key, held.to_bytes())], keep=KEEP)


def _read(value: bytes) -> Held | None:
    """What a record says; None when it cannot be read: that must not keep a slot from being proved."""
    try:
        return Held.from_bytes(value)
    except DecodeError as error:
        _log.error("the record of a slot that was held cannot be read", why=error.message)
        return None
