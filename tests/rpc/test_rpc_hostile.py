"""Whatever a client sends: it gets a reply or a goodbye, nothing of it is stored, and the node lives on."""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, TextMessage
from wsproto.frame_protocol import CloseReason

from codex.api.rpc.limits import MAX_MESSAGE
from codex.api.rpc.table import METHODS
from codex.testing.http import Client, head
from codex.testing.nodes import ServedNode, holdings, open_served_node

PATH = "/api/codex/v1/ws"
UPGRADE = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
]
MASK = bytes(4)
CALM = settings(max_examples=25, deadline=None)
# What would change the machine, or the log of the tests.
HARMLESS = [name for name in METHODS if name not in ("backup", "setLogLevel")]


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    size = len(payload)
    short = size if size < 126 else 126 if size < 65_536 else 127
    length = b"" if short < 126 else size.to_bytes(2 if short == 126 else 8, "big")
    return bytes([(fin << 7) | opcode, 0x80 | short]) + length + MASK + payload


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "cid": st.sampled_from(["", "zDvZRwzm1cD1ndrXQp3km8FnTzYNm6mSgmYNvy9UF42XUGKoFMzG"]) | JSON,
        "topics": st.lists(st.sampled_from(["jobs", "manifests"]) | JSON, max_size=3) | JSON,
        "stream": st.integers(-1, 20) | JSON,
        "bytes": st.integers(-1, 1 << 20) | JSON,
        "size": st.integers(-1, 1 << 70) | JSON,
        "filename": st.text(max_size=300) | JSON,
        "id": JSON,
        "limit": JSON,
        "peerId": JSON,
    },
)
REQUEST = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from(HARMLESS) | st.text(max_size=10)},
    optional={"id": st.integers(0, 5) | JSON, "params": PARAMS | JSON},
)
TEXT = (REQUEST | st.lists(REQUEST, max_size=5) | JSON).map(json.dumps) | st.text(max_size=50)
STREAM = st.integers(0, 20) | st.integers(0, (1 << 32) - 1)
DATA = st.tuples(STREAM, st.binary(max_size=300)).map(lambda pair: pair[0].to_bytes(4, "big") + pair[1])
FRAME = (
    TEXT.map(lambda text: frame(1, text.encode("utf-8", "replace")))
    | (DATA | st.binary(max_size=6)).map(lambda data: frame(2, data))
    | st.binary(max_size=125).map(lambda data: frame(9, data))
    | st.tuples(st.integers(0, 15), st.binary(max_size=200), st.booleans()).map(lambda one: frame(*one))
)


LAST = frame(1, b'{"jsonrpc":"2.0","id":"the last","method":"peers"}')


async def answers(client: Client, data: bytes) -> list[str]:
    """Open a WebSocket and send bytes and a last request on it; every text until the reply to that, or until
    the node has said goodbye.
    """
    protocol = Connection(ConnectionType.CLIENT)
    texts, text = [], ""
    async with client.link() as link:
        await link.send(head("GET", PATH, "alice", UPGRADE))
        first = await link.stream.receive_some(65_536)
        assert first.startswith(b"HTTP/1.1 101 ")
        await link.send(data + LAST)
        with trio.fail_after(60):
            while True:
                protocol.receive_data(await link.stream.receive_some(65_536) or None)
                for event in protocol.events():
                    if isinstance(event, CloseConnection):
                        assert event.code != CloseReason.ABNORMAL_CLOSURE, "closed without a goodbye"
                        return [*texts, f"goodbye: {int(event.code)}"]
                    if isinstance(event, TextMessage):
                        text += event.data
                        if event.message_finished:
                            texts.append(text)
                            if '"the last"' in text:
                                return texts
                            text = ""


async def survive(data: bytes, expect: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with open_served_node(Path(place) / "alice") as served:
            before = await holdings(served.node)
            texts = await answers(served.client, data)
            assert expect is None or any(expect in text for text in texts), texts
            await nothing_is_left(served, before)


async def nothing_is_left(served: ServedNode, before: Any) -> None:
    await trio.testing.wait_all_tasks_blocked()
    assert (await served.client.get("/space")).status == 200
    assert await holdings(served.node) == before
    health = (await served.client.get("/health")).json()
    assert [service["restarts"] for service in health["services"]] == [0] * len(health["services"])


async def end_anywhere(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        async with open_served_node(Path(place) / "alice") as served:
            before = await holdings(served.node)
            async with served.client.link() as link:
                await link.send(head("GET", PATH, "alice", UPGRADE))
                await link.stream.receive_some(65_536)
                await link.send(data)
            await nothing_is_left(served, before)


@CALM
@given(st.lists(FRAME, min_size=1, max_size=8).map(b"".join))
def test_frames_of_every_kind(data: bytes) -> None:
    trio.run(survive, data)


@CALM
@given(st.binary(max_size=300))
def test_bytes_that_are_no_frames(data: bytes) -> None:
    trio.run(end_anywhere, data)


@CALM
@given(st.lists(FRAME, min_size=1, max_size=8).map(b"".join), st.integers(0, 2000))
def test_an_end_at_any_point(data: bytes, cut: int) -> None:
    trio.run(end_anywhere, data[:cut])


@CALM
@given(st.lists(REQUEST.map(json.dumps), min_size=1, max_size=20))
def test_requests_with_anything_in_them(texts: list[str]) -> None:
    trio.run(survive, b"".join(frame(1, text.encode("utf-8", "replace")) for text in texts))


@pytest.mark.parametrize(
    ("text", "expect"),
    [
        ("[" * MAX_MESSAGE, "-32700"),
        ('{"a":' * (MAX_MESSAGE // 5), "-32700"),
        ("[" * 900 + "]" * 900, "-32600"),
        ('{"jsonrpc":"2.0","id":1,"method":"space","params":' + "[" * 900 + "]" * 900 + "}", "-32602"),
        (
            '{"jsonrpc":"2.0","id":1,"method":"exists","params":{"cid":' + "[" * 900 + "]" * 900 + "}}",
            "-32602",
        ),
        ('{"jsonrpc":"2.0","id":' + "[" * 900 + "]" * 900 + ',"method":"space"}', "-32600"),
        ('{"jsonrpc":"2.0","id":1,"method":"subscribe","params":[' + "[" * 900 + "]" * 900 + "]}", "-32602"),
        ('{"jsonrpc":"2.0","id":' + "9" * 4000 + ',"method":"peers"}', '"peers"'),
        ('{"jsonrpc":"2.0","id":' + "9" * 5000 + ',"method":"peers"}', "-32700"),
        ('"' + "\\ud800" * 10_000 + '"', "-32600"),
        ("[" + ",".join(["[]"] * 64) + "]", "-32600"),
        ("[" + ",".join(["1"] * 10_000) + "]", "-32600"),
        ("0" * MAX_MESSAGE, "-32700"),
        ("\0" * 1000, "-32700"),
    ],
)
def test_bombs(text: str, expect: str) -> None:
    trio.run(partial(survive, frame(1, text.encode()), expect))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("value", [None, True, -1, 1e308, "x" * 1000, [], {}, [[[[]]]], {"": {"": None}}])
def test_every_parameter_of_every_method(name: str, value: Any) -> None:
    fields = [field.name for field in METHODS[name].takes.__attrs_attrs__]
    params = dict.fromkeys(fields, value)
    request = {"jsonrpc": "2.0", "id": "mine", "method": name}
    texts = [json.dumps({**request, "params": params}), json.dumps({**request, "params": value})]
    trio.run(survive, b"".join(frame(1, text.encode()) for text in texts))
