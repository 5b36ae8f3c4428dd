"""Work off the loop: the only place that starts threads.

What blocks or computes for longer than a few milliseconds goes through an `Offload`, so that the loop goes
on and a test can have the same work done in place. A hop costs 0.2 to 0.3 ms: hand over batches, not single
hashes.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


class Offload(Protocol):
    """Somewhere to run functions that must not run on the loop."""

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return `fn(*args)`, or raise what it raised.

        A caller that is cancelled while `fn` waits for its turn gets `Cancelled`, and `fn` is never called.
        Once `fn` runs, nothing cuts it: `run` returns when it is done and not before, so that no work goes
        on unowned and no result is lost. `fn` must therefore be short, or end by itself.
        """
        ...

    async def run_batched(self, fn: Callable[[Item], T], items: Sequence[Item], size: int) -> list[T]:
        """Return `[fn(item) for item in items]`, `size` items a hop, one hop after the other.

        Between hops the caller can be cancelled; what was done until then is dropped.
        """
        done: list[T] = []
        for first in range(0, len(items), size):
            done += await self.run(_each, fn, items[first : first + size])
        return done


def _each(fn: Callable[[Item], T], items: Sequence[Item]) -> list[T]:
    return [fn(item) for item in items]


class Threads(Offload):
    """Worker threads, at most `limit` at once; further calls wait their turn, first come first served.

    The threads are trio's: kept for ten idle seconds, then gone.
    """

    def __init__(self, limit: int) -> None:
        self._limiter = trio.CapacityLimiter(limit)

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        return await trio.to_thread.run_sync(fn, *args, limiter=self._limiter)


class Inline(Offload):
    """The same contract without threads: `fn` runs in place, between two checkpoints.

    For runs on virtual time, where a clock that jumps to the next deadline would not wait for a real
    thread. The loop stands still while `fn` runs.
    """

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        try:
            return fn(*args)
        finally:
            # As after a thread: others have had their turn, and a cancellation does not take the result away.
            await trio.lowlevel.cancel_shielded_checkpoint()
