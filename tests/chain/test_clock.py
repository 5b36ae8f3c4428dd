"""Waiting for a moment of the chain's time."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import ChainBoard, Header
from codex.chain.clock import ChainClock
from codex.runtime import VirtualClock


def block(number: int, timestamp: int) -> Header:
    return Header(number, bytes([number]) * 32, bytes(32), timestamp)


async def test_it_waits_for_a_first_block(nursery: trio.Nursery, mock_clock: MockClock) -> None:
    board = ChainBoard(VirtualClock(100))
    times: list[float] = []

    async def ask() -> None:
        times.append(await ChainClock(board).now())

    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    assert times == []
    board.tell_head(block(1, 5000))
    await wait_all_tasks_blocked()
    assert times == [5000]


async def test_without_blocks_the_moment_comes_all_the_same(autojump_clock: MockClock) -> None:
    board = ChainBoard(VirtualClock(100))
    board.tell_head(block(1, 5000))
    began = trio.current_time()
    await ChainClock(board).until(5060)
    assert trio.current_time() - began == 60
    await ChainClock(board).until(4000)
    assert trio.current_time() - began == 60


async def test_blocks_bring_the_moment_nearer_or_farther(autojump_clock: MockClock) -> None:
    board = ChainBoard(VirtualClock(100))
    board.tell_head(block(1, 5000))
    began = trio.current_time()

    async def blocks() -> None:
        await trio.sleep(10)
        board.tell_head(block(2, 5005))
        await trio.sleep(10)
        board.tell_head(block(3, 5090))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(blocks)
        await ChainClock(board).until(5100)
    assert trio.current_time() - began == 30
