"""The leak counters must see a leak, and must not see one where there is none."""

import contextlib
import socket
import threading
from pathlib import Path

import pytest
import trio

from codex.testing.counting import count, leak_check


async def test_a_task_left_behind_is_named() -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match="task straggler"), leak_check():
            nursery.start_soon(trio.sleep_forever, name="straggler")
        nursery.cancel_scope.cancel()


async def test_tasks_that_have_ended_are_no_leak() -> None:
    with leak_check():
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(trio.lowlevel.checkpoint)


async def test_a_busy_thread_is_a_leak_and_an_idle_worker_is_not() -> None:
    with leak_check() as before:
        await trio.to_thread.run_sync(lambda: None)
        assert count().idle_workers >= max(1, before.idle_workers - 1)
    release = threading.Event()
    async with trio.open_nursery() as nursery:
        before = count()
        nursery.start_soon(trio.to_thread.run_sync, release.wait)
        await trio.testing.wait_all_tasks_blocked()
        left = count().left_behind_since(before)
        assert [line.split(" from ")[0] for line in left] == ["task trio.to_thread.run_sync", "thread wait"]
        release.set()


def test_a_thread_of_ones_own_is_a_leak() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="loner")
    with pytest.raises(AssertionError, match="thread loner"), leak_check():
        thread.start()
    release.set()
    thread.join()
    with leak_check():
        other = threading.Thread(target=lambda: None)
        other.start()
        other.join()


def test_an_open_file_is_a_leak_and_a_closed_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "left-open"
    with (
        contextlib.ExitStack() as stack,
        pytest.raises(AssertionError, match=r"descriptor \d+: "),
        leak_check(),
    ):
        stack.enter_context(path.open("w"))
    with leak_check(), path.open():
        pass


def test_a_descriptor_used_again_for_something_else_is_a_leak(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = socket.socket()
        before = count()
        number = first.fileno()
        first.close()
        assert stack.enter_context((tmp_path / "file").open("w")).fileno() == number
        [line] = count().left_behind_since(before)
        assert line.startswith(f"descriptor {number}: ")


def test_a_block_that_raises_is_not_checked() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)

    def leave_it_running() -> None:
        with leak_check():
            thread.start()
            raise KeyError("the reason")

    with pytest.raises(KeyError, match="the reason"):
        leave_it_running()
    release.set()
    thread.join()
