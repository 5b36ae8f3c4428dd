"""A simulation of a provider of a chain, for tests: it brings whatever answers methods to a node without a
network, and can be cut off, kept silent, and made to fail.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf
from typing import Any

import trio

from codex.chain import LinkLost, Wire

Answer = Callable[[str, list[Any]], Awaitable[Any]]
Dial = Callable[[str], AbstractAsyncContextManager[Wire]]


class ProviderError(Exception):
    """What a provider answers with instead of a result."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class SimulatedProvider:
    """A provider that a test can break. `dial` is what a node reaches it by, under any URL."""

    def __init__(self, answer: Answer, *, pushes: bool = True) -> None:
        """`answer` gets a method and its parameters, and returns the result or raises ProviderError."""
        self._answer = answer
        self._pushes = pushes
        self._wires: list[_Wire] = []
        self._troubles: dict[str, deque[ProviderError | None]] = {}
        self.up = True
        """Whether it can be reached; see `go_down`."""
        self.silent = False
        """Whether it takes calls and answers none."""
        self.asked: list[tuple[str, list[Any]]] = []
        """Every call that has come, in order."""

    @asynccontextmanager
    async def dial(self, url: str) -> AsyncIterator[Wire]:
        """A wire to it. Raises LinkLost while it is down."""
        await trio.lowlevel.checkpoint()
        if not self.up:
            raise LinkLost("connection refused")
        wire = _Wire(self, self._pushes)
        self._wires.append(wire)
        try:
            yield wire
        finally:
            wire.cut("closed by this side")
            self._wires.remove(wire)

    def go_down(self) -> None:
        """End all connections, and take no more until `up` is set."""
        self.up = False
        self.drop()

    def drop(self) -> None:
        """End all connections."""
        for wire in self._wires:
            wire.cut("the connection was reset")

    def fail(self, method: str, *errors: ProviderError | None) -> None:
        """Answer the next calls of a method with these errors; None lets one pass."""
        self._troubles.setdefault(method, deque()).extend(errors)

    def mend(self) -> None:
        """Answer as if nothing had been planned to fail."""
        self._troubles.clear()

    def push_head(self, block: object) -> None:
        """Tell all who have subscribed of a block."""
        for wire in self._wires:
            if wire.subscribed:
                params = {"subscription": "0x1", "result": block}
                wire.deliver(json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}))

    async def result(self, wire: "_Wire", method: str, params: list[Any]) -> Any:
        """What one call is answered with."""
        self.asked.append((method, params))
        if self._troubles.get(method):
            trouble = self._troubles[method].popleft()
            if trouble is not None:
                raise trouble
        if method == "eth_subscribe":
            if not self._pushes:
                raise ProviderError(-32601, "the method eth_subscribe does not exist")
            wire.subscribed = True
            return "0x1"
        return await self._answer(method, params)


class _Wire:
    """One connection; each call is answered as it comes."""

    def __init__(self, provider: SimulatedProvider, pushes: bool) -> None:
        self._provider = provider
        self._in, self._out = trio.open_memory_channel[str](inf)
        self._why: str | None = None
        self.pushes = pushes
        self.subscribed = False

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._why is not None:
            raise LinkLost(self._why)
        asked = json.loads(text)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        try:
            answer["result"] = await self._provider.result(self, asked["method"], asked["params"])
        except ProviderError as error:
            answer["error"] = {"code": error.code, "message": error.message}
            if error.data is not None:
                answer["error"]["data"] = error.data
        if not self._provider.silent:
            self.deliver(json.dumps(answer))

    async def receive(self) -> str:
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            raise LinkLost(self._why or "closed") from None

    def deliver(self, text: str) -> None:
        if self._why is None:
            self._in.send_nowait(text)

    def cut(self, why: str) -> None:
        if self._why is None:
            self._why = why
            self._in.close()
