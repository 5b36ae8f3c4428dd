"""From an address to a client: what is an address, who is let in, and what is said when nobody is there."""

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha1
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.api import Address as Listening
from codex.api import start_api
from codex.client import Disconnected, Event, Events, NotLetIn, Unreachable, open_client, opening
from codex.client.opening import Address
from codex.config import ApiConfig
from codex.errors import InvalidInput
from codex.runtime.broadcast import Broadcast
from codex.testing.counting import count
from codex.testing.nodes import ServedNode, open_test_node

PATH = "/api/codex/v1/ws"
TOKEN = "a-token-of-at-least-sixteen-characters"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", Address("127.0.0.1", 8080, False, PATH)),
        ("http://127.0.0.1:8080/", Address("127.0.0.1", 8080, False, PATH)),
        ("http://alice.example/api/codex/v1", Address("alice.example", 80, False, PATH)),
        ("http://alice.example/api/codex/v1/ws", Address("alice.example", 80, False, PATH)),
        ("ws://[::1]:9/ws", Address("::1", 9, False, PATH)),
        ("https://alice.example", Address("alice.example", 443, True, PATH)),
        ("wss://alice.example:1/node/", Address("alice.example", 1, True, "/node" + PATH)),
        ("ws://127.0.0.1:8080/api/codex/v1/ws?token=x", Address("127.0.0.1", 8080, False, PATH + "?token=x")),
    ],
)
def test_an_address_is_read(url: str, address: Address) -> None:
    assert Address.parse(url) == address


def test_an_address_is_shown() -> None:
    assert str(Address.parse("http://[::1]:8080")) == "[::1]:8080"
    assert str(Address.parse("http://alice.example")) == "alice.example:80"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://alice",
        "http://",
        "http://alice:x",
        "http://alice:70000",
        "http://[",
        "ws:",
    ],
)
async def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(InvalidInput, match="is no address of a node"):
        async with open_client(url):
            pass


async def test_where_nobody_is_it_says_so() -> None:
    with pytest.raises(Unreachable, match=r"no node answers at 127\.0\.0\.1:1$") as raised:
        async with open_client("http://127.0.0.1:1"):
            pass
    assert raised.value.remedy


async def test_what_is_no_node_is_told(served: ServedNode) -> None:
    with pytest.raises(Unreachable, match=r"is no node, or an older one \(HTTP 404\)"):
        async with open_client(served.address.url + "/elsewhere"):
            pass


@asynccontextmanager
async def listening(answer: bytes | None) -> AsyncIterator[str]:
    """Something that listens, and says that to whoever connects; None: nothing, and keeps the line."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        if answer is None:
            await trio.sleep_forever()
        await stream.send_all(answer or b"")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("answer", [None, b"", b"220 a mail server\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello"])
async def test_what_speaks_otherwise_is_given_up(answer: bytes | None, autojump_clock: MockClock) -> None:
    async with listening(answer) as url:
        with pytest.raises(Unreachable):
            async with open_client(url):
                pass


@asynccontextmanager
async def guarded(data_dir: Path) -> AsyncIterator[str]:
    file = data_dir.parent / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    async with open_test_node(data_dir) as node:
        send, receive = trio.open_memory_channel[Listening](1)
        await start_api(node, ApiConfig(port=0, port_explicit=True, token_file=file), send.send_nowait)
        yield receive.receive_nowait().url


async def test_a_token_is_given(tmp_path: Path) -> None:
    async with guarded(tmp_path / "alice") as url:
        for token in (None, "nonsense"):
            with pytest.raises(NotLetIn, match="does not let this client in"):
                async with open_client(url, token):
                    pass
        async with open_client(url, TOKEN) as client:
            assert await client.space()


async def test_nothing_is_left_open(served: ServedNode) -> None:
    before = count()
    for _ in range(3):
        async with open_client(served.address.url) as client:
            await client.space()
        with pytest.raises(Unreachable):
            async with open_client(served.address.url + "/elsewhere"):
                pass
    await trio.testing.wait_all_tasks_blocked(0.05)
    left = count().left_behind_since(before)
    assert [line for line in left if line.startswith("task") or "socket" in line] == []


async def test_an_error_of_the_block_is_that_error(served: ServedNode) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_client(served.address.url):
            raise ZeroDivisionError


@asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """A server that opens WebSockets and then says nothing; its address."""

    async def serve(stream: trio.SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive_some()
        [key] = re.findall(rb"(?i)sec-websocket-key: (.*)\r\n", head)
        answer = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        await stream.send_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n"
        )
        while await stream.receive_some():
            pass

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def test_a_node_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PING", 0.05)
    monkeypatch.setattr(opening, "SILENCE", 0.1)
    monkeypatch.setattr(opening, "FAREWELL", 0.05)
    with trio.fail_after(10):
        async with mute() as url:
            with pytest.raises(Disconnected, match="has said nothing for 0 seconds") as raised:
                async with open_client(url) as client:
                    await client.space()
            assert raised.value.remedy
            async with open_client(url) as client:
                events = Broadcast[Event]()
                client._link.listen(1, events)
                async with events.subscribe(5) as heard:
                    with pytest.raises(Disconnected, match="has said nothing"):
                        await anext(Events(client._link, heard))


async def test_a_node_that_answers_is_kept(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "PING", 0.01)
    async with open_client(served.address.url) as client:
        socket, answered = client._link._socket, trio.Event()
        really, left = socket.ping, iter(range(5))  # type: ignore[attr-defined]

        async def ping() -> None:
            await really()
            if next(left, None) is None:
                answered.set()

        monkeypatch.setattr(socket, "ping", ping)
        with trio.fail_after(10):
            await answered.wait()
        assert await client.health()
