"""One connection with a provider: calls go out, and answers come back to whoever asked, in whatever order.

One task reads (`run`) and hands each answer to its call. A call that gets no answer in time ends the
connection: a provider that keeps silent is as good as gone, and another one may answer.
"""

from collections.abc import Callable
from typing import Any, Protocol

import trio
from attrs import define, field

from codex.chain.jsonrpc import Push, Reply, RpcError, parse, request
from codex.errors import DecodeError
from codex.runtime import Offload

IN_FLIGHT = 32
"""Calls without an answer at most; further ones wait. Providers count what is asked at the same time."""
PATIENCE = 30.0
"""Seconds that an answer may take. Long scans of logs take some providers ten."""
SENDING = 5.0
"""Seconds that sending a call may take; nobody who is cancelled cuts it."""
_IN_PLACE = 1 << 18  # characters of an answer read on the loop; 3 ms or so


class LinkLost(Exception):
    """The connection is over, and why."""


class Wire(Protocol):
    """An open way to a provider, for texts. Both methods raise LinkLost when it is over."""

    @property
    def pushes(self) -> bool:
        """Whether the provider can say something that it was not just asked for."""
        ...

    async def send(self, text: str) -> None:
        """Send one message; not for several tasks at once."""
        ...

    async def receive(self) -> str | bytes:
        """Wait for the next message."""
        ...


@define(eq=False)
class _Waiting:
    """A call on its way."""

    done: trio.Event = field(factory=trio.Event)
    reply: Reply | None = None


class Link:
    """Calls over a wire, matched with their answers."""

    def __init__(self, wire: Wire, offload: Offload, hear: Callable[[Push], None]) -> None:
        """`hear` is told what comes for subscriptions; it must not wait."""
        self._wire = wire
        self._offload = offload
        self._hear = hear
        self._slots = trio.Semaphore(IN_FLIGHT)
        self._turn = trio.Lock()
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self.lost: str | None = None
        """Why the connection is over; None while it is not."""

    @property
    def pushes(self) -> bool:
        return self._wire.pushes

    async def run(self) -> None:
        """Read until the connection is over, and `lost` says why."""
        try:
            while self.lost is None:
                self._take(await self._read(await self._wire.receive()))
        except LinkLost as error:
            self.lose(str(error))
        except DecodeError as error:
            # Who sends what cannot be read may have sent an answer that somebody waits for.
            self.lose(error.message)

    async def call(self, method: str, *params: Any) -> Any:
        """Have a method answered. Raises RpcError for an error as the answer, and LinkLost."""
        async with self._slots:
            self._last += 1
            id, waiting = self._last, _Waiting()
            self._waiting[id] = waiting
            try:
                with trio.move_on_after(PATIENCE):
                    await self._send(request(id, method, params))
                    await waiting.done.wait()
            finally:
                del self._waiting[id]
        reply = waiting.reply
        if reply is None:
            raise LinkLost(self.lose(f"no answer to {method} in {PATIENCE:g} s"))
        if reply.error is not None:
            raise RpcError(method, *reply.error)
        return reply.result

    def lose(self, why: str) -> str:
        """Give the connection up: every call on its way gets LinkLost. Returns the first reason given."""
        if self.lost is None:
            self.lost = why
            for waiting in self._waiting.values():
                waiting.done.set()
        return self.lost

    async def _send(self, text: str) -> None:
        # A message that is cut in the middle spoils everything after it.
        async with self._turn:
            if self.lost is not None:
                raise LinkLost(self.lost)
            try:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + SENDING) as scope:
                    await self._wire.send(text)
            except LinkLost as error:
                raise LinkLost(self.lose(str(error))) from error
        if scope.cancelled_caught:
            raise LinkLost(self.lose(f"a call could not be sent in {SENDING:g} s"))

    async def _read(self, text: str | bytes) -> Reply | Push | None:
        if len(text) < _IN_PLACE:
            return parse(text)
        return await self._offload.run(parse, text)

    def _take(self, message: Reply | Push | None) -> None:
        if isinstance(message, Push):
            self._hear(message)
        elif message is None:
            self.lose("the provider could not read a call")
        elif message.id in self._waiting:
            self._waiting[message.id].reply = message
            self._waiting[message.id].done.set()
