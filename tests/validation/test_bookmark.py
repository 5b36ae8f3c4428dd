"""What a validator's next life begins with: kept with a block's hash, and worth nothing anywhere else."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import cbor2
import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.chain import Header
from codex.errors import ChainUnreachable, CorruptData, DiskFull
from codex.market import Address, SlotId
from codex.store import BlockStore, MarketBook, Record
from codex.testing.disks import FaultyDisk
from codex.testing.hosts import account
from codex.testing.market import EPOCH, SimulatedChain, SimulatedMarket, block_hash
from codex.testing.market_door import ADDRESS, MarketDoor
from codex.testing.stores import book_of, open_test_store
from codex.validation import Share
from codex.validation.bookmark import KIND, PART, Bookmark

SLOTS = {SlotId(number.to_bytes(32, "big")): 2000 + number for number in range(5)}
MANY = {SlotId(number.to_bytes(32, "big")): number for number in range(2 * PART + 1)}
BLOCK = EPOCH // 2 - 10
KEY = ADDRESS.raw + bytes(16)


class Forked(SimulatedChain):
    """Other blocks of the same numbers, up to one."""

    top = 10**12

    async def header(self, number: int | None = None) -> Header | None:
        header = await super().header(number)
        assert header is not None
        return None if header.number > self.top else evolve(header, hash=bytes(32))


class Elsewhere(MarketDoor):
    """Another marketplace on the same chain."""

    async def address(self) -> Address:
        return Address(b"\x11" * 20)


class Broken(MarketBook):
    """A store that neither reads nor writes."""

    async def records(
        self, kind: str, *, prefix: bytes = b"", before: int | None = None, limit: int = 1000
    ) -> list[Record]:
        raise CorruptData("the index is damaged")

    async def put_records(self, kind: str, entries: Sequence[tuple[bytes, bytes]], *, keep: int) -> None:
        raise DiskFull("no space left")


@asynccontextmanager
async def a_store(tmp_path: Path) -> AsyncIterator[tuple[BlockStore, SimulatedMarket]]:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        yield store, SimulatedMarket()


def bookmark_of(
    store: BlockStore,
    market: SimulatedMarket,
    share: Share | None = None,
    chain: SimulatedChain | None = None,
) -> Bookmark:
    """As a new life has it."""
    door, there = MarketDoor(market, account("victor")), chain or SimulatedChain(market)
    return Bookmark(book_of(store), door, there, share or Share())


async def test_it_is_kept_for_the_next_life(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, market):
        assert await bookmark_of(store, market).find(0) is None
        bookmark = bookmark_of(store, market)
        await bookmark.keep(BLOCK - 5, {})
        assert await bookmark_of(store, market).find(0) == (BLOCK - 5, {})
        await bookmark.keep(BLOCK, SLOTS)
        found = await bookmark_of(store, market).find(0)
        assert found == (BLOCK, SLOTS)
        assert list(found[1]) == list(SLOTS)
        # One that is older than the oldest request saves nothing.
        assert await bookmark.find(BLOCK * 2) == (BLOCK, SLOTS)
        assert await bookmark.find(BLOCK * 2 + 1) is None


async def test_it_counts_for_nothing_elsewhere(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, market):
        await bookmark_of(store, market).keep(BLOCK, SLOTS)
        other = Forked(market)
        assert await bookmark_of(store, market, chain=other).find(0) is None
        other.top = 1000
        assert await bookmark_of(store, market, chain=other).find(0) is None
        for share in (Share(groups=1), Share(groups=2), Share(groups=2, index=1)):
            assert await bookmark_of(store, market, share).find(0) is None
        elsewhere = Elsewhere(market, account("victor"))
        assert await Bookmark(book_of(store), elsewhere, SimulatedChain(market), Share()).find(0) is None
        # How many are watched has nothing to do with what is filled.
        assert await bookmark_of(store, market, Share(most=3)).find(0) == (BLOCK, SLOTS)


async def test_each_group_has_its_own(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, market):
        shares = [Share(), Share(groups=2), Share(groups=2, index=1), Share(groups=256, index=1)]
        for number, share in enumerate(shares):
            await bookmark_of(store, market, share).keep(
                BLOCK + number, {SlotId(bytes([number]) * 32): number}
            )
        for number, share in enumerate(shares):
            expected = (BLOCK + number, {SlotId(bytes([number]) * 32): number})
            assert await bookmark_of(store, market, share).find(0) == expected


async def test_many_slots_and_then_fewer(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, market):
        bookmark = bookmark_of(store, market)
        await bookmark.keep(BLOCK, MANY)
        assert await bookmark_of(store, market).find(0) == (BLOCK, MANY)
        assert len(await book_of(store).records(KIND)) == 3
        await bookmark.keep(BLOCK + 1, SLOTS)
        assert await bookmark_of(store, market).find(0) == (BLOCK + 1, SLOTS)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"\x01",
        cbor2.dumps([BLOCK, block_hash(BLOCK), 1, b"too short"]),
        cbor2.dumps([BLOCK, block_hash(BLOCK), 2**60, b""]),
        cbor2.dumps([BLOCK, block_hash(BLOCK), 0, b""]),
        cbor2.dumps([str(BLOCK), block_hash(BLOCK), 1, b""]),
        cbor2.dumps([BLOCK, block_hash(BLOCK), 1]),
        None,
    ],
    ids=["empty", "break", "number", "short", "endless", "none", "text", "less", "missing"],
)
@pytest.mark.parametrize("part", [0, 1])
async def test_one_that_cannot_be_read_whole_counts_for_nothing(
    tmp_path: Path, autojump_clock: MockClock, value: bytes | None, part: int
) -> None:
    async with a_store(tmp_path) as (store, market):
        await bookmark_of(store, market).keep(BLOCK, MANY)
        key, book = KEY + part.to_bytes(4, "big"), book_of(store)
        if value is None:
            await book.drop_record(KIND, key)
        else:
            await book.put_records(KIND, [(key, value)], keep=100)
        assert await bookmark_of(store, market).find(0) is None
        # The next one stands for itself, with less in it and with as much.
        await bookmark_of(store, market).keep(BLOCK, SLOTS)
        assert await bookmark_of(store, market).find(0) == (BLOCK, SLOTS)
        await bookmark_of(store, market).keep(BLOCK, MANY)
        assert await bookmark_of(store, market).find(0) == (BLOCK, MANY)


async def test_parts_of_two_do_not_make_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, market):
        bookmark, book = bookmark_of(store, market), book_of(store)
        await bookmark.keep(BLOCK, MANY)
        old = {record.key: record.value for record in await book.records(KIND)}
        await bookmark.keep(BLOCK + 1, MANY)
        key = KEY + (2).to_bytes(4, "big")
        await book.put_records(KIND, [(key, old[key])], keep=100)
        assert await bookmark.find(0) is None


async def test_a_store_that_fails_costs_no_more_than_reading_all(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with a_store(tmp_path) as (store, market):
        door = MarketDoor(market, account("victor"))
        broken = Bookmark(Broken(store._mailbox), door, SimulatedChain(market), Share())
        assert await broken.find(0) is None
        await broken.keep(BLOCK, SLOTS)
        assert await bookmark_of(store, market).find(0) is None


async def test_a_chain_that_is_away_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with a_store(tmp_path) as (store, market):
        bookmark = bookmark_of(store, market)
        market.refuse["header"] = [ChainUnreachable("no provider of the chain answers")]
        await bookmark.keep(BLOCK, SLOTS)
        assert await bookmark.find(0) is None
        await bookmark.keep(BLOCK, SLOTS)
        market.refuse["header"] = [ChainUnreachable("no provider of the chain answers")]
        with pytest.raises(ChainUnreachable):
            await bookmark.find(0)
        assert await bookmark.find(0) == (BLOCK, SLOTS)
