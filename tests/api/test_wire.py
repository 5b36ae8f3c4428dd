"""An exchange on a raw stream: what arrives is the body, what breaks is said, what is promised is sent."""

from collections.abc import Callable, Sequence

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, MemorySendStream, lockstep_stream_pair, memory_stream_pair

from codex.api.wire import LINGER, STALL, Exchange, PeerGone
from codex.errors import UploadCut
from codex.runtime.stall import LoopWatch
from codex.testing.parts import Parted

Common = Callable[[], Sequence[tuple[bytes, bytes]]]
Stream = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


def opened(head: bytes, early: bytes = b"") -> tuple[Exchange, "Stream"]:
    """An exchange whose head (and the bytes behind it) has arrived, and the far end of its stream."""
    near, far = memory_stream_pair()
    return request_on(near, head, early=early), far


def request_on(
    stream: trio.abc.HalfCloseableStream, head: bytes, common: Common = tuple, *, early: bytes = b""
) -> Exchange:
    """An exchange whose head (and the bytes behind it) has arrived."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head + b"\r\n\r\n" + early)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    return Exchange(Parted(stream), connection, request, common)


POST = b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: "


async def collected(exchange: Exchange) -> bytes:
    return b"".join([piece async for piece in exchange])


async def test_a_body_that_came_with_the_head() -> None:
    exchange, _ = opened(POST + b"5", b"hello")
    assert await collected(exchange) == b"hello"
    assert not exchange.unread


async def test_what_comes_behind_a_body_is_kept_for_the_next_request() -> None:
    exchange, _ = opened(POST + b"5", b"helloGET /")
    assert await collected(exchange) == b"hello"
    assert exchange.rest == b"GET /"
    chunked, _ = opened(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\nGET /"
    )
    assert await collected(chunked) == b"ok"
    assert chunked.rest == b"GET /"
    bare, _ = opened(b"GET / HTTP/1.1\r\nHost: a", b"GET /more")
    assert bare.rest == b"GET /more"


async def test_a_body_in_pieces() -> None:
    exchange, far = opened(POST + b"10", b"he")
    await far.send_all(b"llo")
    await far.send_all(b"world")
    assert await collected(exchange) == b"helloworld"


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8), st.integers(0, 60))
async def test_a_chunked_body_is_joined(chunks: list[bytes], split: int) -> None:
    wire = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    exchange, far = opened(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", wire[:split])
    if wire[split:]:
        await far.send_all(wire[split:])
    assert exchange.chunked
    assert exchange.length is None
    assert await collected(exchange) == b"".join(chunks)


async def test_a_body_cut_short_is_an_error() -> None:
    exchange, far = opened(POST + b"10", b"hell")
    await far.aclose()
    with pytest.raises(UploadCut):
        await collected(exchange)
    assert exchange.unread


async def test_a_chunked_body_cut_short_is_an_error() -> None:
    exchange, far = opened(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b"5\r\nhel")
    await far.aclose()
    with pytest.raises(UploadCut):
        await collected(exchange)


async def test_a_broken_chunk_is_an_error() -> None:
    exchange, _ = opened(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b"xyz\r\n")
    with pytest.raises(UploadCut, match="Incomplete chunk"):
        await collected(exchange)


async def test_a_silent_sender_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    exchange, _ = opened(POST + b"10")
    with pytest.raises(UploadCut, match="300 seconds"):
        await collected(exchange)
    assert trio.current_time() == pytest.approx(STALL)


async def test_continue_is_said_when_the_body_is_read() -> None:
    exchange, far = opened(POST + b"2\r\nExpect: 100-continue")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collected, exchange)
            assert (await far.receive_some()).startswith(b"HTTP/1.1 100 ")
            await far.send_all(b"ok")


async def test_a_response_and_reuse() -> None:
    exchange, far = opened(POST + b"2", b"ok")
    await collected(exchange)
    await exchange.reply(200, [("Content-Type", "text/plain")], b"done")
    assert exchange.reusable
    sent = await far.receive_some()
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 4\r\n" in sent
    assert b"close" not in sent


async def test_an_unread_body_closes_the_connection() -> None:
    exchange, far = opened(POST + b"20", b"ok")
    await exchange.reply(422, [], b"no")
    assert not exchange.reusable
    assert b"Connection: close" in await far.receive_some()


async def test_a_wish_to_close_is_granted() -> None:
    exchange, far = opened(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close")
    await exchange.reply(200, [], b"")
    assert not exchange.reusable
    assert b"Connection: close" in await far.receive_some()


async def test_head_sends_no_body() -> None:
    exchange, far = opened(b"HEAD / HTTP/1.1\r\nHost: a")
    await exchange.reply(200, [], b"body")
    assert exchange.reusable
    sent = await far.receive_some()
    assert b"Content-Length: 4" in sent
    assert sent.endswith(b"\r\n\r\n")


async def test_more_than_promised_is_a_bug() -> None:
    exchange, _ = opened(b"GET / HTTP/1.1\r\nHost: a")
    await exchange.respond(200, [], 3)
    with pytest.raises(ValueError, match="longer"):
        await exchange.send(b"four")


async def test_parts_count_together_against_the_promise() -> None:
    exchange, far = opened(b"GET / HTTP/1.1\r\nHost: a")
    await exchange.respond(200, [], 4)
    with pytest.raises(ValueError, match="longer"):
        await exchange.send(b"abc", b"de")
    await exchange.send(b"abc", b"", b"d")
    assert exchange.reusable
    assert (await far.receive_some()).endswith(b"\r\n\r\nabcd")


async def test_less_than_promised_is_not_reusable() -> None:
    exchange, _ = opened(b"GET / HTTP/1.1\r\nHost: a")
    await exchange.respond(200, [], 3)
    await exchange.send(b"tw")
    assert not exchange.reusable


async def test_a_gone_peer() -> None:
    exchange, far = opened(b"GET / HTTP/1.1\r\nHost: a")
    await far.aclose()
    with pytest.raises(PeerGone):
        await exchange.reply(200, [], b"body")


@pytest.mark.parametrize("part", ["head", "body"])
async def test_a_reader_that_takes_nothing_is_given_up(
    part: str, autojump_clock: trio.testing.MockClock
) -> None:
    near, far = lockstep_stream_pair()  # a send ends when the other side takes the bytes
    exchange = request_on(near, b"GET / HTTP/1.1\r\nHost: a")
    async with trio.open_nursery() as nursery:
        if part == "body":
            nursery.start_soon(far.receive_some)  # the head
        with pytest.raises(PeerGone, match="300 seconds"):
            await exchange.reply(200, [], b"body")
    assert trio.current_time() == pytest.approx(STALL)


async def test_every_response_has_the_common_headers() -> None:
    near, far = memory_stream_pair()
    exchange = request_on(near, b"GET / HTTP/1.1\r\nHost: a", lambda: [(b"date", b"today")])
    await exchange.reply(200, [], b"")
    assert b"\r\ndate: today\r\n" in await far.receive_some()


async def test_tiny_chunks_are_read_in_small_steps() -> None:
    exchange, far = opened(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked", b"1\r\nx\r\n" * 20_000
    )
    await far.send_all(b"0\r\n\r\n")
    watch = LoopWatch(0.02)
    trio.lowlevel.add_instrument(watch)
    try:
        assert await collected(exchange) == b"x" * 20_000
    finally:
        trio.lowlevel.remove_instrument(watch)
    assert watch.steps > 200
    assert watch.over == 0, f"{watch.worst_cpu} s"
    assert exchange.rest == b""


async def test_a_header_value_cannot_end_its_line() -> None:
    exchange, far = opened(b"GET / HTTP/1.1\r\nHost: a")
    await exchange.reply(200, [("Content-Disposition", 'filename="a\r\nSet-Cookie: b"')], b"")
    lines = (await far.receive_some()).split(b"\r\n")
    assert not any(line.startswith(b"Set-Cookie") for line in lines)


async def test_lingering_ends(autojump_clock: trio.testing.MockClock) -> None:
    exchange, far = opened(POST + b"20")
    await far.send_all(b"more")
    await exchange.linger()
    assert trio.current_time() == pytest.approx(LINGER)
