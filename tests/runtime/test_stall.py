"""The loop watch: the longest step, whose it was, and how many were too long."""

import time

import trio

from codex.runtime.stall import LoopWatch


def burn(seconds: float) -> None:
    """Use that much CPU time of this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def hog() -> None:
    await trio.lowlevel.checkpoint()
    burn(0.03)
    await trio.lowlevel.checkpoint()


async def dozer() -> None:
    await trio.lowlevel.checkpoint()
    time.sleep(0.05)  # noqa: ASYNC251  a step that blocks without computing is the case
    await trio.lowlevel.checkpoint()


def test_the_longest_step_is_named_by_cpu_and_by_wall_time() -> None:
    watch = LoopWatch(threshold=0.02)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hog, name="hog")
            nursery.start_soon(dozer, name="dozer")

    trio.run(main, instruments=[watch])
    assert watch.worst_cpu_task == "hog"
    assert watch.worst_cpu >= 0.03
    assert watch.over == 1
    assert watch.worst_wall >= 0.05
    assert watch.worst_wall >= watch.worst_cpu
    assert watch.steps > 4


def test_a_watch_put_in_during_a_step_does_not_count_it_as_long() -> None:
    watch = LoopWatch()

    async def main() -> None:
        trio.lowlevel.add_instrument(watch)
        await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(watch)

    trio.run(main)
    assert watch.steps >= 1
    assert (watch.over, watch.worst_cpu < 1, watch.worst_wall < 60) == (0, True, True)


def test_reset_forgets() -> None:
    watch = LoopWatch(threshold=0.02)
    trio.run(hog, instruments=[watch])
    assert watch.over == 1
    watch.reset()
    assert (watch.steps, watch.over, watch.worst_cpu, watch.worst_wall) == (0, 0, 0, 0)
    assert (watch.worst_cpu_task, watch.worst_wall_task) == ("", "")
