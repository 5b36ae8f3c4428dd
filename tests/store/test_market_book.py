"""The market's door to the store: every call, through the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from codex.errors import AvailabilityNotFound, InvalidInput
from codex.store import Availability, BlockStore, MarketBook, Stage
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.stores import audit, book_of, make_blocks, open_test_store

ALICE = bytes([1]) * 32
SLOT = bytes([2]) * 32
OFFER = Availability(
    id=ALICE, total=9000, free=9000, duration=60, price=1, collateral=50, remaining=50, until=7
)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[BlockStore, MarketBook]]:
    async with open_test_store(path) as store:
        yield store, book_of(store)
    audit(path / "repo")


async def take(book: MarketBook) -> str:
    taken = await book.take(ALICE, id=SLOT, request=SLOT, slot=3, size=4000, collateral=20, until=5)
    return taken.room


async def test_a_slot_comes_and_goes(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, book):
        await book.put(OFFER)
        room = await take(book)
        await store.put_many(make_blocks([1, 2]), reservation=room)
        (slot,) = await book.slots(ALICE)
        assert (slot.left, slot.slot, slot.collateral, slot.until) == (4000 - 2048, 3, 20, 5)
        assert (await book.advance(SLOT, Stage.STORED)).left == 0
        assert (await book.advance(SLOT, Stage.RELEASING, 15)).returned == 15
        assert await book.give_back(SLOT, 15)
        assert not await book.give_back(SLOT, 15)
        assert await book.slots() == []
        (there,) = await book.availabilities()
        assert (there.free, there.remaining, there.lost) == (9000, 45, 5)
        changed = await book.alter(ALICE, total=8000, until=0)
        assert [changed] == await book.availabilities()
        assert (changed.total, changed.until, changed.price) == (8000, 0, 1)
        await book.delete(ALICE)
        assert (await store.space()).quota_reserved == 0
        with pytest.raises(AvailabilityNotFound):
            await book.delete(ALICE)
        with pytest.raises(InvalidInput):
            await book.advance(SLOT, Stage.TAKEN)


async def test_records_come_and_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, book):
        for number in range(5):
            await book.put_records("kind", [(bytes([number]), b"v")], keep=3)
        await book.drop_record("kind", b"\x03")
        assert [record.key for record in await book.records("kind")] == [b"\x04", b"\x02"]
        (newest,) = await book.records("kind", limit=1)
        assert [r.key for r in await book.records("kind", before=newest.number)] == [b"\x02"]
        assert await book.records("kind", prefix=b"\x09") == []


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, book):
        await book.put(OFFER)
        await take(book)
        await book.put_records("kind", [(b"k", b"v")], keep=3)
        before = await book.availabilities(), await book.slots(), await book.records("kind")
    async with opened(tmp_path) as (_, book):
        assert before == (await book.availabilities(), await book.slots(), await book.records("kind"))


async def test_taking_and_giving_back_can_be_cut_anywhere(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, book):
        await book.put(OFFER)

        async def operation() -> None:
            await take(book)
            await book.give_back(SLOT, 20)

        async def check() -> None:
            for slot in await book.slots():
                await book.give_back(slot.id, slot.collateral)
            assert await book.availabilities() == [OFFER]
            assert (await store.space()).quota_reserved == 9000

        assert await cancel_at_every_checkpoint(operation, check) > 2
