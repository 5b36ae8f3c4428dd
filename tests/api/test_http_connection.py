"""Connections: kept while both want it, closed when one does not, and never kept waiting by the other end."""

import resource
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.api import server
from codex.api.access import Access
from codex.api.connection import HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_FIELDS, MAX_HEAD, Connection
from codex.api.server import MAX_PER_PEER
from codex.api.wire import STALL
from codex.config import ApiConfig
from codex.testing.content import noise
from codex.testing.http import Client, Link, NoReply, chunk
from codex.testing.nodes import ServedNode, open_served_node
from codex.testing.parts import Parted

CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
BASE = "/api/codex/v1"
POST = f"POST {BASE}/data HTTP/1.1\r\nHost: a\r\n".encode()
POST_CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def patient(client: Client) -> Client:
    """A client for waits on virtual time."""
    return Client(client.host, client.port, client.base, patience=10_000.0)


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """Virtual time that leaves the loopback interface a moment to deliver before it jumps."""
    autojump_clock.autojump_threshold = 0.05
    return autojump_clock


async def closed(link: Link) -> bool:
    """Whether the server closes without another byte."""
    return await link.rest() == b""


# -- kept


async def test_one_connection_carries_calls_of_every_kind(client: Client) -> None:
    body = noise(3_000_000)
    async with client.link() as link:
        stored = await link.ask("POST", f"{BASE}/data", body=body)
        listed = await link.ask("GET", f"{BASE}/data")
        first = await link.ask("GET", f"{BASE}/data/{stored.text}")
        absent = await link.ask("GET", f"{BASE}/nothing")
        looked = await link.ask("HEAD", f"{BASE}/data/{stored.text}")
        told = await link.ask("GET", f"{BASE}/data/{stored.text}/exists")
        streamed = await link.ask("GET", f"{BASE}/data/{stored.text}/network/stream")
        await link.send(
            f"POST {BASE}/data HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        await link.send(chunk(CONTENT[:5]) + chunk(CONTENT[5:]) + chunk(b""))
        second = await link.reply("POST")
        deleted = await link.ask("DELETE", f"{BASE}/data/{stored.text}")
        gone = await link.ask("GET", f"{BASE}/data/{stored.text}")
        space = await link.ask("GET", f"{BASE}/space")
    assert [item["cid"] for item in listed.json()["content"]] == [stored.text]
    assert first.body == streamed.body == body
    assert (absent.status, looked.status, looked.body) == (404, 200, b"")
    assert told.json() == {stored.text: True}
    assert second.text == CID
    assert (deleted.status, gone.status) == (204, 404)
    assert space.json()["quotaUsedBytes"] == 65_536 + 56


async def test_requests_sent_ahead_are_answered_in_turn(client: Client) -> None:
    asked = ["peerid", "space", "data", "spr", "nothing", "space"]
    async with client.link() as link:
        await link.send(b"".join(f"GET {BASE}/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in asked))
        replies = [await link.reply() for _ in asked]
    assert [reply.status for reply in replies] == [200, 200, 200, 200, 404, 200]
    assert "id" in replies[0].json()
    assert "content" in replies[2].json()
    assert "spr" in replies[3].json()


async def test_downloads_sent_for_ahead_are_answered_in_turn(client: Client) -> None:
    await client.post("/data", CONTENT)
    async with client.link() as link:
        for path in (f"data/{CID}", "space", f"data/{CID}/network/stream", f"data/{CID}"):
            await link.send(f"GET {BASE}/{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        bodies = [(await link.reply()).body for _ in range(4)]
    assert bodies[0] == bodies[2] == bodies[3] == CONTENT
    assert b"quotaUsedBytes" in bodies[1]


async def test_calls_sent_behind_an_upload_are_no_part_of_it(client: Client) -> None:
    get = f"GET {BASE}/space HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    counted = POST + b"Content-Length: 18\r\n\r\n" + CONTENT
    chunked = POST_CHUNKED + chunk(CONTENT) + chunk(b"")
    async with client.link() as link:
        await link.send(counted + get + chunked + get + counted)
        for method in ("POST", "GET", "POST", "GET", "POST"):
            reply = await link.reply(method)
            if method == "POST":
                assert reply.text == CID
            else:
                assert reply.json()["totalBlocks"] == 2


# -- closed because one side wants it


@pytest.mark.parametrize("path", ["/space", "/nothing", f"/data/{CID}", "/data/zDv", "/data"])
@pytest.mark.parametrize("close", ["close", "Close", "keep-alive, close"])
async def test_a_connection_is_closed_on_request(client: Client, path: str, close: str) -> None:
    await client.post("/data", CONTENT)
    async with client.link() as link:
        reply = await link.ask("GET", BASE + path, headers=[("Connection", close)])
        assert reply.header("connection") == "close"
        assert await closed(link)


async def test_an_upload_that_wants_to_close_is_stored_and_closed(client: Client) -> None:
    async with client.link() as link:
        reply = await link.ask("POST", f"{BASE}/data", headers=[("Connection", "close")], body=CONTENT)
        assert reply.text == CID
        assert reply.header("connection") == "close"
        assert await closed(link)


@pytest.mark.parametrize("path", ["/space", "/nothing", f"/data/{CID}"])
async def test_the_older_protocol_gets_one_reply(client: Client, path: str) -> None:
    await client.post("/data", CONTENT)
    async with client.link() as link:
        await link.send(f"GET {BASE}{path} HTTP/1.0\r\n\r\n".encode())
        reply = await link.reply()
        assert reply.status == (404 if path == "/nothing" else 200)
        assert reply.complete
        assert await closed(link)


async def test_the_older_protocol_can_upload(client: Client) -> None:
    async with client.link() as link:
        await link.send(f"POST {BASE}/data HTTP/1.0\r\nContent-Length: 18\r\n\r\n".encode() + CONTENT)
        assert (await link.reply("POST")).text == CID
        assert await closed(link)


async def test_a_peer_that_ends_its_side_still_gets_its_download(client: Client) -> None:
    await client.post("/data", CONTENT)
    async with client.link() as link:
        await link.send(f"GET {BASE}/data/{CID} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await link.stream.send_eof()
        assert (await link.reply()).body == CONTENT
        assert await closed(link)


async def test_a_connection_that_says_nothing_is_let_go(client: Client) -> None:
    async with client.link() as link:
        await link.stream.send_eof()
        assert await closed(link)


# -- closed because it is no HTTP


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: nameless\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET  /two spaces HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 1_8\r\n\r\n",
        b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
        b"\x00" * 64,
        b"\r\n" * 8 + b"GET",
    ],
)
async def test_garbage_is_answered_with_400(client: Client, garbage: bytes) -> None:
    async with client.link() as link:
        await link.send(garbage)
        await link.stream.send_eof()
        reply = await link.reply()
        assert (reply.status, reply.complete) == (400, True)
        assert "HTTP/1.1 is spoken here" in reply.text
        assert (reply.header("content-type") or "").startswith("text/plain")
        assert await closed(link)
    assert (await client.get("/space")).status == 200


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\ncontent-length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding:",
    ],
)
@pytest.mark.parametrize("call", [f"POST {BASE}/data", f"GET {BASE}/space", f"POST {BASE}/backup"])
@pytest.mark.parametrize("second", [False, True])
async def test_a_length_that_is_told_twice_or_oddly_is_refused(
    client: Client, call: str, framing: str, second: bool
) -> None:
    async with client.link() as link:
        if second:
            assert (await link.ask("GET", f"{BASE}/space")).status == 200
        await link.send(
            f"{call} HTTP/1.1\r\nHost: a\r\nX: content-length: 1\r\n{framing}\r\n\r\nabc".encode()
        )
        reply = await link.reply("POST")
        assert reply.status == 400
        assert "is none that this node understands" in reply.text
        assert await closed(link)


async def test_a_length_in_a_body_is_no_header(client: Client) -> None:
    body = b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"
    async with client.link() as link:
        await link.send((POST + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 2)
        for _ in range(2):
            assert (await link.reply("POST")).status == 200


async def test_http_2_is_not_spoken(client: Client) -> None:
    async with client.link() as link:
        await link.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        replies = await link.rest()
        assert replies.startswith(b"HTTP/1.1 4")
        assert b"HTTP/1.1 2" not in replies
    async with client.link() as link:
        headers = [
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABk"),
        ]
        assert (await link.ask("GET", f"{BASE}/space", headers=headers)).status == 200


async def test_a_websocket_finds_nobody(client: Client) -> None:
    async with client.link() as link:
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        reply = await link.ask("GET", f"{BASE}/space", headers=headers)
        assert 400 <= reply.status < 500
        assert await closed(link)
    assert (await client.get("/space")).status == 200


# -- limits


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_head_may_be_as_long_as_the_networks(client: Client, method: str) -> None:
    start = f"{method} {BASE}/nothing HTTP/1.1\r\nHost: a\r\nX: "
    async with client.link() as link:
        await link.send(start.encode() + b"x" * (MAX_HEAD - len(start) - 200) + b"\r\n\r\n")
        assert (await link.reply(method)).status == 404


@pytest.mark.parametrize("target", ["/space", "/data"])
async def test_a_longer_head_is_refused(client: Client, target: str) -> None:
    async with client.link() as link:
        await link.send(
            f"GET {BASE}{target} HTTP/1.1\r\nHost: a\r\nX: ".encode() + b"x" * MAX_HEAD + b"\r\n\r\n"
        )
        reply = await link.reply()
        assert reply.status == 431
        assert reply.text == "The head of a request has at most 8192 bytes, and 100 headers."
        assert await closed(link)


async def test_a_refusal_of_a_head_call_has_no_body(client: Client) -> None:
    async with client.link() as link:
        await link.send(
            f"HEAD {BASE}/space HTTP/1.1\r\nHost: a\r\nX: ".encode() + b"x" * MAX_HEAD + b"\r\n\r\n"
        )
        head, end, body = (await link.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert (end, body) == (b"\r\n\r\n", b"")


async def test_a_head_without_an_end_is_refused(client: Client) -> None:
    async with client.link() as link:
        await link.send(b"GET /" + b"x" * (2 * MAX_HEAD))
        assert (await link.reply()).status == 431
        assert await closed(link)


async def test_a_head_that_stops_half_way_is_given_up(patient: Client, clock: MockClock) -> None:
    async with patient.link() as link:
        begun = trio.current_time()
        await link.send(b"GET /api/codex/v1/space HTTP/1.1\r\nHo")
        reply = await link.reply()
        assert (reply.status, reply.text) == (
            408,
            "The head of the request was not complete within 10 seconds.",
        )
        assert await closed(link)
        assert trio.current_time() - begun == pytest.approx(HEAD_TIMEOUT, abs=1)


async def test_a_head_that_drips_is_given_up_in_the_same_time(patient: Client, clock: MockClock) -> None:
    async def drip(link: Link) -> None:
        for byte in b"GET /api/codex/v1/space HTTP/1.1\r\n":
            await link.send(bytes([byte]))
            await trio.sleep(1)

    async with patient.link() as link, trio.open_nursery() as nursery:
        begun = trio.current_time()
        nursery.start_soon(drip, link)
        assert (await link.reply()).status == 408
        assert trio.current_time() - begun == pytest.approx(HEAD_TIMEOUT, abs=1)
        nursery.cancel_scope.cancel()


async def test_a_second_head_has_the_same_time(patient: Client, clock: MockClock) -> None:
    async with patient.link() as link:
        assert (await link.ask("GET", f"{BASE}/space")).status == 200
        await trio.sleep(HEAD_TIMEOUT + 1)
        begun = trio.current_time()
        await link.send(b"GET /api/codex/v1/space HTTP/1.1\r\n")
        assert (await link.reply()).status == 408
        assert trio.current_time() - begun == pytest.approx(HEAD_TIMEOUT, abs=1)


async def test_a_connection_nobody_uses_is_closed_in_silence(patient: Client, clock: MockClock) -> None:
    async with patient.link() as link:
        begun = trio.current_time()
        with pytest.raises(NoReply):
            await link.reply()
        assert trio.current_time() - begun == pytest.approx(IDLE_TIMEOUT, abs=1)


async def test_a_kept_connection_nobody_uses_is_closed_in_silence(patient: Client, clock: MockClock) -> None:
    await patient.post("/data", CONTENT)
    for path in ("/space", f"/data/{CID}"):
        async with patient.link() as link:
            assert (await link.ask("GET", BASE + path)).status == 200
            begun = trio.current_time()
            assert await closed(link)
            assert trio.current_time() - begun == pytest.approx(IDLE_TIMEOUT, abs=1)


@pytest.mark.parametrize("path", ["/space", f"/data/{CID}"])
async def test_a_peer_that_takes_nothing_is_cut_off(served: ServedNode, path: str, clock: MockClock) -> None:
    await served.client.post("/data", CONTENT)
    near, far = trio.testing.lockstep_stream_pair()  # a send ends when the other side takes the bytes
    api = server.Server(served.node, ApiConfig(), Access(None))
    connection = Connection(
        Parted(near),
        client=None,
        server=None,
        app=api._application,
        config=api._hypercorn,
        context=api._context,
        is_bulk=api._bulk.matches,
        serve_bulk=api._bulk.serve,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        begun = trio.current_time()
        await far.send_all(f"GET {BASE}{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert trio.current_time() - begun == pytest.approx(STALL, abs=1)


@pytest.mark.parametrize("limit", ["MAX_CONNECTIONS", "MAX_PER_PEER"])
async def test_more_connections_than_may_be_are_turned_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(server, limit, 2)
    async with open_served_node(tmp_path) as served:
        async with served.client.link() as first, served.client.link() as second:
            for link in (first, second):
                assert (await link.ask("GET", f"{BASE}/space")).status == 200
            async with served.client.link() as third:
                assert (await third.reply()).status == 503
                assert await closed(third)
            assert (await first.ask("GET", f"{BASE}/space")).status == 200
        async with served.client.link() as link:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await served.client.get("/space")).status == 200


@pytest.mark.parametrize(("count", "status"), [(MAX_FIELDS - 1, 200), (MAX_FIELDS, 431)])
@pytest.mark.parametrize("path", ["/space", f"/data/{CID}"])
async def test_a_head_may_have_so_many_headers(client: Client, path: str, count: int, status: int) -> None:
    await client.post("/data", CONTENT)
    reply = await client.get(path, headers=[("X", "y")] * count)  # and Host
    assert reply.status == status


async def test_a_thousand_calls_at_once_are_all_answered(served: ServedNode) -> None:
    # This process holds both ends of each connection.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    statuses: list[int] = []
    ready, count = trio.Event(), 0

    async def call() -> None:
        nonlocal count
        async with served.client.link() as link:
            count += 1
            if count == MAX_PER_PEER:
                ready.set()
            await ready.wait()
            statuses.append((await link.ask("GET", f"{BASE}/space")).status)

    try:
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_PER_PEER):
                nursery.start_soon(call)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert statuses == [200] * 1000


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "room"),
    [
        (1_000_000, 1_000_000, None, 1024),
        (1024, 1_000_000, 1280, 1024),
        (1024, 1024, 1024, 768),
        (256, 512, 512, 256),
        (100, 100, 100, 1),
        (1024, resource.RLIM_INFINITY, 1280, 1024),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1024),
    ],
)
def test_connections_leave_files_to_the_rest_of_the_node(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None, room: int
) -> None:
    limits = [soft, hard]
    monkeypatch.setattr(server.resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(server.resource, "setrlimit", lambda _, wanted: limits.__setitem__(0, wanted[0]))
    assert server.connection_room() == room
    assert limits == [soft if raised is None else raised, hard]
