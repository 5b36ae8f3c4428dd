"""The slots that were reserved are remembered, the newest of them, and in the next life too."""

import errno
from pathlib import Path

from codex.market import SlotId
from codex.sales.reserved import KEEP, KIND, Reserved
from codex.testing.disks import FaultyDisk
from codex.testing.stores import book_of, open_test_store


def slot(number: int) -> SlotId:
    return SlotId(number.to_bytes(32, "big"))


async def test_the_newest_slots_that_were_reserved_are_remembered(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        book = book_of(store)
        await book.put_records(KIND, [(slot(number).raw, b"") for number in range(KEEP)], keep=KEEP)
        reserved = Reserved(book)
        assert not reserved
        await reserved.load()
        for number in (KEEP, KEEP + 1):
            await reserved.note(slot(number))
        for life in (reserved, Reserved(book)):
            await life.load()
            assert len(life) == KEEP
            assert slot(1) not in life
            assert slot(2) in life
            assert slot(KEEP + 1) in life
        await reserved.forget(slot(2))
        await reserved.forget(slot(2))
        after = Reserved(book)
        await after.load()
        assert slot(2) not in reserved
        assert slot(2) not in after
        assert len(after) == KEEP - 1


async def test_what_cannot_be_kept_counts_in_this_life(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with open_test_store(tmp_path, disk=disk) as store:
        reserved = Reserved(book_of(store))
        disk.fail(1, errno.EIO)
        await reserved.note(slot(1))
        assert slot(1) in reserved
        await reserved.note(slot(2))
        disk.fail(1, errno.EIO)
        await reserved.forget(slot(2))
        assert slot(2) not in reserved
        after = Reserved(book_of(store))
        await after.load()
        assert slot(1) not in after
        assert slot(2) in after
