"""Cancellation at every point where it can strike, instead of where somebody thought of it."""

from collections.abc import Awaitable, Callable

import trio


async def cancel_at_every_checkpoint(
    operation: Callable[[], Awaitable[object]],
    check: Callable[[], Awaitable[object]],
    *,
    own_only: bool = False,
) -> int:
    """Run `operation` again and again, cancelled a little later each time, until it is done before that.

    The first run is cancelled when the first task step in it ends, the second run at the end of the second
    step, and so on: steps of every task on the loop, so that a caller is also cancelled at each point that
    work for it has come to in other tasks; with `own_only`, steps of the operation's own task alone. After
    every run, the complete one too, `check` is called, outside the cancelled scope, to assert what must
    always hold.

    Returns how many runs were cancelled. What `operation` or `check` raises is raised, with a note of where
    the cancellation struck.
    """
    step = 0
    while True:
        step += 1
        with trio.CancelScope() as scope:
            task = trio.lowlevel.current_task() if own_only else None
            trigger = _Trigger(step, scope, task)
            trio.lowlevel.add_instrument(trigger)
            try:
                await operation()
            except Exception as error:
                error.add_note(f"while cancelled at the end of step {step}")
                raise
            finally:
                trio.lowlevel.remove_instrument(trigger)
        try:
            await check()
        except Exception as error:
            error.add_note(f"after a run cancelled at the end of step {step}")
            raise
        if not trigger.pulled:
            return step - 1


class _Trigger(trio.abc.Instrument):
    """Cancels `scope` when the given number of task steps have ended; of `task` only, unless that is None."""

    def __init__(self, steps: int, scope: trio.CancelScope, task: trio.lowlevel.Task | None) -> None:
        self.pulled = False
        self._left = steps
        self._scope = scope
        self._task = task

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._task is None or task is self._task:
            self._left -= 1
            if self._left == 0:
                self.pulled = True
                self._scope.cancel()
