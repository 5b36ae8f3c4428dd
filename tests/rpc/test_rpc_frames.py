"""WebSockets on the wire: handshakes, fragments, pings, goodbyes, and what breaks the protocol."""

import io
import json
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import wsproto
from trio.testing import MockClock
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from codex import logs
from codex.api.rpc import frames
from codex.api.rpc.limits import FAREWELL, MAX_MESSAGE, PING, STALL
from codex.config import LogConfig
from codex.testing.content import noise
from codex.testing.http import Client, Link, head
from codex.testing.nodes import ServedNode

PATH = "/api/codex/v1/ws"
SPACE = '{"jsonrpc":"2.0","id":1,"method":"space"}'
KEY = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
UPGRADE = [("Upgrade", "websocket"), ("Connection", "Upgrade"), KEY, ("Sec-WebSocket-Version", "13")]
TEXT, BINARY, CLOSE, PING_FRAME, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
MASK = b"\x01\x02\x03\x04"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """A frame as a client sends it, or as none should."""
    size = len(payload)
    first = bytes([(fin << 7) | (rsv << 4) | opcode])
    if size < 126:
        length = bytes([(masked << 7) | size])
    elif size < 65_536:
        length = bytes([(masked << 7) | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([(masked << 7) | 127]) + size.to_bytes(8, "big")
    if not masked:
        return first + length + payload
    return first + length + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))


