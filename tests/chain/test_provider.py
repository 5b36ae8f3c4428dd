"""Ways to a provider, over real connections of this machine: WebSocket and HTTP."""

import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket
from trio_websocket import WebSocketConnection, WebSocketRequest

from codex.chain import Connected, LinkLost, Told, Wire, dial
from codex.chain.jsonrpc import request
from codex.chain.link import Link
from codex.chain.provider import MOST, _Http, _why
from codex.config import MarketConfig
from codex.devnet import open_devnet
from codex.market import StorageRequested
from codex.runtime import Inline, SystemClock
from codex.testing.chain_service import key_file, open_chain

ANSWER = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'


def ok(body: bytes, *, status: str = "200 OK", extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


class HttpServer:
    """Answers each request with what a test says; b"" closes the connection instead."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.connections = 0
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                piece = await stream.receive_some()
                if not piece:
                    return
                held += piece
            head, _, held = held.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(held) < length:
                held += await stream.receive_some()
            self.requests.append(head + b"\r\n\r\n" + held[:length])
            held = held[length:]
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if not answer:
                await stream.aclose()
                return
            await stream.send_all(answer)
            if b"Connection: close" in answer:
                await stream.aclose()
                return

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def http(*answers: bytes) -> AsyncIterator[HttpServer]:
    server = HttpServer(*answers)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def websocket(attend: Callable[[WebSocketRequest], Any]) -> AsyncIterator[str]:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(trio_websocket.serve_websocket, attend, "127.0.0.1", 0, None)
        yield f"ws://127.0.0.1:{server.port}"
        nursery.cancel_scope.cancel()


async def echo(given: WebSocketRequest) -> None:
    """Answers every call with as many letters as it wants."""
    socket: WebSocketConnection = await given.accept()
    while True:
        try:
            asked = json.loads(await socket.get_message())
        except trio_websocket.ConnectionClosed:
            return
        if asked["method"] == "end":
            await socket.aclose(1001)
            return
        result = "x" * asked["params"][0]
        await socket.send_message(json.dumps({"id": asked["id"], "result": result}))


async def ask(wire: Wire, *texts: str) -> list[bytes | str]:
    for text in texts:
        await wire.send(text)
    return [await wire.receive() for _ in texts]


async def test_calls_over_a_websocket() -> None:
    async with websocket(echo) as url, dial(url) as wire:
        assert wire.pushes
        link = Link(wire, Inline(), lambda push: None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            assert await link.call("a", 3_000_000) == "x" * 3_000_000
            with pytest.raises(LinkLost, match="closed the connection"):
                await link.call("end", 0)
            assert link.lost is not None


async def test_a_websocket_that_cannot_be_had() -> None:
    async def reject(given: WebSocketRequest) -> None:
        await given.reject(403)

    async with websocket(reject) as url:
        with pytest.raises(LinkLost, match="HTTP status 403"):
            async with dial(url):
                raise AssertionError("there was one")
    # Nobody listens there any more.
    with pytest.raises(LinkLost, match=r"^connection refused$"):
        async with dial(url):
            raise AssertionError("there was one")


async def test_name_and_password_go_where_they_belong() -> None:
    seen: list[tuple[str, dict[bytes, bytes]]] = []

    async def note(given: WebSocketRequest) -> None:
        seen.append((given.path, {name.lower(): value for name, value in given.headers}))
        await given.reject(401)

    async with websocket(note) as url:
        with pytest.raises(LinkLost) as caught:
            async with dial(url.replace("//", "//alice:s%40same@") + "/v3/key?x=y"):
                raise AssertionError("there was one")
    assert "same" not in str(caught.value)
    assert seen[0][0] == "/v3/key?x=y"
    assert seen[0][1][b"authorization"] == b"Basic YWxpY2U6c0BzYW1l"
    async with http(ok(ANSWER)) as server:
        async with dial(server.url.replace("//", "//alice:s%40same@") + "/v3/key?x=y") as wire:
            await ask(wire, request(1, "a", ()))
        assert server.requests[0].startswith(b"POST /v3/key?x=y HTTP/1.1\r\n")
        assert b"Basic YWxpY2U6c0BzYW1l" in server.requests[0]


async def test_calls_over_http_keep_their_connection() -> None:
    async with http(ok(ANSWER)) as server, dial(server.url) as wire:
        assert not wire.pushes
        for _ in range(3):
            assert await ask(wire, request(1, "a", ())) == [ANSWER]
        assert server.connections == 1
        assert json.loads(server.requests[0].partition(b"\r\n\r\n")[2])["method"] == "a"


async def test_a_few_go_side_by_side() -> None:
    async with http(ok(ANSWER)) as server, dial(server.url) as wire:
        texts = [request(number, "a", ()) for number in range(20)]
        assert await ask(wire, *texts) == [ANSWER] * 20
        assert 1 <= server.connections <= 4


async def test_a_connection_that_was_closed_meanwhile_is_made_anew() -> None:
    async with (
        http(ok(ANSWER, extra="Connection: close\r\n"), ok(ANSWER)) as server,
        dial(server.url) as wire,
    ):
        assert await ask(wire, request(1, "a", ())) == [ANSWER]
        assert await ask(wire, request(1, "a", ())) == [ANSWER]
        assert server.connections == 2
    async with http(ok(ANSWER), b"", ok(ANSWER)) as server, dial(server.url) as wire:
        assert await ask(wire, request(1, "a", ())) == [ANSWER]
        assert await ask(wire, request(1, "a", ())) == [ANSWER]
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ok(b"slow down", status="429 Too Many Requests"), "HTTP status 429"),
        (ok(b"<html>", status="502 Bad Gateway"), "HTTP status 502"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{", "does not speak HTTP"),
        (f"HTTP/1.1 200 OK\r\nContent-Length: {MOST + 1}\r\n\r\n".encode(), "bytes"),
    ],
)
async def test_what_is_no_answer_ends_the_connection(answer: bytes, why: str) -> None:
    async with http(answer) as server, dial(server.url) as wire:
        with pytest.raises(LinkLost, match=why):
            await ask(wire, request(1, "a", ()))


async def test_an_error_of_the_call_is_its_answer_whatever_the_status() -> None:
    error = b'{"id":1,"error":{"code":3,"message":"no"}}'
    async with http(ok(error, status="400 Bad Request")) as server, dial(server.url) as wire:
        assert await ask(wire, request(1, "a", ())) == [error]


async def test_whoever_is_cancelled_closes_all_connections() -> None:
    async with http(ok(ANSWER)) as server:
        with trio.CancelScope() as scope:
            async with dial(server.url) as wire:
                assert isinstance(wire, _Http)
                await ask(wire, *[request(1, "a", ())] * 20)
                kept = list(wire._idle)
                scope.cancel()
                await trio.sleep_forever()
        assert len(kept) > 1
        for connection in kept:
            assert isinstance(connection.stream, trio.SocketStream)
            assert connection.stream.socket.fileno() == -1


async def test_http_that_cannot_be_had() -> None:
    async with http(ok(ANSWER)) as server:
        pass
    with pytest.raises(LinkLost, match=r"^connection refused$"):
        async with dial(server.url):
            raise AssertionError("there was one")


async def test_tls_that_is_none_is_told_as_such() -> None:
    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"SSH-2.0-OpenSSH\r\n")
        await stream.receive_some()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, greet, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(LinkLost, match="SSL"):
            async with dial(f"wss://127.0.0.1:{port}"):
                raise AssertionError("there was one")
        nursery.cancel_scope.cancel()


def refused(address: str, number: int = errno.ECONNREFUSED) -> OSError:
    """As trio tells of one address."""
    return OSError(number, f"Error connecting to ('{address}', 1): {os.strerror(number)}")


@pytest.mark.parametrize(
    ("causes", "why"),
    [
        ([refused("10.0.0.1")], "connection refused"),
        ([refused("::1"), refused("127.0.0.1")], "connection refused"),
        (
            [refused("::1", errno.ENETUNREACH), refused("127.0.0.1")],
            "network is unreachable; connection refused",
        ),
        ([OSError("something")], "OSError"),
    ],
)
def test_the_reasons_of_all_attempts_are_told_each_once(causes: list[OSError], why: str) -> None:
    whole = OSError("all attempts to connect to sesame:1 failed")
    whole.__cause__ = causes[0] if len(causes) == 1 else ExceptionGroup("multiple", causes)
    assert _why(whole) == why


def test_a_name_that_nobody_knows_is_told_in_words() -> None:
    assert (
        _why(socket.gaierror(socket.EAI_NONAME, "Name or service not known")) == "name or service not known"
    )


@pytest.mark.embedded_chain
async def test_the_same_chain_over_both(tmp_path: Path, request_of_alice: Any) -> None:
    from attrs import evolve

    async with open_devnet() as devnet:
        for number, url in enumerate((devnet.url, devnet.http_url)):
            config = MarketConfig(
                providers=("ws://127.0.0.1:1", url),
                private_key_file=key_file(tmp_path, devnet.accounts[1].key[2:]),
                marketplace_address=devnet.marketplace,
            )
            async with open_chain(dial, config, clock=SystemClock()) as opened:
                assert isinstance(opened.chain.state, Connected)
                market = opened.marketplace
                asked = evolve(request_of_alice, client=opened.chain.account, nonce=bytes([number]) * 32)
                events = await market.events(devnet.chain.latest.number + 1)
                with trio.fail_after(20):
                    await market.request_storage(asked)
                    told: list[object] = []
                    while not told:
                        item = await events.__anext__()
                        assert isinstance(item, Told)
                        told += [event for event, _ in item.events]
                (event,) = told
                assert isinstance(event, StorageRequested)
                assert event.request == asked.id
