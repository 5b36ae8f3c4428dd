"""The ear that all WebSockets of a node have in common: it hears the node once, and tells whoever subscribed.

However many listen, an event is made into JSON at most once, and the loop's steps stay short. What is heard
is put before the listeners a portion at a time; and listeners stand in line for their turns to pass something
on, of which a few are given each time around the loop. So many listeners hear later, and nothing else waits
for them.

When full: the hub keeps what the node says while it tells it, as many events as a subscription may; each
listener keeps as many as it asked for. The oldest are dropped in both places, and `Lagged` says how many.
Nobody listens to the node while nobody has subscribed.
"""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from codex.api.rpc.events import EVENTS, Telling
from codex.api.rpc.limits import MAX_QUEUE
from codex.api.rpc.params import Topic
from codex.node import Node, NodeEvent
from codex.runtime.broadcast import Lagged

REACH: Final = 64  # listeners that an event is put before in one step; each costs a microsecond
TURNS: Final = 4  # events passed on each time around the loop; each costs about a fifth of a millisecond


class Listener:
    """What one subscription hears: an asynchronous iterator of events as they are told, for one task.

    Ends when the node has stopped and what was kept has been taken.
    """

    def __init__(self, hub: "Hub", topics: frozenset[Topic], size: int) -> None:
        self.topics = topics
        self._hub = hub
        self._size = size
        self._kept: deque[Telling] = deque()
        self._missed = 0
        self._over = False
        self._waiting = False  # for something to come, and not for a turn
        self._turn = trio.Event()

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> Telling:
        while True:
            await self._next_turn()
            if self._missed:
                lagged, self._missed = Lagged(self._missed), 0
                return Telling(lagged)
            if self._kept:
                return self._kept.popleft()
            if self._over:
                raise StopAsyncIteration

    async def _next_turn(self) -> None:
        self._turn = trio.Event()
        if self._missed or self._kept or self._over:
            self._hub._line_up(self)
        else:
            self._waiting = True
        await self._turn.wait()

    def _put(self, telling: Telling) -> None:
        if len(self._kept) == self._size:
            self._kept.popleft()
            self._missed += 1
        self._kept.append(telling)
        self._stir()

    def _end(self) -> None:
        self._over = True
        self._stir()

    def _stir(self) -> None:
        if self._waiting:
            self._waiting = False
            self._hub._line_up(self)


class Hub:
    """Tells the listeners of one node what happens there, while `run` runs."""

    def __init__(self, node: Node) -> None:
        self._node = node
        # A dict for its order: the same run tells the same listeners in the same order.
        self._listeners: dict[Listener, None] = {}
        self._wanted = trio.Event()  # somebody listens
        self._hearing = trio.Event()  # and the node is heard
        self._ear = trio.CancelScope()
        self._over = False
        self._line: deque[Listener] = deque()
        self._lined_up = trio.Event()

    async def run(self) -> None:
        """Hear the node and tell of it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_turns)
            await self._hear()

    @asynccontextmanager
    async def listen(self, topics: frozenset[Topic], size: int) -> AsyncIterator[Listener]:
        """Hear what belongs to the topics for the length of the block, keeping at most `size` events."""
        listener = Listener(self, topics, size)
        self._listeners[listener] = None
        try:
            self._wanted.set()
            await self._hearing.wait()
            if self._over:
                listener._end()
            yield listener
        finally:
            del self._listeners[listener]
            if not self._listeners and not self._over:
                self._ear.cancel()
                self._wanted, self._hearing = trio.Event(), trio.Event()

    # -- hearing

    async def _hear(self) -> None:
        while not self._over:
            await self._wanted.wait()
            if not self._listeners:
                continue  # gone again
            with trio.CancelScope() as self._ear:
                async with self._node.events(MAX_QUEUE) as events:
                    self._hearing.set()
                    async for event in events:
                        await self._spread(event)
                self._over = True
        for listener in self._listeners:
            listener._end()

    async def _spread(self, event: NodeEvent | Lagged) -> None:
        topic = EVENTS[type(event)].topic
        telling = Telling(event)
        listeners = [one for one in self._listeners if topic is None or topic in one.topics]
        for start in range(0, len(listeners), REACH):
            for listener in listeners[start : start + REACH]:
                listener._put(telling)
            await trio.lowlevel.checkpoint()

    # -- turns

    def _line_up(self, listener: Listener) -> None:
        self._line.append(listener)
        self._lined_up.set()

    async def _give_turns(self) -> None:
        while True:
            await self._lined_up.wait()
            for _ in range(min(TURNS, len(self._line))):
                self._line.popleft()._turn.set()
            if not self._line:
                self._lined_up = trio.Event()
            await trio.lowlevel.checkpoint()
