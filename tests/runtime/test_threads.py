"""Off-load: the same contract on threads and in place."""

import threading
from collections.abc import Callable

import pytest
import trio

from codex.runtime.threads import Inline, Offload, Threads
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.counting import leak_check


@pytest.fixture(params=["threads", "inline"])
def offload(request: pytest.FixtureRequest) -> Offload:
    return Threads(limit=2) if request.param == "threads" else Inline()


def double(number: int) -> int:
    return number * 2


async def test_the_result_comes_back(offload: Offload) -> None:
    assert await offload.run(double, 21) == 42


async def test_what_is_raised_comes_back(offload: Offload) -> None:
    def fail() -> None:
        raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk"):
        await offload.run(fail)


async def test_a_run_is_a_checkpoint(offload: Offload) -> None:
    with trio.testing.assert_checkpoints():
        await offload.run(double, 1)


async def test_a_cancelled_caller_calls_nothing(offload: Offload) -> None:
    called: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await offload.run(called.append, 1)
    assert scope.cancelled_caught
    assert called == []


async def test_cancelled_at_every_checkpoint_nothing_runs_unowned_and_no_result_is_lost(
    offload: Offload,
) -> None:
    called: list[int] = []
    returned: list[int] = []

    async def operation() -> None:
        before = len(called)
        await offload.run(called.append, len(called))
        returned.append(before)

    async def check() -> None:
        assert returned == called

    with leak_check():
        assert await cancel_at_every_checkpoint(operation, check, own_only=True) >= 1
    assert called


async def test_running_work_is_finished_before_a_cancelled_caller_goes_on() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> str:
        begun.set()
        assert go_on.wait(10)
        ended.append(True)
        return "result"

    threads = Threads(limit=1)
    async with trio.open_nursery() as nursery:

        async def cancel() -> None:
            await trio.to_thread.run_sync(begun.wait, 10)
            scope.cancel()
            go_on.set()

        nursery.start_soon(cancel)
        with trio.CancelScope() as scope:
            result = await threads.run(work)
            await trio.lowlevel.checkpoint()
    assert (result, ended, scope.cancelled_caught) == ("result", [True], True)


async def test_no_more_than_the_limit_run_at_once() -> None:
    threads = Threads(limit=2)
    lock = threading.Lock()
    pair = threading.Barrier(2)
    now = most = 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        pair.wait(10)
        with lock:
            now -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(threads.run, work)
    assert (now, most) == (0, 2)


async def test_threads_are_off_the_loop_and_inline_is_on_it() -> None:
    here = threading.get_ident()
    assert await Threads(limit=1).run(threading.get_ident) != here
    assert await Inline().run(threading.get_ident) == here


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
async def test_batches_give_every_result_in_order(offload: Offload, count: int) -> None:
    hops = 0

    class Counting(Inline):
        async def run(self, fn: Callable[..., object], *args: object) -> object:  # type: ignore[override]
            nonlocal hops
            hops += 1
            return await offload.run(fn, *args)

    assert await Counting().run_batched(double, range(count), 4) == [
        double(number) for number in range(count)
    ]
    assert hops == -(-count // 4)
