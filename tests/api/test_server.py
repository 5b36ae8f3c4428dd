"""Listening, crashing and coming back: what the API does besides answering."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex import logs
from codex.api import Address, start_api
from codex.api.server import Server, listen
from codex.config import ApiConfig, LogConfig
from codex.errors import ConfigError, PortTaken, ServiceUnavailable
from codex.node import Node, Retrieval
from codex.runtime.lifecycle import State
from codex.store import reads
from codex.testing.http import Client
from codex.testing.nodes import BASE, ServedNode, open_test_node, serve

CONTENT = b"some file contents"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node whose API is not served yet."""
    async with open_test_node(tmp_path / "alice") as node:
        yield node


async def test_a_free_port_is_found_and_told() -> None:
    listeners, address = await listen(ApiConfig(port=0))
    try:
        assert address.host == "127.0.0.1"
        assert address.port == listeners[0].socket.getsockname()[1]
        assert address.url == f"http://127.0.0.1:{address.port}"
    finally:
        for listener in listeners:
            await listener.aclose()


def test_an_address_of_the_new_kind_has_brackets() -> None:
    assert Address("::1", 8080).url == "http://[::1]:8080"


async def test_a_port_that_was_asked_for_is_not_exchanged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is in use") as caught:
            await listen(ApiConfig(port=port, port_explicit=True))
        assert "--api-port" in caught.value.remedy


async def test_a_default_port_that_is_taken_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listeners, address = await listen(ApiConfig(port=port))
        for listener in listeners:
            await listener.aclose()
    assert address.port != port


@pytest.mark.parametrize("bind", ["192.0.2.1", "not an address", "127.0.0.1.1.1"])
async def test_an_address_that_is_not_here_is_refused(bind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await listen(ApiConfig(bind=bind, port=0))
    assert bind in str(caught.value)
    assert caught.value.remedy


async def test_a_first_start_that_fails_is_the_callers(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = ApiConfig(port=taken.getsockname()[1], port_explicit=True)
        with pytest.raises(PortTaken):
            await start_api(node, config, lambda address: None)
    assert (await (await serve(node)).client.get("/space")).status == 200


async def test_an_api_that_crashes_comes_back_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.02
    real = Server.serve
    lives = []
    crash = trio.Event()

    async def crashing(
        self: Server, listeners: list[trio.SocketListener], stopping: trio.Event, grace: float
    ) -> None:
        lives.append(self)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(real, self, listeners, stopping, grace)
            if len(lives) == 1:
                await crash.wait()
                raise ZeroDivisionError("a bug in the API")

    monkeypatch.setattr(Server, "serve", crashing)
    async with open_test_node(tmp_path) as node:
        send, receive = trio.open_memory_channel[Address](10)
        await start_api(node, ApiConfig(port=0), send.send_nowait)
        first = await receive.receive()
        cid = await node.store(CONTENT)
        crash.set()
        second = await receive.receive()
        assert first.host == second.host
        monkeypatch.undo()
        client = Client(second.host, second.port, BASE)
        assert (await client.get(f"/data/{cid}")).body == CONTENT
        states = {service.name: service for service in node.states()}
        assert states["api"].restarts == 1
        assert "a bug in the API" in states["api"].last_error
        assert states["store"].state is State.RUNNING


async def test_a_bug_in_a_json_call_is_a_bare_500(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def broken(self: Node) -> None:
        raise ZeroDivisionError("a bug in the node")

    monkeypatch.setattr(Node, "space", broken)
    log = tmp_path / "log"
    with logs.configured(LogConfig(format="none", file=log)):
        async with served.client.link() as link:
            reply = await link.ask("GET", "/api/codex/v1/space")
            assert (reply.status, reply.body) == (500, b"")
            assert (await link.ask("GET", "/api/codex/v1/peerid")).status == 200
    assert "a bug in the node" in await trio.Path(log).read_text()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_bug_in_a_transfer_is_a_bare_500(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: str
) -> None:
    def broken(self: Node, *args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("a bug in the node")

    cid = await served.node.store(CONTENT)
    monkeypatch.setattr(Node, "retrieve" if method == "GET" else "store", broken)
    log = tmp_path / "log"
    target = f"/data/{cid}" if method == "GET" else "/data"
    with logs.configured(LogConfig(format="none", file=log)):
        reply = await served.client.ask(method, target, body=b"x" if method == "POST" else b"")
        assert (reply.status, reply.body) == (500, b"")
    assert "a bug in the node" in await trio.Path(log).read_text()
    monkeypatch.undo()
    assert (await served.client.get(f"/data/{cid}")).body == CONTENT


async def test_a_bug_late_in_a_download_cuts_it(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Retrieval) -> list[memoryview]:
        raise ZeroDivisionError("a bug in the node")

    # Shorter runs than what is sent: the first piece is not all of it.
    monkeypatch.setattr(reads, "RUN_BYTES", 1 << 16)
    cid = await served.node.store(bytes(range(250)) * 4_000)
    monkeypatch.setattr(Retrieval, "some", broken)
    async with served.client.link() as link:
        reply = await link.ask("GET", f"/api/codex/v1/data/{cid}")
        assert (reply.status, reply.complete) == (200, False)
        assert await link.rest() == b""
    monkeypatch.undo()
    assert (await served.client.get(f"/data/{cid}")).body == bytes(range(250)) * 4_000


async def test_a_store_that_is_gone_is_unavailable(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(self: Node, *args: object, **kwargs: object) -> None:
        raise ServiceUnavailable("the store service crashed over GetSpace", remedy="try again in a moment")

    monkeypatch.setattr(Node, "space", gone)
    monkeypatch.setattr(Node, "store", gone)
    for reply in (await served.client.get("/space"), await served.client.post("/data", CONTENT)):
        assert reply.status == 503
        assert reply.text.startswith("the store service crashed")
        assert (reply.header("content-type") or "").startswith("text/plain")


async def test_every_way_to_leave_ends_the_listening(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        served = await serve(node)
        assert (await served.client.get("/space")).status == 200
    with pytest.raises(OSError, match="all attempts"):
        async with served.client.link():
            raise AssertionError("somebody still listens")
