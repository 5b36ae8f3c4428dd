"""Decisions are kept, by slot and in order, also over a disk that refuses for a while."""

import errno
from pathlib import Path

import trio
from trio.testing import MockClock

from codex.market import RequestId, SlotId
from codex.sales.deciding import Decision, Verdict
from codex.sales.journal import BATCH, Journal
from codex.testing.disks import FaultyDisk
from codex.testing.stores import book_of, open_test_store

REQUEST = RequestId(bytes([9]) * 32)
A, B = SlotId.of(REQUEST, 0), SlotId.of(REQUEST, 1)


def decision(slot: SlotId, number: int) -> Decision:
    return Decision(slot, REQUEST, number, 1000 + number // 3, Verdict.UNWANTED, f"reason {number}")


async def test_they_are_read_back_the_newest_first(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        journal = Journal(book_of(store))
        said = [decision(A if number % 2 else B, number) for number in range(2 * BATCH + 5)]
        for one in said:
            journal.note(one)
        assert await journal.decisions(limit=10_000) == said[::-1]
        assert await journal.decisions(A, limit=2) == [said[-2], said[-4]]
        # Another life reads the same, and goes on beside what was there.
        later = Journal(book_of(store))
        later.note(decision(A, 999))
        assert (await later.decisions(limit=2)) == [decision(A, 999), said[-1]]
        assert len(await later.decisions(limit=10_000)) == len(said) + 1


async def test_they_are_written_by_themselves_and_again_after_a_failure(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    disk = FaultyDisk()
    async with open_test_store(tmp_path, disk=disk) as store, trio.open_nursery() as nursery:
        book = book_of(store)
        journal = Journal(book)
        nursery.start_soon(journal.run)
        disk.fail(1, errno.EIO, times=3)
        journal.note(decision(A, 1))
        await trio.sleep(2)
        assert await book.records("decision") == []
        disk.heal()
        await trio.sleep(5)
        assert len(await book.records("decision")) == 1
        nursery.cancel_scope.cancel()
