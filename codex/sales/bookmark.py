"""The bookmark of a host: the block at which its next life begins to read what the marketplace has told.

With its hash, so that it counts for nothing on another chain, or where more of the chain was replaced than is
kept in mind.
"""

import cbor2

from codex.errors import CodexError, DecodeError
from codex.logs import get_logger
from codex.sales.ports import Chain, Marketplace
from codex.store import MarketBook

KIND = "bookmark"
KEEP = 8
"""Marketplaces of which one is kept."""

_log = get_logger("sales")


class Bookmark:
    """One marketplace's, kept with the index of the store."""

    def __init__(self, book: MarketBook, market: Marketplace, chain: Chain) -> None:
        self._book = book
        self._market = market
        self._chain = chain
        self._kept: int | None = None

    async def find(self, oldest: int) -> int | None:
        """The block; None when there is none that can be read, or it is not part of the chain, or from before
        `oldest` (unix seconds), when nothing that is open now was. Raises what the store and the chain raise.
        """
        records = await self._book.records(KIND, prefix=(await self._market.address()).raw, limit=1)
        if not records:
            return None
        try:
            block, hash = _read(records[0].value)
        except DecodeError as error:
            _log.error("the bookmark cannot be read; all that may be open is looked for", why=error.message)
            return None
        header = await self._chain.header(block)
        if header is None or header.hash != hash:
            _log.info("the bookmark is of another chain; all that may be open is looked for", block=block)
            return None
        return block if header.timestamp >= oldest else None

    async def keep(self, block: int) -> None:
        """Have the next life begin at a block. Where that cannot be kept, it reads more than it must."""
        if block == self._kept:
            return
        try:
            header = await self._chain.header(block)
            if header is not None:
                value = cbor2.dumps([header.number, header.hash])
                await self._book.put_records(KIND, [((await self._market.address()).raw, value)], keep=KEEP)
                self._kept = block
        except CodexError as error:
            _log.info("the bookmark could not be kept", block=block, why=error.message)


def _read(value: bytes) -> tuple[int, bytes]:
    """The number and the hash of a block. Raises DecodeError."""
    try:
        match cbor2.loads(value):
            case [int(number), bytes(hash)]:
                return number, hash
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise DecodeError("this is no bookmark") from error
    raise DecodeError("this is no bookmark")
