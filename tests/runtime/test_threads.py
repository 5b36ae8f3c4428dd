"""Off-load: the same contract on threads and in place."""

import threading
from collections.abc import Callable
from functools import partial

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


class Pieces:
    """The numbers up to `count`, made into their doubles and handed on until there is no `room`."""

    def __init__(self, count: int, room: int = 1000) -> None:
        self._numbers = iter(range(count))
        self._room = room
        self.begun = 0
        self.taken: list[int] = []

    def begin(self) -> int | None:
        self.begun += 1
        return next(self._numbers, None)

    def hand_on(self, made: int) -> bool:
        self.taken.append(made)
        return len(self.taken) < self._room


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
async def test_what_is_made_together_is_handed_on_in_order(
    offload: Offload, threads: int, count: int
) -> None:
    pieces = Pieces(count)
    await offload.relay(pieces.begin, double, pieces.hand_on, threads=threads)
    assert pieces.taken == [double(number) for number in range(count)]


async def test_without_room_nothing_more_is_begun_and_what_was_is_handed_on(offload: Offload) -> None:
    pieces = Pieces(50, room=3)
    await offload.relay(pieces.begin, double, pieces.hand_on, threads=2)
    assert 3 <= len(pieces.taken) <= 5
    assert pieces.taken == [double(number) for number in range(pieces.begun)][: len(pieces.taken)]


async def test_two_threads_make_at_the_same_time_and_neither_runs_far_ahead() -> None:
    both, ahead = threading.Barrier(2), threading.Event()
    made: list[int] = []

    def make(number: int) -> int:
        if number < 2:
            both.wait(10)  # passes when a second thread is here
        if number == 2:
            # All that may be made before this one is, when two others are.
            while len(made) < 4:
                assert ahead.wait(10)
                ahead.clear()
        made.append(number)
        ahead.set()
        return number

    pieces = Pieces(12)
    await Threads(limit=4).relay(pieces.begin, make, pieces.hand_on, threads=2)
    assert pieces.taken == list(range(12))
    assert set(made[:4]) == {0, 1, 3, 4}


async def test_half_of_the_threads_stay_free_for_others() -> None:
    used: set[int] = set()
    threads = Threads(limit=4)
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def make(number: int) -> int:
        used.add(threading.get_ident())
        begun.release()
        assert go_on.wait(10)
        return number

    async with trio.open_nursery() as nursery:
        for expected in (2, 1):
            pieces = Pieces(4)
            nursery.start_soon(partial(threads.relay, pieces.begin, make, pieces.hand_on, threads=2))
            for _ in range(expected):
                assert await trio.to_thread.run_sync(partial(begun.acquire, timeout=10))
        assert await threads.run(double, 2) == 4
        go_on.set()
    assert len(used) == 3


@pytest.mark.parametrize("place", ["begin", "make", "hand_on"])
async def test_what_is_raised_has_its_turn_and_nothing_behind_it_is_handed_on(
    offload: Offload, place: str
) -> None:
    pieces = Pieces(9)

    def failing(fn: Callable[..., object], at: object) -> Callable[..., object]:
        def call(*args: object) -> object:
            result = fn(*args)
            if (args or (result,))[0] == at:
                raise OSError("no such disk")
            return result

        return call

    begin = failing(pieces.begin, 5) if place == "begin" else pieces.begin
    make = failing(double, 5) if place == "make" else double
    hand_on = failing(pieces.hand_on, 10) if place == "hand_on" else pieces.hand_on
    with pytest.raises(OSError, match="no such disk"):
        await offload.relay(begin, make, hand_on, threads=2)  # type: ignore[arg-type]
    assert pieces.taken == [0, 2, 4, 6, 8, 10][: 6 if place == "hand_on" else 5]


async def test_cancelled_at_every_checkpoint_no_thread_goes_on(offload: Offload) -> None:
    pieces: list[Pieces] = []

    async def operation() -> None:
        pieces.append(Pieces(20))
        await offload.relay(pieces[-1].begin, double, pieces[-1].hand_on, threads=2)

    async def check() -> None:
        taken = pieces[-1].taken if pieces else []
        assert taken == [double(number) for number in range(20)][: len(taken)]
        pieces.clear()

    with leak_check():
        assert await cancel_at_every_checkpoint(operation, check, own_only=True) >= 1
