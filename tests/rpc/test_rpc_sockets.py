"""WebSockets of a node that is served: who is let in, how many, and what is left when they go."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from codex import api
from codex.api import rpc
from codex.api.rpc.limits import FRAME
from codex.api.rpc.session import Session
from codex.codec import Cid
from codex.config import ApiConfig
from codex.node import JobState, Node
from codex.runtime.groups import unwrapped
from codex.testing.content import noise
from codex.testing.counting import Counts, count
from codex.testing.nodes import ServedNode, holdings, open_test_node, serve

PATH = "/api/codex/v1/ws"
TOKEN = "a token of at least sixteen characters".replace(" ", "-")


def url(served: ServedNode) -> str:
    return f"ws://127.0.0.1:{served.address.port}{PATH}"


@asynccontextmanager
async def connected(target: str, *headers: tuple[str, str]) -> AsyncIterator[WebSocketConnection]:
    """A WebSocket that is gone at the end of the block, without a word."""
    parts = urlsplit(target)
    assert parts.port is not None
    stream = await trio.open_tcp_stream("127.0.0.1", parts.port)
    pairs = [(name.encode(), value.encode()) for name, value in headers]
    try:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                resource = f"{parts.path}?{parts.query}"
                yield await wrap_client_stream(
                    nursery, stream, "127.0.0.1", resource, extra_headers=pairs, max_message_size=1 << 24
                )
                nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)


async def say(socket: WebSocketConnection, method: str, params: Any = None, id: Any = 1) -> None:
    request = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
    await socket.send_message(json.dumps(request))


async def hear(socket: WebSocketConnection) -> Any:
    with trio.fail_after(30):
        return json.loads(await socket.get_message())


async def ask(socket: WebSocketConnection, method: str, params: Any = None) -> Any:
    await say(socket, method, params)
    return (await hear(socket))["result"]


def left_since(before: Counts) -> list[str]:
    """Tasks and connections that were not there before."""
    left = count().left_behind_since(before)
    return [line for line in left if line.startswith("task") or "socket" in line]


async def settled(node: Node) -> None:
    """Wait until no job runs."""
    with trio.fail_after(30):
        for job in node.jobs.list(state=JobState.RUNNING):
            await job.wait()


async def test_calls_are_answered(served: ServedNode) -> None:
    async with connected(url(served)) as socket:
        assert (await ask(socket, "space"))["totalBlocks"] == 0


# -- who is let in


@asynccontextmanager
async def guarded(data_dir: Path, origin: str | None = None, token: bool = True) -> AsyncIterator[str]:
    """The WebSocket of a node that asks for a token, and lets in pages of that origin."""
    file = data_dir.parent / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    async with open_test_node(data_dir) as node:
        send, receive = trio.open_memory_channel[api.Address](1)
        config = ApiConfig(port=0, port_explicit=True, cors_origin=origin, token_file=file if token else None)
        await api.start_api(node, config, send.send_nowait)
        yield f"ws://127.0.0.1:{receive.receive_nowait().port}{PATH}"


async def rejected(target: str, *headers: tuple[str, str]) -> int:
    """The status that a WebSocket is refused with; 101 when it is let in."""
    try:
        async with connected(target, *headers) as socket:
            assert (await ask(socket, "space"))["totalBlocks"] == 0
    except ConnectionRejected as error:
        return int(error.status_code)
    return 101


async def test_a_token_is_asked_for(tmp_path: Path) -> None:
    async with guarded(tmp_path / "alice") as target:
        assert await rejected(target) == 401
        assert await rejected(target, ("Authorization", "Bearer nonsense")) == 401
        assert await rejected(f"{target}?token=nonsense") == 401
        assert await rejected(f"{target}?token={TOKEN}&token={TOKEN}") == 401
        assert await rejected(target, ("Authorization", f"Bearer {TOKEN}")) == 101
        assert await rejected(f"{target}?token={TOKEN}") == 101


async def test_pages_from_elsewhere_are_not_let_in(tmp_path: Path) -> None:
    async with guarded(tmp_path / "alice", "https://alice.example", token=False) as target:
        assert await rejected(target) == 101
        assert await rejected(target, ("Origin", "https://alice.example")) == 101
        assert await rejected(target, ("Origin", "https://bob.example")) == 403
        assert await rejected(target, ("Origin", "null")) == 403


# -- how many


async def test_two_hundred_may_be_idle(served: ServedNode) -> None:
    before = count()
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connected(url(served))) for _ in range(200)]
        for number, socket in enumerate(sockets):
            await say(socket, "space", id=number)
        for number, socket in enumerate(sockets):
            assert (await hear(socket))["id"] == number
        assert (await served.client.get("/space")).status == 200
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert left_since(before) == []


async def test_more_than_there_may_be_are_turned_away(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "MAX_SOCKETS", 2)
    async with connected(url(served)) as bob:
        async with connected(url(served)) as alice:
            assert await ask(alice, "space")
            assert await ask(bob, "space")
            assert await rejected(url(served)) == 503
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert await rejected(url(served)) == 101


# -- how they end


async def test_the_node_stops_and_says_so(tmp_path: Path) -> None:
    async with open_test_node(tmp_path / "alice") as node:
        target = url(await serve(node))
        async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(connected(target)) for _ in range(3)]
            for socket in sockets:
                assert await ask(socket, "space")
            nursery.start_soon(node.stop)
            for socket in sockets:
                with pytest.raises(ConnectionClosed) as closed, trio.fail_after(5):
                    await socket.get_message()
                assert closed.value.reason is not None
                assert (closed.value.reason.code, closed.value.reason.reason) == (
                    1001,
                    "the node is stopping",
                )


async def test_a_bug_ends_its_connection_and_no_other(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(session: Session) -> None:
        await session._socket.receive()
        raise ZeroDivisionError("of all things")

    async with connected(url(served)) as bob:
        assert await ask(bob, "space")
        monkeypatch.setattr(Session, "run", fail)
        async with connected(url(served)) as alice:
            await say(alice, "space")
            with pytest.raises(ConnectionClosed) as closed:
                await hear(alice)
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1011
        assert await ask(bob, "space")


async def test_an_upload_under_way_may_finish_when_the_node_stops(tmp_path: Path) -> None:
    content = noise(3 * FRAME)
    async with open_test_node(tmp_path / "alice") as node:
        target = url(await serve(node))
        async with connected(target) as socket, trio.open_nursery() as nursery:
            await say(socket, "store", {"size": len(content)})
            head = (await hear(socket))["params"]["stream"].to_bytes(4, "big")
            await socket.send_message(head + content[:FRAME])
            nursery.start_soon(node.stop)
            await trio.testing.wait_all_tasks_blocked(0.05)
            for start in range(FRAME, len(content), FRAME):
                await socket.send_message(head + content[start : start + FRAME])
            await socket.send_message(head)
            reply = await hear(socket)
            while "method" in reply:
                reply = await hear(socket)
            cid = Cid.parse(reply["result"]["cid"])
            with pytest.raises(ConnectionClosed):
                await socket.get_message()
    async with open_test_node(tmp_path / "alice") as node, node.retrieve(cid) as retrieval:
        assert await retrieval.read() == content


@pytest.mark.parametrize("pieces", range(7))
async def test_an_upload_that_is_cut_leaves_nothing(served: ServedNode, pieces: int) -> None:
    before = await holdings(served.node)
    space = (await served.client.get("/space")).body
    async with connected(url(served)) as socket:
        await say(socket, "store", {"filename": "a.bin"})
        head = (await hear(socket))["params"]["stream"].to_bytes(4, "big")
        credit = 4
        for place in range(pieces):
            while not credit:
                credit += (await hear(socket))["params"]["bytes"] // FRAME
            credit -= 1
            await socket.send_message(head + bytes([place]) * FRAME)
    await trio.testing.wait_all_tasks_blocked(0.02)
    await settled(served.node)
    assert await holdings(served.node) == before
    assert (await served.client.get("/space")).body == space


async def test_a_download_that_is_cut_harms_nobody(served: ServedNode) -> None:
    cid = await served.node.store(noise(20 * FRAME))
    before = count()
    for _ in range(3):
        async with connected(url(served)) as socket:
            await say(socket, "retrieve", {"cid": str(cid), "window": 64 << 20})
            await hear(socket)
    await trio.testing.wait_all_tasks_blocked(0.05)
    await settled(served.node)
    assert left_since(before) == []
    async with served.node.retrieve(cid) as retrieval:
        assert len(await retrieval.read()) == 20 * FRAME


async def test_a_slow_reader_holds_nobody_up(served: ServedNode) -> None:
    """A client with all the credit in the world that reads nothing at all."""
    cid = await served.node.store(noise(64 * FRAME))
    async with connected(url(served)) as slow, connected(url(served)) as socket:
        await say(slow, "retrieve", {"cid": str(cid), "window": 64 << 20})
        for _ in range(20):
            assert (await ask(socket, "space"))["totalBlocks"] > 0
    await trio.testing.wait_all_tasks_blocked(0.05)
    await settled(served.node)
