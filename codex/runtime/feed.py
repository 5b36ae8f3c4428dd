"""A feed: what a thread makes, handed to a task piece by piece while the thread goes on.

A hop to a thread and back costs a task half a millisecond in which the thread has nothing to do. Work whose
results are wanted one after the other is therefore handed the feed, and goes on for as long as whoever takes
them keeps up; it returns when the feed is full, so that a slow reader holds no thread, and is called again
once there is room::

    while work is left:
        await feed.room()
        await offload.run(work, feed)     # calls feed.offer(piece) until that says False
    feed.end()

When full: `offer` says so, and `room` waits until half of it was taken. Whoever takes closes the feed when it
wants no more: what is in it then is let go at once, and so is what a thread still brings.
"""

from collections import deque
from collections.abc import Sized
from typing import Generic, TypeVar

import trio

from codex.errors import CodexError

T = TypeVar("T", bound=Sized)


class Feed(Generic[T]):
    """Pieces on their way to one task, which takes them as an asynchronous iterator.

    `capacity` is what the pieces' lengths may add up to; the piece that passes it is the last before there
    is room again. One thread at a time offers; everything else is the loop's. Make it inside a trio run.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._pieces: deque[T] = deque()
        # Each is written on one side only, so that there is nothing to lock.
        self._offered = 0
        self._taken = 0
        self._ended = False
        self._closed = False
        self._error: CodexError | None = None
        self._hungry = False
        self._news = trio.Event()
        self._room = trio.Event()
        self._token = trio.lowlevel.current_trio_token()

    # -- the side that makes

    def offer(self, *pieces: T) -> bool:
        """Hand over pieces, from any thread; whether there is room for one more."""
        self._pieces.extend(pieces)
        self._offered += sum(map(len, pieces))
        if self._closed:
            self._pieces.clear()
        if self._hungry:
            self._hungry = False
            self._token.run_sync_soon(self._tell)
        return not self._ended and self._held < self._capacity

    def limit(self, capacity: int) -> None:
        """Have another capacity from now on; for the loop, while no thread offers."""
        self._capacity = capacity

    async def room(self) -> None:
        """Wait until the feed is at most half full."""
        await trio.lowlevel.checkpoint()
        while self._held > self._capacity // 2 and not self._ended:
            self._room = trio.Event()
            await self._room.wait()

    def end(self, error: CodexError | None = None) -> None:
        """There will be no more pieces; or, behind those that are here, `error` is raised."""
        if not self._ended:
            self._ended, self._error = True, error
            self._tell()
            self._room.set()

    # -- the side that takes

    def __aiter__(self) -> "Feed[T]":
        return self

    async def __anext__(self) -> T:
        await trio.lowlevel.checkpoint()
        while not self._pieces:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._news = trio.Event()
            self._hungry = True
            if self._pieces:  # a piece came in before this task was known to wait
                break
            await self._news.wait()
        self._hungry = False
        piece = self._pieces.popleft()
        self._count(len(piece))
        return piece

    async def some(self, most: int) -> list[T]:
        """Wait for a piece, and take it with those behind it while their lengths add up to `most` or less;
        nothing at the end.
        """
        try:
            taken = [await anext(self)]
        except StopAsyncIteration:
            return []
        left = most - len(taken[0])
        pieces = self._pieces
        while pieces and len(pieces[0]) <= left:
            taken.append(pieces.popleft())
            left -= len(taken[-1])
        self._count(sum(map(len, taken[1:])))
        return taken

    def close(self) -> None:
        """Want no more: what is here is dropped, and what is offered still."""
        self.end()
        self._closed = True
        self._pieces.clear()

    def _count(self, size: int) -> None:
        """So many bytes were taken."""
        self._taken += size
        if self._held <= self._capacity // 2:
            self._room.set()

    @property
    def _held(self) -> int:
        return self._offered - self._taken

    def _tell(self) -> None:
        self._news.set()
