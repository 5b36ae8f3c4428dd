"""Where the next life begins to read: kept with the block's hash, and worth nothing on another chain."""

from pathlib import Path

import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.chain import Header
from codex.errors import ChainUnreachable
from codex.sales.bookmark import KIND, Bookmark
from codex.testing.disks import FaultyDisk
from codex.testing.hosts import account
from codex.testing.market import SimulatedChain, SimulatedMarket
from codex.testing.market_door import ADDRESS, MarketDoor
from codex.testing.stores import book_of, open_test_store


class Forked(SimulatedChain):
    """Other blocks of the same numbers, up to one."""

    top = 10**12

    async def header(self, number: int | None = None) -> Header | None:
        header = await super().header(number)
        assert header is not None
        return None if header.number > self.top else evolve(header, hash=bytes(32))


async def test_it_is_kept_for_the_next_life(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = SimulatedMarket()
    door, chain = MarketDoor(market, account("bob")), SimulatedChain(market)
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        book = book_of(store)
        assert await Bookmark(book, door, chain).find(0) is None
        bookmark = Bookmark(book, door, chain)
        await bookmark.keep(1234)
        await bookmark.keep(1250)
        assert await Bookmark(book, door, chain).find(0) == 1250
        # Beginning there reads no less than beginning at the oldest request that may be open.
        assert await bookmark.find(2 * 1250) == 1250
        assert await bookmark.find(2 * 1250 + 1) is None
        # Of another chain, or one that is not so long.
        other = Forked(market)
        assert await Bookmark(book, door, other).find(0) is None
        other.top = 1000
        assert await Bookmark(book, door, other).find(0) is None
        assert len(await book.records(KIND)) == 1


async def test_what_cannot_be_kept_costs_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    market = SimulatedMarket()
    door, chain = MarketDoor(market, account("bob")), SimulatedChain(market)
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        bookmark = Bookmark(book_of(store), door, chain)
        market.refuse["header"] = [ChainUnreachable("no provider of the chain answers")]
        await bookmark.keep(7)
        assert await bookmark.find(0) is None
        await bookmark.keep(7)
        assert await bookmark.find(0) == 7


@pytest.mark.parametrize("value", [b"", b"\xff", b"\x01", b"\x82\x01\x02", b"\x82\x61a\x41b"])
async def test_one_that_cannot_be_read_counts_for_nothing(
    tmp_path: Path, autojump_clock: MockClock, value: bytes
) -> None:
    market = SimulatedMarket()
    door, chain = MarketDoor(market, account("bob")), SimulatedChain(market)
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        book = book_of(store)
        await book.put_records(KIND, [(ADDRESS.raw, value)], keep=1)
        assert await Bookmark(book, door, chain).find(0) is None
