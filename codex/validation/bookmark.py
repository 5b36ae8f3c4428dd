"""The bookmark of a validator: what was filled before a block, and the hash of that block; so its next life
need not read what the marketplace has told since the oldest request that may still run.

It counts for nothing on another chain, for another marketplace or group of validators, and where more of the
chain was replaced than is kept in mind. What cannot be read or kept costs a life that reads more.
"""

import struct
from collections.abc import Iterator, Mapping

import cbor2
import trio
from attrs import frozen

from codex.errors import CodexError, DecodeError
from codex.logs import get_logger
from codex.market import SlotId
from codex.store import MarketBook
from codex.validation.ports import Chain, Marketplace
from codex.validation.rounds import Share

KIND = "filled"
PART = 4096
"""Slots in one record: some 160 KiB."""
KEEP = 1024
"""Records kept, those of former marketplaces and groups included."""

_ENTRY = struct.Struct(">32sQ")
_log = get_logger("validation")


@frozen
class _Part:
    """One of the `parts` records that a bookmark is made of, all written at once."""

    block: int
    hash: bytes
    parts: int
    slots: dict[SlotId, int]

    def to_bytes(self) -> bytes:
        """As it is kept."""
        packed = b"".join([_ENTRY.pack(slot.raw, until) for slot, until in self.slots.items()])
        return cbor2.dumps([self.block, self.hash, self.parts, packed])

    @classmethod
    def from_bytes(cls, data: bytes) -> "_Part":
        """The reverse. Raises DecodeError."""
        try:
            match cbor2.loads(data):
                case [int(block), bytes(hash), int(parts), bytes(packed)] if parts > 0:
                    slots = {SlotId(raw): until for raw, until in _ENTRY.iter_unpack(packed)}
                    return cls(block, hash, parts, slots)
        except (cbor2.CBORDecodeError, ValueError, struct.error) as error:
            raise DecodeError(f"a part of it cannot be read: {error}") from error
        raise DecodeError("a part of it is of another form")


class Bookmark:
    """One share's of one marketplace, kept with the index of the store."""

    def __init__(self, book: MarketBook, market: Marketplace, chain: Chain, share: Share) -> None:
        self._book = book
        self._market = market
        self._chain = chain
        self._group = struct.pack(">QQ", share.groups or 0, share.index)

    async def find(self, oldest: int) -> tuple[int, dict[SlotId, int]] | None:
        """A block and the slots that were filled before it, each with the moment at which it is over at the
        latest. None when there is none that is of use: one from before `oldest` (unix seconds) saves nothing.

        Raises what the chain raises.
        """
        key = await self._key()
        try:
            kept = await self._read(key)
        except CodexError as error:
            _log.error("the bookmark cannot be read; all that may be filled is looked for", why=error.message)
            return None
        if kept is None:
            return None
        block, hash, slots = kept
        header = await self._chain.header(block)
        if header is None or header.hash != hash:
            _log.info("the bookmark is of another chain; all that may be filled is looked for", block=block)
            return None
        return (block, slots) if header.timestamp >= oldest else None

    async def keep(self, block: int, slots: Mapping[SlotId, int]) -> None:
        """Have the next life begin at a block, with the slots that were filled before it."""
        try:
            header = await self._chain.header(block)
            if header is None:
                return
            key, pieces = await self._key(), list(_pieces(slots))
            entries = []
            for number, piece in enumerate(pieces):
                part = _Part(block, header.hash, len(pieces), piece)
                entries.append((key + number.to_bytes(4, "big"), part.to_bytes()))
                await trio.lowlevel.checkpoint()
            await self._book.put_records(KIND, entries, keep=KEEP)
        except CodexError as error:
            _log.warning("the bookmark could not be kept", block=block, why=error.message)

    async def _key(self) -> bytes:
        return (await self._market.address()).raw + self._group

    async def _read(self, key: bytes) -> tuple[int, bytes, dict[SlotId, int]] | None:
        """What was kept last; None when nothing was. Raises DecodeError, and what the store raises."""
        found = await self._book.records(KIND, prefix=key, limit=KEEP)
        if not found:
            return None
        kept = {int.from_bytes(record.key[len(key) :], "big"): record.value for record in found}
        first = _part(kept, 0)
        slots: dict[SlotId, int] = {}
        # Those beyond the last part are left from when there were more.
        for number in range(first.parts):
            part = _part(kept, number)
            if (part.block, part.hash, part.parts) != (first.block, first.hash, first.parts):
                raise DecodeError("its parts do not belong together")
            slots |= part.slots
            await trio.lowlevel.checkpoint()
        return first.block, first.hash, slots


def _part(kept: Mapping[int, bytes], number: int) -> _Part:
    """One of the records. Raises DecodeError."""
    if number not in kept:
        raise DecodeError(f"part {number} of it is missing")
    return _Part.from_bytes(kept[number])


def _pieces(slots: Mapping[SlotId, int]) -> Iterator[dict[SlotId, int]]:
    """The slots in the order in which they are, so many at a time; one piece at least."""
    entries = list(slots.items())
    for begin in range(0, max(len(entries), 1), PART):
        yield dict(entries[begin : begin + PART])
