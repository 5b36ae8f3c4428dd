"""Broadcasts: one says it, whoever listens hears it, nobody is owed anything.

When full: each subscriber holds at most `size` items. For one that is slower than the publisher the
*oldest* are dropped, because news is worth more than history, and it is told so: `Lagged(missed)` comes in
the place where the dropped items would have come. The publisher never waits and never knows.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import trio
from attrs import frozen

T = TypeVar("T")


@frozen
class Lagged:
    """To a subscriber: `missed` items were dropped here, because they were not taken in time."""

    missed: int


class Subscription(Generic[T]):
    """One subscriber's items, in the order they were published; for one task at a time.

    Ends when the broadcast is closed and all that was held has been taken, `Lagged` included.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._missed = 0
        self._closed = False
        self._arrivals = trio.lowlevel.ParkingLot()

    def __aiter__(self) -> "Subscription[T]":
        return self

    async def __anext__(self) -> T | Lagged:
        """Return the next item; a checkpoint, and nothing is lost when it is cancelled there."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._missed:
                lagged, self._missed = Lagged(self._missed), 0
                return lagged
            if self._items:
                return self._items.popleft()
            if self._closed:
                raise StopAsyncIteration
            await self._arrivals.park()

    def _put(self, item: T) -> None:
        if len(self._items) == self._size:
            self._items.popleft()
            self._missed += 1
        self._items.append(item)
        self._arrivals.unpark()

    def _close(self) -> None:
        self._closed = True
        self._arrivals.unpark_all()


class Broadcast(Generic[T]):
    """Something that is said to all who listen at that moment."""

    def __init__(self) -> None:
        # A dict for its order: the same run wakes the same subscribers in the same order.
        self._subscriptions: dict[Subscription[T], None] = {}
        self._closed = False

    def publish(self, item: T) -> None:
        """Hand `item` to every subscriber; does not wait. After `close` nobody is left to hear it."""
        for subscription in self._subscriptions:
            subscription._put(item)

    @asynccontextmanager
    async def subscribe(self, size: int) -> AsyncIterator[Subscription[T]]:
        """Listen for the length of the block, from now on, holding at most `size` items (1 or more).

        Of a closed broadcast the subscription is over at once.
        """
        if size < 1:
            raise ValueError(f"a subscriber holds at least one item, not {size}")
        subscription = Subscription[T](size)
        if self._closed:
            subscription._close()
        else:
            self._subscriptions[subscription] = None
        try:
            yield subscription
        finally:
            self._subscriptions.pop(subscription, None)

    def close(self) -> None:
        """End every subscription, once its subscriber has taken what it holds."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription._close()
        self._subscriptions.clear()
