"""What ails the store, by its own answers, and when that is over."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from codex.codec import Cid
from codex.errors import BlockNotFound, CodexError, CorruptData, DiskFailed, DiskFull, IndexDamaged
from codex.runtime import Inbox, VirtualClock
from codex.store import calls
from codex.store.ward import RECHECK, Ward

EPOCH = 1_750_000_000.0
FULL = DiskFull("the disk is full", remedy="make room")
FAILED = DiskFailed("the disk failed")
DAMAGED = IndexDamaged("the index is damaged")
BRING = calls.PutBlocks((), None, None)
ASK = calls.GetSpace()


class Store:
    """A ward, and the answers that it hears: `next` is raised when it is an error."""

    def __init__(self) -> None:
        self.inbox = Inbox("store")
        self.next: Exception | None = None
        self.room = False
        self.looks: list[float] = []
        self.ward = Ward(self.inbox, self._answer, VirtualClock(EPOCH))

    async def _answer(self, call: Any) -> str:
        await trio.lowlevel.checkpoint()
        if self.next is not None:
            raise self.next
        return "answer"

    async def is_room(self) -> bool:
        await trio.lowlevel.checkpoint()
        self.looks.append(trio.current_time())
        return self.room

    async def fails(self, error: Exception, call: Any = BRING) -> None:
        """Have a call answered by an error."""
        self.next = error
        with pytest.raises(type(error)):
            await self.ward.answer(call)
        self.next = None

    async def works(self, call: Any = BRING) -> None:
        assert await self.ward.answer(call) == "answer"

    @property
    def told(self) -> tuple[str, float, bool] | None:
        """The condition's code, its age and whether the store serves."""
        now = self.inbox.condition
        return None if now is None else (now.problem.code, now.since - EPOCH, now.serves)


@pytest.mark.parametrize("error", [BlockNotFound("no"), CorruptData("a block"), ValueError("a bug")])
async def test_what_is_wrong_with_a_call_is_no_condition(error: Exception) -> None:
    store = Store()
    await store.fails(error)
    assert store.told is None


@pytest.mark.parametrize("error", [FULL, FAILED])
async def test_a_bad_disk_is_one_until_something_is_stored(error: CodexError, autojump_clock: Any) -> None:
    store = Store()
    start = trio.current_time()
    await store.fails(error)
    await trio.sleep(10)
    await store.fails(error)
    assert store.told == (error.code, start, True)
    assert store.inbox.condition is not None
    assert store.inbox.condition.problem == error.as_problem()
    await store.works(ASK)
    await store.works(calls.DeleteBlock(Cid(b"")))  # for which room is kept
    assert store.told == (error.code, start, True)
    await store.works()
    assert store.told is None


async def test_errors_in_groups_are_noted_too() -> None:
    store = Store()
    await store.fails(ExceptionGroup("", [ValueError(), FULL]))
    assert store.told is not None


async def test_a_damaged_index_outweighs_and_outlasts_everything(autojump_clock: Any) -> None:
    store = Store()
    await store.fails(FULL)
    await trio.sleep(1)
    at = trio.current_time()
    await store.fails(DAMAGED, ASK)
    assert store.told == ("index-damaged", at, False)
    await store.fails(FULL)
    await store.works()
    assert store.told == ("index-damaged", at, False)


async def test_room_on_the_disk_is_looked_for(nursery: trio.Nursery, autojump_clock: Any) -> None:
    store = Store()
    nursery.start_soon(store.ward.look_for_room, store.is_room)
    await trio.sleep(10 * RECHECK)
    assert store.looks == []  # nobody looks while all is well
    start = trio.current_time()
    await store.fails(FULL)
    await trio.sleep(2.5 * RECHECK)
    assert store.looks == [start + RECHECK, start + 2 * RECHECK]
    assert store.told is not None
    store.room = True
    await trio.sleep(RECHECK)
    assert store.told is None
    await trio.sleep(10 * RECHECK)
    assert len(store.looks) == 3
    await wait_all_tasks_blocked()


async def test_looking_for_room_may_fail(nursery: trio.Nursery, autojump_clock: Any) -> None:
    store = Store()

    async def broken() -> bool:
        await trio.lowlevel.checkpoint()
        raise DAMAGED

    nursery.start_soon(store.ward.look_for_room, broken)
    await store.fails(FULL)
    await trio.sleep(1.5 * RECHECK)
    assert store.told is not None
    assert store.told[0] == "index-damaged"


async def test_a_backup_that_finds_no_room_says_where_and_is_no_condition() -> None:
    store = Store()
    store.next = FULL
    with pytest.raises(DiskFull, match="where the backup is made") as raised:
        await store.ward.answer(calls.BackUp(Path("/mnt/other/copy"), None))
    assert "/mnt/other," in raised.value.remedy
    assert store.told is None
