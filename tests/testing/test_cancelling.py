"""Cancellation at every checkpoint: it must strike at each of them, once, and check after each."""

from functools import partial

import pytest
import trio

from codex.testing.cancelling import cancel_at_every_checkpoint


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


async def test_each_checkpoint_is_struck_once() -> None:
    reached: list[int] = []

    async def operation() -> None:
        done = 0
        try:
            for done in range(5):  # noqa: B007  the last one begun is what counts
                await trio.lowlevel.checkpoint()
            done = 5
        finally:
            reached.append(done)

    assert await cancel_at_every_checkpoint(operation, nothing) == 5
    assert reached == [0, 1, 2, 3, 4, 5]


async def test_an_operation_without_checkpoints_runs_once() -> None:
    runs: list[int] = []

    async def operation() -> None:
        runs.append(1)

    assert await cancel_at_every_checkpoint(operation, nothing) == 0
    assert runs == [1]


async def test_check_is_called_after_every_run_and_is_not_cancelled() -> None:
    checks: list[int] = []

    async def check() -> None:
        await trio.lowlevel.checkpoint()
        checks.append(1)

    cancelled = await cancel_at_every_checkpoint(nothing, check)
    assert len(checks) == cancelled + 1


@pytest.mark.parametrize(("own_only", "inside_other_task"), [(False, True), (True, False)])
async def test_steps_of_other_tasks_count_unless_told_otherwise(
    own_only: bool, inside_other_task: bool
) -> None:
    progress: set[int] = set()

    async def other(done: trio.Event) -> None:
        at = 0
        try:
            for at in range(3):  # noqa: B007  the last one begun is what counts
                await trio.lowlevel.checkpoint()
            at = 3
            done.set()
        finally:
            progress.add(at)

    async def operation() -> None:
        done = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other, done)
            await done.wait()

    await cancel_at_every_checkpoint(operation, nothing, own_only=own_only)
    assert ({1, 2} <= progress) is inside_other_task
    assert 3 in progress


async def test_a_violation_names_the_step() -> None:
    half_done = False

    async def careless() -> None:
        nonlocal half_done
        await trio.lowlevel.checkpoint()
        half_done = True
        await trio.lowlevel.checkpoint()
        half_done = False

    async def check() -> None:
        assert not half_done

    with pytest.raises(AssertionError) as caught:
        await cancel_at_every_checkpoint(careless, check)
    assert caught.value.__notes__ == ["after a run cancelled at the end of step 2"]


async def test_what_the_operation_raises_is_raised() -> None:
    async def operation() -> None:
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            raise KeyError("swallowed") from None

    with pytest.raises(KeyError, match="swallowed") as caught:
        await cancel_at_every_checkpoint(operation, partial(trio.sleep, 0))
    assert caught.value.__notes__ == ["while cancelled at the end of step 1"]
