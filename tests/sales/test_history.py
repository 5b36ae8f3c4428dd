"""What came of the slots that were held is remembered, each once and whatever came between."""

from pathlib import Path

import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.errors import DecodeError
from codex.market import RequestId, SlotId
from codex.sales.deciding import Verdict
from codex.sales.history import KEEP, KIND, Held, History
from codex.testing.disks import FaultyDisk
from codex.testing.stores import book_of, open_test_store

REQUEST = RequestId(bytes([9]) * 32)
HELD = Held(
    slot=SlotId.of(REQUEST, 3),
    name=bytes([1]) * 32,
    request=REQUEST,
    index=3,
    availability=bytes([2]) * 32,
    filled=1000,
    at=1000,
    verdict=Verdict.FILLED,
    reason="it is filled",
    collateral=2**200,
)
PAID = evolve(
    HELD, filled=5000, at=5000, verdict=Verdict.FINISHED, reason="paid", returned=2**200 - 5, reward=2**199
)
OTHER = evolve(HELD, slot=SlotId.of(REQUEST, 4), index=4)


def test_a_record_is_read_back() -> None:
    for held in (HELD, PAID, evolve(HELD, availability=None)):
        assert Held.from_bytes(held.to_bytes()) == held
    assert (HELD.lost, PAID.lost) == (None, 5)
    for data in (b"", b"\x80", b"garbage", HELD.to_bytes()[:-1]):
        with pytest.raises(DecodeError):
            Held.from_bytes(data)


async def test_a_slot_has_one_record_from_its_filling_to_its_end(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        history = History(book_of(store))
        await history.begin(HELD)
        await history.begin(OTHER)
        # Another life finds it held already, and one after that ended.
        history = History(book_of(store))
        await history.begin(evolve(HELD, filled=2000, at=2000))
        assert await history.newest(limit=10) == [OTHER, HELD]
        await history.end(PAID)
        paid = evolve(PAID, filled=1000)
        assert await history.newest(limit=10) == [OTHER, paid]
        for late in (evolve(PAID, reward=None), evolve(PAID, verdict=Verdict.LOST, returned=0)):
            await history.end(late)
        await history.begin(HELD)
        await history.drop(HELD)
        assert await history.newest(limit=10) == [OTHER, paid]
        # The same slot, filled once more.
        again = evolve(HELD, name=bytes([7]) * 32)
        await history.begin(again)
        assert await history.newest(limit=2) == [again, OTHER]
        # What was never told to be filled is told at its end; what was not filled after all is forgotten.
        await history.end(evolve(PAID, name=bytes([8]) * 32))
        await history.drop(OTHER)
        await history.drop(OTHER)
        names = [held.name[0] for held in await history.newest(limit=10)]
        assert names == [8, 7, 1]


async def test_a_record_that_cannot_be_read_is_in_nobodys_way(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        book = book_of(store)
        history = History(book)
        await history.begin(OTHER)
        await book.put_records(KIND, [(HELD.key, b"garbage")], keep=KEEP)
        assert await history.newest(limit=10) == [OTHER]
        await history.begin(HELD)
        assert await history.newest(limit=10) == [HELD, OTHER]
