"""Work off the loop: the only place that starts threads.

What blocks or computes for longer than a few milliseconds goes through an `Offload`, so that the loop goes
on and a test can have the same work done in place. A hop costs 0.2 to 0.3 ms: hand over batches, not single
hashes.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar, TypeVarTuple

import trio
from outcome import Error, Outcome, Value, capture

from codex.runtime.groups import unwrapped

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

    async def relay(
        self,
        begin: Callable[[], Item | None],
        make: Callable[[Item], T],
        hand_on: Callable[[T], bool],
        *,
        threads: int = 1,
    ) -> None:
        """Do pieces of work, on up to `threads` idle threads, and hand on what they make in order.

        `begin` gives the next piece, None when there is no more; `make` does it; `hand_on` takes what came of
        it, and says whether to begin more. Only `make` runs in several threads at once; with those, up to one
        piece more than there are threads is begun and not handed on. Everything that was begun is handed on;
        but what one of the three raises is raised in its turn, and nothing behind it is handed on.
        """
        work = _Relay(begin, make, hand_on, threads)
        await self.run(work.take_part)
        work.end()


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

    async def relay(
        self,
        begin: Callable[[], Item | None],
        make: Callable[[Item], T],
        hand_on: Callable[[T], bool],
        *,
        threads: int = 1,
    ) -> None:
        work = _Relay(begin, make, hand_on, threads)
        # Half of the threads stay with those who have none yet.
        spare = int(self._limiter.available_tokens - self._limiter.total_tokens // 2)
        with unwrapped():
            async with trio.open_nursery() as nursery:
                for _ in range(max(1, min(threads, spare))):
                    nursery.start_soon(self.run, work.take_part)
        work.end()


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


class _Relay(Generic[Item, T]):
    """The state of one `relay`, in which any number of threads `take_part`."""

    def __init__(
        self,
        begin: Callable[[], Item | None],
        make: Callable[[Item], T],
        hand_on: Callable[[T], bool],
        threads: int,
    ) -> None:
        self._begin = begin
        self._make = make
        self._hand_on = hand_on
        self._ahead = threads + 1
        self._turn = threading.Condition()  # held for all that follows
        self._begun = 0
        self._handed_on = 0
        self._made: dict[int, Outcome[T]] = {}  # by number, those that wait for one before them
        self._over = False  # nothing more is begun
        self._failed: Error | None = None

    def take_part(self) -> None:
        """Do pieces until there is none to begin."""
        while (piece := self._next()) is not None:
            number, item = piece
            self._give(number, capture(self._make, item))

    def end(self) -> None:
        """When all have done their part: raise what was raised."""
        if self._failed is not None:
            self._failed.unwrap()

    def _next(self) -> tuple[int, Item] | None:
        with self._turn:
            # Whoever makes the piece that is waited for is at work, and needs nobody for it.
            while self._begun - self._handed_on >= self._ahead and not self._over:
                self._turn.wait()
            if self._over:
                return None
            found = capture(self._begin)
            if isinstance(found, Value) and found.value is not None:
                self._begun += 1
                return self._begun - 1, found.value
            self._over = True
            self._turn.notify_all()
            if isinstance(found, Error):
                self._begun += 1
                self._made[self._begun - 1] = found
                self._hand_on_those_made()
            return None

    def _give(self, number: int, made: Outcome[T]) -> None:
        with self._turn:
            self._made[number] = made
            self._hand_on_those_made()
            self._turn.notify_all()

    def _hand_on_those_made(self) -> None:
        while (made := self._made.pop(self._handed_on, None)) is not None:
            self._handed_on += 1
            if self._failed is None:
                more = made if isinstance(made, Error) else capture(self._hand_on, made.unwrap())
                if isinstance(more, Error):
                    self._failed = more
                self._over = self._over or isinstance(more, Error) or not more.value
