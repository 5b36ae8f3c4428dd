"""Connections to a node, for tests of what passes over them: in memory on virtual time, and over loopback."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.api.rpc.hub import Hub
from codex.api.rpc.session import Session
from codex.node import Node
from codex.testing.nodes import ServedNode, open_served_node, open_test_node


class Closed(Exception):
    """The session has closed the connection."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Peer:
    """A client's end of a session, and the session's end of it as a WebSocket. Everything is in memory.

    Replies are told from notifications by `read`; nothing else is done for the test.
    """

    def __init__(self, room: float) -> None:
        self._to_node, self._at_node = trio.open_memory_channel[str | bytes](20)
        self._to_client, self._at_client = trio.open_memory_channel[str | bytes](room)
        self._why: Closed | None = None
        self.notifications: list[dict[str, Any]] = []
        self.pieces: dict[int, list[bytes]] = {}
        self._last = 0

    # -- the WebSocket that the session has

    async def receive(self) -> str | bytes:
        return await self._at_node.receive()

    async def send(self, data: str | bytes) -> None:
        await self._to_client.send(data)

    async def close(self, code: int, reason: str) -> None:
        self._why = Closed(code, reason)
        self._to_client.close()
        await trio.lowlevel.checkpoint()

    # -- the client

    async def say(self, *messages: str | bytes | dict[str, Any] | list[Any]) -> None:
        """Send messages; what is neither text nor bytes goes as JSON."""
        for message in messages:
            await self._to_node.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def ask(self, method: str, params: Any = None, *, id: Any = None) -> Any:
        """Send a request; its id."""
        if id is None:
            self._last += 1
            id = self._last
        request = {"jsonrpc": "2.0", "id": id, "method": method}
        await self.say(request if params is None else {**request, "params": params})
        return id

    async def tell(self, method: str, params: Any) -> None:
        """Send a notification."""
        await self.say({"jsonrpc": "2.0", "method": method, "params": params})

    async def hear(self) -> Any:
        """The next message: JSON, or bytes. Raises Closed."""
        try:
            message = await self._at_client.receive()
        except trio.EndOfChannel:
            assert self._why is not None
            raise self._why from None
        return message if isinstance(message, bytes) else json.loads(message)

    async def reply(self) -> Any:
        """The next reply; notifications and the bytes of streams before it are put aside. Raises Closed."""
        while True:
            message = await self.hear()
            if isinstance(message, bytes):
                self.pieces.setdefault(int.from_bytes(message[:4], "big"), []).append(message[4:])
            elif isinstance(message, dict) and "method" in message:
                self.notifications.append(message)
            else:
                return message

    async def call(self, method: str, params: Any = None) -> Any:
        """Ask, and return the result of the next reply, which must be that."""
        id = await self.ask(method, params)
        reply = await self.reply()
        assert reply.get("id") == id, reply
        assert "result" in reply, reply
        return reply["result"]

    async def fails(self, method: str, params: Any = None) -> Any:
        """Ask, and return the error of the next reply, which must be that."""
        id = await self.ask(method, params)
        reply = await self.reply()
        assert reply.get("id") == id, reply
        return reply["error"]

    async def told(self, name: str) -> Any:
        """The parameters of the next notification of that name; replies must not come before it."""
        for place, message in enumerate(self.notifications):
            if message["method"] == name:
                del self.notifications[place]
                return message["params"]
        while True:
            message = await self.hear()
            if isinstance(message, bytes):
                self.pieces.setdefault(int.from_bytes(message[:4], "big"), []).append(message[4:])
            elif message.get("method") == name:
                return message["params"]
            else:
                assert "method" in message, message
                self.notifications.append(message)

    async def closed(self) -> Closed:
        """Read until the session closes the connection, and how it does."""
        while True:
            try:
                await self.hear()
            except Closed as closed:
                return closed


Open = Callable[..., AbstractAsyncContextManager[Peer]]


@asynccontextmanager
async def _open_session(
    node: Node, room: float = 1000, stopping: trio.Event | None = None
) -> AsyncIterator[Peer]:
    peer = Peer(room)
    stopping = trio.Event() if stopping is None else stopping
    async with trio.open_nursery() as nursery:
        hub = Hub(node)
        nursery.start_soon(hub.run)
        nursery.start_soon(Session(node, hub, peer, stopping).run)
        yield peer
        nursery.cancel_scope.cancel()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node on an empty directory, without an API."""
    async with open_test_node(tmp_path / "alice") as node:
        yield node


@pytest.fixture
def open_session() -> Open:
    """`async with open_session(node) as peer:` runs a session on a node, for a client in memory.

    `room` is how many messages the client's end holds unread; `stopping` is set when the node stops.
    """
    return _open_session


@pytest.fixture
def open_peer(node: Node) -> Open:
    """The same on the node that the test has."""
    return partial(_open_session, node)


@pytest.fixture
async def peer(open_peer: Open) -> AsyncIterator[Peer]:
    """A client in memory."""
    async with open_peer() as peer:
        yield peer


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedNode]:
    """A node on an empty directory, and its API on a free port."""
    async with open_served_node(tmp_path / "alice") as served:
        yield served
