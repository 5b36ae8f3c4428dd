"""The board: what is known, and waiting for it to change."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import ChainBoard, Connected, Disconnected, Header
from codex.runtime import VirtualClock


def block(number: int, timestamp: int = 0) -> Header:
    return Header(number, bytes([number]) * 32, bytes(32), timestamp)


async def test_it_begins_with_nothing() -> None:
    board = ChainBoard(VirtualClock(100))
    assert isinstance(board.state, Disconnected)
    assert board.head is None
    assert board.now() is None
    assert board.account is None


async def test_a_new_block_wakes_who_waits_for_it(nursery: trio.Nursery) -> None:
    board = ChainBoard(VirtualClock(100))
    heard: list[int] = []

    async def listen(after: Header | None) -> None:
        heard.append((await board.next_head(after)).number)

    nursery.start_soon(listen, None)
    nursery.start_soon(listen, block(1))
    await wait_all_tasks_blocked()
    board.tell_head(block(1))
    await wait_all_tasks_blocked()
    assert heard == [1]
    board.tell_head(block(1))
    await wait_all_tasks_blocked()
    assert heard == [1]
    board.tell_head(block(2))
    await wait_all_tasks_blocked()
    assert heard == [1, 2]
    assert (await board.next_head(block(1))).number == 2


async def test_a_connection_wakes_who_waits_for_it(nursery: trio.Nursery) -> None:
    board = ChainBoard(VirtualClock(100))
    states: list[object] = []

    async def listen() -> None:
        states.append(await board.connected())

    nursery.start_soon(listen)
    board.tell_state(Disconnected(0, "refused", 5))
    await wait_all_tasks_blocked()
    assert states == []
    connected = Connected("ws://one", 7, 31337)
    board.tell_state(connected)
    await wait_all_tasks_blocked()
    assert states == [connected]
    assert await board.next_state(Disconnected(0, "refused", 5)) == connected


async def test_time_goes_on_between_blocks(autojump_clock: MockClock) -> None:
    board = ChainBoard(VirtualClock(100))
    board.tell_head(block(1, timestamp=5000))
    assert board.now() == 5000
    await trio.sleep(7)
    assert board.now() == 5007
    board.tell_head(block(2, timestamp=5006))
    assert board.now() == 5006
