"""The connection to a node: requests out, replies and notifications in, and the bytes of streams.

Two tasks serve it: one reads and hands everything to whom it belongs, without ever waiting for anybody; one
sends. What waits to be sent is bounded by what may be: uploads have credit, and everything else is small.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any, Protocol

import trio

from codex.client.errors import Disconnected, as_error
from codex.client.values import Event, event
from codex.errors import CodexError, Problem
from codex.runtime.broadcast import Broadcast

FRAME = 262_144  # bytes of data in one message
NUMBER = 4  # bytes of a stream's number before them


class Socket(Protocol):
    """What is needed of a WebSocket; see trio-websocket."""

    async def get_message(self) -> str | bytes: ...
    async def send_message(self, message: str | bytes) -> None: ...


class Call:
    """One request: what has come for it so far. Made by `Link.call`."""

    def __init__(self, link: "Link", id: int, then: Callable[[Any], None] | None) -> None:
        self.id = id
        self.stream = 0
        self.window = 0
        self.done = False
        self._link = link
        self._then = then
        self._opened: Mapping[str, Any] | None = None
        self._credit = 0
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._result: Any = None
        self._error: CodexError | None = None
        self._news = trio.Event()

    # -- for whoever made it

    async def result(self) -> Any:
        """Wait for the reply. Raises what the node answers, and Disconnected."""
        while not self.done:
            await self._wait()
        if self._error is not None:
            raise self._error
        return self._result

    async def opened(self) -> Mapping[str, Any]:
        """Wait until the stream is open, and what is said of it. Raises as `result`."""
        while self._opened is None:
            if self.done:
                await self.result()
                raise Disconnected("the node has opened no stream")
            await self._wait()
        return self._opened

    async def room(self) -> int:
        """Wait until bytes may be sent, and how many. Raises as `result`."""
        while self.done or not self._credit:
            if self.done:
                await self.result()
                raise Disconnected("the node has ended the stream before its end")
            await self._wait()
        return self._credit

    async def piece(self) -> bytes | None:
        """Wait for the next bytes; None at their end. Raises as `result`, behind the bytes that came before
        that.
        """
        while not self._pieces:
            if self._ended or self.done:
                await self.result()
                return None
            await self._wait()
        return self._pieces.popleft()

    def send(self, data: memoryview) -> None:
        """Send bytes, no more than there is room for; none for the end."""
        self._credit -= len(data)
        self._link.post(b"".join((self.stream.to_bytes(NUMBER, "big"), data)))

    async def _wait(self) -> None:
        self._news = trio.Event()
        await self._news.wait()

    # -- for the link

    def told_opened(self, params: Mapping[str, Any]) -> None:
        """The stream has its number."""
        self._opened = params
        self.stream = params["stream"]
        self._credit = self.window = params["window"]
        self._news.set()

    def told_credit(self, count: int) -> None:
        """More may be sent."""
        self._credit += count
        self._news.set()

    def told_piece(self, data: bytes) -> None:
        """Bytes of the stream, or its end."""
        if data:
            self._pieces.append(data)
        else:
            self._ended = True
        self._news.set()

    def told_reply(self, result: Any, error: CodexError | None) -> None:
        """It is over."""
        if error is None and self._then is not None:
            self._then(result)
        self._result, self._error = result, error
        self.done = True
        self._news.set()


class Link:
    """One connection. `read` and `write` are its tasks, for as long as it lives."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._out, self._leaving = trio.open_memory_channel[str | bytes](inf)
        self._calls: dict[int, Call] = {}
        self._streams: dict[int, Call] = {}
        self._late: dict[int, Callable[[Any], None]] = {}
        self._listeners: dict[int, Broadcast[Event]] = {}
        self._last = 0
        self._lost: str | None = None
        self.heard = trio.current_time()
        """When a message came last, on trio's clock."""

    @contextmanager
    def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        then: Callable[[Any], None] | None = None,
        late: Callable[[Any], None] | None = None,
    ) -> Iterator[Call]:
        """Make a request for the length of the block; one that has no reply at its end is cancelled.

        `then` is given the result before anything that came behind it is looked at; `late` instead, when the
        block was left and it had been done all the same. Raises Disconnected.
        """
        self.check()
        self._last += 1
        call = Call(self, self._last, then)
        self._calls[call.id] = call
        self._post({"id": call.id, "method": method, "params": params})
        try:
            yield call
        finally:
            self._calls.pop(call.id, None)
            self._streams.pop(call.stream, None)
            if not call.done:
                self.tell("cancel", {"id": call.id})
                if late is not None:
                    self._late[call.id] = late

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Make a request, and return its result. Raises what the node answers, and Disconnected."""
        with self.call(method, params) as call:
            return await call.result()

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a notification; nothing happens when the connection has ended."""
        self._post({"method": method, "params": params})

    def check(self) -> None:
        """Raise Disconnected when the connection has ended."""
        if self._lost is not None:
            raise Disconnected(self._lost, remedy="connect again")

    def listen(self, subscription: int, events: Broadcast[Event]) -> None:
        """Have the events of a subscription published there; closed when the connection ends."""
        self._listeners[subscription] = events

    def unlisten(self, subscription: int) -> None:
        """No longer."""
        self._listeners.pop(subscription, None)

    def post(self, message: str | bytes) -> None:
        """Have a message sent."""
        if self._lost is None:
            self._out.send_nowait(message)

    def _post(self, message: Mapping[str, Any]) -> None:
        self.post(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")))

    # -- the two tasks

    async def write(self) -> None:
        """Send what there is to send."""
        async for message in self._leaving:
            await self._socket.send_message(message)

    async def read(self) -> None:
        """Hand out what comes; never returns by itself."""
        while True:
            message = await self._socket.get_message()
            self.heard = trio.current_time()
            if isinstance(message, bytes):
                call = self._streams.get(int.from_bytes(message[:NUMBER], "big"))
                if call is not None:
                    call.told_piece(message[NUMBER:])
            else:
                self._take(json.loads(message))

    def lose(self, why: str) -> None:
        """The connection has ended: everything that waits on it is told so."""
        if self._lost is None:
            self._lost = why
            for call in self._calls.values():
                if not call.done:
                    call.told_reply(None, Disconnected(why, remedy="connect again"))
            for events in self._listeners.values():
                events.close()

    def _take(self, message: Mapping[str, Any]) -> None:
        name, params = message.get("method"), message.get("params", {})
        if name is None:
            self._take_reply(message)
        elif name == "opened":
            call = self._calls.get(params["request"])
            if call is not None:
                call.told_opened(params)
                self._streams[call.stream] = call
        elif name == "credit":
            call = self._streams.get(params["stream"])
            if call is not None:
                call.told_credit(params["bytes"])
        else:
            events = self._listeners.get(params.get("subscription"))
            if events is not None:
                events.publish(event(name, params))

    def _take_reply(self, message: Mapping[str, Any]) -> None:
        late = self._late.pop(message["id"], None)
        if late is not None and "result" in message:
            late(message["result"])
        call = self._calls.get(message["id"])
        if call is not None and "error" in message:
            told = message["error"]["data"]
            call.told_reply(None, as_error(Problem(told["code"], told["message"], told["remedy"])))
        elif call is not None:
            call.told_reply(message["result"], None)