class Raw:
    """A WebSocket whose frames are made by hand, and whose events are shown as they come."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self._events: list[Event] = []
        self.ended = False

    async def open(self, *extensions: Any) -> Event:
        request = Request(host="alice", target=PATH, extensions=list(extensions))
        await self.link.send(self._protocol.send(request))
        return await self.event()

    async def send(self, *frames: bytes) -> None:
        await self.link.send(b"".join(frames))

    async def event(self) -> Event:
        """The next event. Raises EOFError when the node has closed without one."""
        while not self._events:
            if self.ended:
                raise EOFError
            with trio.fail_after(2 * STALL):
                data = await self.link.stream.receive_some(65_536)
            self.ended = not data
            if data:
                self._protocol.receive_data(data)
                self._events += self._protocol.events()
        return self._events.pop(0)

    async def reply(self) -> Any:
        """The next text message, as JSON; pings are put aside."""
        text = ""
        while True:
            event = await self.event()
            if isinstance(event, Ping):
                continue
            assert isinstance(event, TextMessage), event
            text += event.data
            if event.message_finished:
                return json.loads(text)

    async def farewell(self) -> tuple[int, str | None]:
        """How the node says goodbye; what comes before it is passed over."""
        while True:
            event = await self.event()
            if isinstance(event, CloseConnection):
                return int(event.code), event.reason

    async def silence(self) -> None:
        """Read pings until the node closes without a word."""
        with pytest.raises(EOFError):
            await self._only_pings()

    async def _only_pings(self) -> None:
        while True:
            event = await self.event()
            assert isinstance(event, Ping), event

    async def closed(self) -> bool:
        """Whether the node closes the connection, and says nothing more."""
        try:
            with trio.fail_after(30):
                return await self.link.stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True


@asynccontextmanager
async def opened(client: Client) -> AsyncIterator[Raw]:
    async with client.link() as link:
        raw = Raw(link)
        assert isinstance(await raw.open(), AcceptConnection)
        yield raw


@pytest.fixture
def client(served: ServedNode) -> Client:
    return served.client


# -- handshakes


async def test_a_connection_is_opened_used_and_closed(client: Client) -> None:
    async with opened(client) as raw:
        await raw.send(frame(TEXT, SPACE.encode()))
        assert (await raw.reply())["result"]["totalBlocks"] == 0
        await raw.send(frame(CLOSE, (1000).to_bytes(2, "big") + b"bye"))
        assert await raw.farewell() == (1000, "bye")
        assert await raw.closed()


async def test_nothing_is_compressed(client: Client) -> None:
    async with client.link() as link:
        accepted = await Raw(link).open(PerMessageDeflate())
        assert isinstance(accepted, AcceptConnection)
        assert accepted.extensions == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([one for one in UPGRADE if one is not KEY], 400),
        ([*UPGRADE[:3], ("Sec-WebSocket-Version", "8")], 426),
        ([one if one is not KEY else ("Sec-WebSocket-Key", "A") for one in UPGRADE], 400),
        (
            [one if one is not KEY else ("Sec-WebSocket-Key", "QUFBQUFBQUFBQUFBQUFBQQ") for one in UPGRADE],
            400,
        ),
        (
            [one if one is not KEY else ("Sec-WebSocket-Key", "QUFBQUFBQUFBQUFBQUFBQUE=") for one in UPGRADE],
            400,
        ),
        (UPGRADE[:3], 400),
        ([("Upgrade", "h2c, websocket"), *UPGRADE[1:]], 426),
        ([*UPGRADE, ("Upgrade", "h2c")], 400),
        ([*UPGRADE, ("Connection", "close")], 400),
        ([("Connection", "Upgrade")], 426),
        ([("Upgrade", "websocket")], 426),
        ([], 426),
    ],
)
async def test_what_is_no_handshake_is_refused(
    client: Client, headers: list[tuple[str, str]], status: int
) -> None:
    async with client.link() as link:
        reply = await link.ask("GET", PATH, headers=headers)
        assert reply.status == status


async def test_another_version_is_told_which_there_is(client: Client) -> None:
    async with client.link() as link:
        reply = await link.ask("GET", PATH, headers=[*UPGRADE[:3], ("Sec-WebSocket-Version", "8")])
        assert (reply.status, reply.header("sec-websocket-version")) == (426, "13")
        assert await link.rest() == b""


async def test_replies_have_a_reason_phrase(client: Client) -> None:
    for path, line in (("/space", b"HTTP/1.1 200 OK\r\n"), ("/nothing", b"HTTP/1.1 404 Not Found\r\n")):
        async with client.link() as link:
            await link.send(head("GET", f"/api/codex/v1{path}", "alice", []))
            with trio.fail_after(STALL):
                assert (await link.stream.receive_some(65_536)).startswith(line)


async def test_a_refused_handshake_ends_its_connection(client: Client) -> None:
    async with client.link() as link:
        assert (await link.ask("GET", PATH, headers=UPGRADE[:3])).status == 400
        assert await link.rest() == b""
    async with client.link() as link:
        reply = await link.ask("GET", "/api/codex/v1/nothing", headers=UPGRADE)
        assert reply.status == 404
        assert await link.rest() == b""


async def test_a_post_is_no_handshake(client: Client) -> None:
    async with client.link() as link:
        assert (await link.ask("POST", PATH, headers=UPGRADE)).status in (400, 404)


@pytest.mark.parametrize(
    "headers",
    [
        [("UPGRADE", "WebSocket"), ("connection", "keep-alive, upgrade"), *UPGRADE[2:]],
        [*UPGRADE, ("Upgrade", "websocket"), ("Connection", "upgrade")],
        [*UPGRADE, ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")],
        [*UPGRADE, ("Sec-WebSocket-Protocol", "something")],
    ],
)
async def test_words_are_taken_in_any_case_and_nothing_else_is_agreed_upon(
    client: Client, headers: list[tuple[str, str]]
) -> None:
    async with client.link() as link:
        await link.send(head("GET", PATH, "alice", headers))
        with trio.fail_after(STALL):
            reply = await link.stream.receive_some(65_536)
        assert reply.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in reply.lower()
        assert b"protocol" not in reply.lower()


async def test_who_does_not_wait_for_the_handshake_is_refused(client: Client) -> None:
    async with client.link() as link:
        await link.send(head("GET", PATH, "alice", UPGRADE) + frame(TEXT, b"x"))
        assert (await link.reply()).status == 400
        assert await link.rest() == b""


# -- messages


@pytest.mark.parametrize("cut", range(1, len(SPACE), 7))
async def test_a_message_may_come_in_fragments(client: Client, cut: int) -> None:
    data = SPACE.encode()
    async with opened(client) as raw:
        await raw.send(
            frame(TEXT, data[:cut], fin=False),
            frame(PING_FRAME, b"in between"),
            frame(0, b"", fin=False),
            frame(0, data[cut:]),
        )
        pong = await raw.event()
        assert isinstance(pong, Pong)
        assert pong.payload == b"in between"
        assert (await raw.reply())["result"]["totalBlocks"] == 0


async def test_a_message_may_come_byte_by_byte(client: Client) -> None:
    async with opened(client) as raw:
        for byte in frame(TEXT, SPACE.encode()):
            await raw.send(bytes([byte]))
        assert (await raw.reply())["id"] == 1


async def test_a_character_may_be_cut_in_two(client: Client) -> None:
    data = '{"jsonrpc":"2.0","id":"é","method":"space"}'.encode()
    cut = data.index(b"\xc3") + 1
    async with opened(client) as raw:
        await raw.send(frame(TEXT, data[:cut], fin=False), frame(0, data[cut:]))
        assert (await raw.reply())["id"] == "é"


async def test_many_messages_may_come_at_once(client: Client) -> None:
    async with opened(client) as raw:
        await raw.send(*(frame(TEXT, SPACE.replace("1,", f"{place},").encode()) for place in range(50)))
        assert {(await raw.reply())["id"] for _ in range(50)} == {*range(50)}


@pytest.mark.parametrize("payload", [b"", b"x", bytes(125)])
async def test_a_ping_is_answered(client: Client, payload: bytes) -> None:
    async with opened(client) as raw:
        await raw.send(frame(PING_FRAME, payload))
        pong = await raw.event()
        assert isinstance(pong, Pong)
        assert pong.payload == payload


async def test_a_pong_that_nobody_asked_for_is_no_matter(client: Client) -> None:
    async with opened(client) as raw:
        await raw.send(frame(PONG, b"here"), frame(TEXT, SPACE.encode()))
        assert (await raw.reply())["id"] == 1


async def test_an_empty_text_is_answered(client: Client) -> None:
    async with opened(client) as raw:
        await raw.send(frame(TEXT))
        assert (await raw.reply())["error"]["code"] == -32700


async def test_the_longest_message_is_taken(client: Client) -> None:
    async with opened(client) as raw:
        await raw.send(frame(TEXT, SPACE.encode().ljust(MAX_MESSAGE)))
        assert (await raw.reply())["id"] == 1


# -- what breaks the protocol


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(0x3, b"x"), 1002),
        (frame(0xB, b"x"), 1002),
        (frame(TEXT, b"x", rsv=1), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(0, b"x"), 1002),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"x"), 1002),
        (frame(PING_FRAME, bytes(126)), 1002),
        (frame(PING_FRAME, b"x", fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, (999).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1006).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
        (frame(TEXT, b"\xff\xfe"), 1007),
        (frame(TEXT, "é".encode()[:1]), 1007),
        (frame(TEXT, b'"\xed\xa0\x80"'), 1007),
        (frame(TEXT, bytes(MAX_MESSAGE + 1)), 1009),
        (frame(BINARY, bytes(MAX_MESSAGE + 1)), 1009),
        (frame(TEXT, bytes(MAX_MESSAGE), fin=False) + frame(0, b"x"), 1009),
        (frame(BINARY), 1003),
        (frame(BINARY, b"x"), 1008),
    ],
)
async def test_it_is_named_and_ends_the_connection(
    client: Client, sent: bytes, code: int, autojump_clock: MockClock
) -> None:
    async with opened(client) as raw:
        await raw.send(sent)
        said, reason = await raw.farewell()
        assert said == code
        assert reason
        await raw.send(frame(CLOSE, code.to_bytes(2, "big")))
        assert await raw.closed()


@pytest.mark.parametrize("before", range(8))
async def test_a_mistake_while_replies_go_out_is_named_too(client: Client, before: int) -> None:
    for mistake in (frame(0, b""), frame(TEXT, bytes(MAX_MESSAGE + 1)), frame(BINARY, b"x")):
        async with opened(client) as raw:
            await raw.send(frame(TEXT, b"nonsense") * before, mistake)
            assert (await raw.farewell())[0] in (1002, 1008, 1009)


@pytest.mark.parametrize(
    "mistake",
    [
        bytes([0x82, 0xFF]) + (1 << 62).to_bytes(8, "big") + MASK,  # a message that never ends
        frame(0x3),
    ],
)
async def test_what_comes_behind_a_mistake_is_not_kept(
    client: Client, monkeypatch: pytest.MonkeyPatch, mistake: bytes
) -> None:
    monkeypatch.setattr(frames, "FAREWELL", 1.0)
    before = peak()
    async with opened(client) as raw:
        await raw.send(mistake)
        sent = await pour(raw)
    assert sent > 100 * MAX_MESSAGE
    assert peak() - before < 20 * MAX_MESSAGE
    async with opened(client) as raw:
        await raw.send(frame(TEXT, SPACE.encode()))
        assert (await raw.reply())["id"] == 1


async def pour(raw: Raw) -> int:
    """Send until the node closes the connection; how many bytes that were."""
    sent = 0
    with trio.fail_after(30):
        while True:
            try:
                await raw.send(bytes(262_144))
            except trio.BrokenResourceError:
                return sent
            sent += 262_144


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def test_a_flood_behind_a_mistake_ends_too(client: Client) -> None:
    async with opened(client) as raw:
        await raw.send(frame(BINARY, b"x"), *[frame(TEXT, SPACE.encode())] * 100)
        assert (await raw.farewell())[0] == 1008
        await raw.send(*[frame(TEXT, SPACE.encode())] * 100, frame(CLOSE))
        assert await raw.closed()


async def test_a_client_that_does_not_answer_the_goodbye_is_left(
    client: Client, autojump_clock: MockClock
) -> None:
    async with opened(client) as raw:
        await raw.send(frame(BINARY, b"x"))
        assert (await raw.farewell())[0] == 1008
        start = trio.current_time()
        assert await raw.closed()
        assert trio.current_time() - start <= FAREWELL + 0.1


async def test_what_clients_do_fills_no_log(client: Client, autojump_clock: MockClock) -> None:
    stream = io.StringIO()
    with logs.configured(LogConfig(format="json", level="debug"), stream=stream):
        async with opened(client) as raw:
            await raw.send(frame(TEXT, b"nonsense"), frame(0x3))
            await raw.farewell()
        async with opened(client) as raw:
            await raw.send(frame(BINARY, b"x"))
            await raw.farewell()
        async with opened(client) as raw:
            await raw.send(frame(TEXT, b'{"jsonrpc":"2.0","id":1,"method":"store"}'))
            await raw.reply()
        await trio.testing.wait_all_tasks_blocked(0.05)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [("info", "a WebSocket broke the rules")]


# -- who is gone


async def test_an_idle_connection_is_pinged_and_kept(client: Client, autojump_clock: MockClock) -> None:
    async with opened(client) as raw:
        for _ in range(int(2 * STALL / PING)):
            event = await raw.event()
            assert isinstance(event, Ping)
            await raw.send(frame(PONG, bytes(event.payload)))
        await raw.send(frame(TEXT, SPACE.encode()))
        assert (await raw.reply())["id"] == 1


async def test_a_client_that_answers_no_ping_is_gone(client: Client, autojump_clock: MockClock) -> None:
    async with opened(client) as raw:
        start = trio.current_time()
        await raw.silence()
        assert STALL < trio.current_time() - start <= STALL + 2 * PING


async def test_a_client_that_just_closes_is_gone(served: ServedNode) -> None:
    async with opened(served.client) as raw:
        await raw.send(frame(TEXT, b'{"jsonrpc":"2.0","id":1,"method":"store"}'))
        await raw.reply()
        await raw.link.stream.send_eof()
        await raw.silence()


async def test_half_a_message_is_followed_by_nothing(served: ServedNode, autojump_clock: MockClock) -> None:
    """To a client that reads nothing no goodbye can be said without spoiling what stands before it."""
    content = noise(32 << 20)
    cid = await served.node.store(content)
    params = {"cid": str(cid), "window": 1 << 26}
    request = {"jsonrpc": "2.0", "id": 1, "method": "retrieve", "params": params}
    async with opened(served.client) as raw:
        await raw.send(frame(TEXT, json.dumps(request).encode()))
        await trio.testing.wait_all_tasks_blocked(0.1)
        await raw.send(frame(BINARY, b"x"))
        await trio.sleep(FAREWELL + 1)
        came = await everything(raw)
    assert 0 < len(came) < len(content)
    assert came == content[: len(came)]


async def everything(raw: Raw) -> bytes:
    """The bytes of every binary message, and of the last as far as it has come, until the connection ends."""
    came, fresh = bytearray(), True
    while True:
        try:
            event = await raw.event()
        except (EOFError, trio.BrokenResourceError):
            return bytes(came)
        assert not isinstance(event, CloseConnection)
        if isinstance(event, BytesMessage):
            came += event.data[4:] if fresh else event.data
            fresh = event.message_finished
