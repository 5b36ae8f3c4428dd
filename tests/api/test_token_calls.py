"""A node with a token, over the wire: nothing is done for who does not bear it, and nothing is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from codex import logs
from codex.api import Address, start_api
from codex.config import ApiConfig, LogConfig
from codex.errors import ConfigError
from codex.testing.http import Client
from codex.testing.nodes import BASE, ServedNode, holdings, open_test_node

TOKEN = "a-token-of-alice-1234"
BEARER = [("Authorization", f"Bearer {TOKEN}")]
CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
ORIGIN = ("Origin", "https://alice.example")


def token_file(directory: Path, mode: int = 0o600) -> Path:
    """A file with the token."""
    path = directory / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(mode)
    return path


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[ServedNode]:
    """A node that asks for the token, and lets pages of one origin in."""
    config = ApiConfig(port=0, cors_origin=ORIGIN[1], token_file=token_file(tmp_path))
    async with open_test_node(tmp_path / "alice") as node:
        send, receive = trio.open_memory_channel[Address](1)
        await start_api(node, config, send.send_nowait)
        address = receive.receive_nowait()
        yield ServedNode(node, address, Client(address.host, address.port, BASE))


CALLS = [
    ("POST", "/data", 200),
    ("GET", f"/data/{CID}", 200),
    ("HEAD", f"/data/{CID}", 200),
    ("GET", f"/data/{CID}/network/stream", 200),
    ("DELETE", f"/data/{CID}", 204),
    ("GET", "/data", 200),
    ("GET", "/space", 200),
    ("GET", "/jobs", 200),
    ("PUT", f"/data/{CID}/pin", 204),
    ("POST", "/scrub", 202),
    ("GET", "/debug/info", 200),
    ("GET", "/sales/slots", 503),
    ("GET", "/nothing", 404),
    ("PUT", "/space", 404),
    ("GET", "/health/x", 404),
]


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in CALLS])
@pytest.mark.parametrize(
    "headers",
    [[], [("Authorization", "Bearer wrong-token-12345")], BEARER + BEARER, [("Authorization", "\xff")]],
)
async def test_without_the_token_nothing_is_done(
    guarded: ServedNode, method: str, path: str, headers: list[tuple[str, str]]
) -> None:
    await guarded.node.store(CONTENT)
    before = await holdings(guarded.node)
    body = CONTENT if method == "POST" else b""
    reply = await guarded.client.ask(method, path, headers=headers, body=body)
    assert reply.status == 401
    assert reply.header("www-authenticate") == 'Bearer realm="codex"'
    assert reply.text == ("" if method == "HEAD" else "A valid token is required")
    assert await holdings(guarded.node) == before
    assert len(guarded.node.jobs.list()) == 1


@pytest.mark.parametrize(("method", "path", "status"), CALLS)
async def test_with_the_token_all_is_as_without_one(
    guarded: ServedNode, method: str, path: str, status: int
) -> None:
    await guarded.node.store(CONTENT)
    body = CONTENT if method == "POST" else b""
    reply = await guarded.client.ask(method, path, headers=BEARER, body=body)
    assert reply.status == status


async def test_how_the_node_is_is_told_to_anybody(guarded: ServedNode) -> None:
    for path in ("/health", "/ready"):
        assert (await guarded.client.get(path)).status == 200
        assert (await guarded.client.ask("HEAD", path)).status == 200
        assert (await guarded.client.ask("DELETE", path)).status == 404


@pytest.mark.parametrize("path", ["/space", f"/data/{CID}", "/nothing"])
async def test_a_page_can_read_that_it_may_not(guarded: ServedNode, path: str) -> None:
    reply = await guarded.client.get(path, headers=[ORIGIN])
    assert reply.status == 401
    assert reply.header("access-control-allow-origin") == ORIGIN[1]


@pytest.mark.parametrize("path", ["/data", f"/data/{CID}", "/space", "/jobs/1"])
async def test_a_page_may_ask_before_it_bears_the_token(guarded: ServedNode, path: str) -> None:
    reply = await guarded.client.ask("OPTIONS", path, headers=[ORIGIN])
    assert reply.status in (200, 204)
    assert "authorization" in (reply.header("access-control-allow-headers") or "")


async def test_a_refused_upload_is_not_read(guarded: ServedNode) -> None:
    async with guarded.client.link() as link:
        await link.send(f"POST {BASE}/data HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n".encode())
        await link.send(b"Expect: 100-continue\r\n\r\n")
        reply = await link.reply("POST")
        assert (reply.status, reply.informational) == (401, ())


async def test_a_connection_lives_on_after_a_refusal(guarded: ServedNode) -> None:
    async with guarded.client.link() as link:
        for path in ("/space", f"/data/{CID}"):
            assert (await link.ask("GET", BASE + path)).status == 401
        assert (await link.ask("GET", f"{BASE}/space", headers=BEARER)).status == 200


async def test_a_token_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    open_to_all = token_file(tmp_path, 0o644)
    async with open_test_node(tmp_path / "alice") as node:
        for file in (open_to_all, tmp_path / "nothing", tmp_path):
            with pytest.raises(ConfigError, match="token file"):
                await start_api(node, ApiConfig(port=0, token_file=file), lambda address: None)


# -- WebSockets

UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", [], 401),
        ("?token=wrong-token-12345", [], 401),
        ("?token=" + TOKEN, [("Authorization", "Bearer wrong-token-12345")], 401),
        ("", [*BEARER, ("Origin", "https://mallory.example")], 403),
        ("?token=" + TOKEN, [("Origin", "https://mallory.example")], 403),
        # Let in, and there is nobody.
        ("", BEARER, 404),
        ("", [*BEARER, ORIGIN], 404),
        ("?token=" + TOKEN, [ORIGIN], 404),
    ],
)
async def test_a_websocket_is_for_who_bears_the_token(
    guarded: ServedNode, query: str, headers: list[tuple[str, str]], status: int
) -> None:
    reply = await guarded.client.get("/nothing" + query, headers=[*UPGRADE, *headers])
    assert reply.status == status
    assert (await guarded.client.get("/health")).status == 200


# -- the warning


async def warnings_of(tmp_path: Path, config: ApiConfig) -> str:
    """What a node logs as warnings when it is served so."""
    log = tmp_path / "log"
    with logs.configured(LogConfig(format="none", level="warn", file=log)):
        async with open_test_node(tmp_path / "alice") as node:
            await start_api(node, config, lambda address: None)
    return await trio.Path(log).read_text() if log.exists() else ""


async def test_an_open_door_is_warned_of(tmp_path: Path) -> None:
    said = await warnings_of(tmp_path, ApiConfig(bind="0.0.0.0", port=0))
    assert "EVERYBODY" in said
    assert "--api-token-file" in said


@pytest.mark.parametrize("bind", ["127.0.0.1", "localhost"])
async def test_this_machine_alone_is_not(tmp_path: Path, bind: str) -> None:
    assert await warnings_of(tmp_path, ApiConfig(bind=bind, port=0)) == ""


async def test_a_guarded_door_is_not(tmp_path: Path) -> None:
    config = ApiConfig(bind="0.0.0.0", port=0, token_file=token_file(tmp_path))
    assert await warnings_of(tmp_path, config) == ""
