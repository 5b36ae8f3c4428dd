"""The chunked coding: any cutting gives the same body, what is none is refused, and no step is long."""

import time
import tracemalloc
from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.api.chunks import MAX_LINE, MAX_TRAILERS, STEP, BadChunk, Chunks

WORD = st.text("abcXYZ019-", min_size=1, max_size=6).map(str.encode)
EXTENSION = st.sampled_from([b"", b";a", b"; a=b", b' ;a="b c"', b"  "])


def decoded(arrivals: list[bytes]) -> tuple[bytes, bytes, bool]:
    """The body, what is behind it, and whether it has ended."""
    chunks = Chunks()
    body = b""
    for data in arrivals:
        chunks.receive(data)
        while (part := chunks.step()) is not None:
            body += part
    return body, chunks.rest, chunks.ended


def by_h11(data: bytes) -> bytes | None:
    """The body by another reading of the same rules; None where it is none, or has not ended."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    body = b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return None
            body += event.data if isinstance(event, h11.Data) else b""
    except h11.RemoteProtocolError:
        return None
    return body


@settings(max_examples=200, deadline=None)
@given(
    pieces=st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSION, st.booleans()), max_size=6),
    trailers=st.lists(st.tuples(WORD, WORD), max_size=2),
    cuts=st.sets(st.integers(0, 300), max_size=8) | st.just(set(range(300))),
    behind=st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"\r\n"]),
)
def test_any_body_cut_anywhere(
    pieces: list[tuple[bytes, bytes, bool]],
    trailers: list[tuple[bytes, bytes]],
    cuts: set[int],
    behind: bytes,
) -> None:
    wire = b"".join(
        (b"%02X" if upper else b"%x") % len(data) + more + b"\r\n" + data + b"\r\n"
        for data, more, upper in pieces
    )
    wire += b"0\r\n" + b"".join(b"%s: %s\r\n" % pair for pair in trailers) + b"\r\n" + behind
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    arrivals = [wire[first:last] for first, last in pairwise(edges)]
    assert decoded(arrivals) == (b"".join(data for data, _, _ in pieces), behind, True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([b"0", b"1", b"3", b"a", b"\r\n", b"\n", b"\r", b";x", b" ", b"-", b":", b"xyz"])
    )
)
def test_nothing_is_taken_for_a_body_that_is_none_to_another_reader(tokens: list[bytes]) -> None:
    data = b"".join(tokens)
    try:
        body, _, ended = decoded([data])
    except BadChunk:
        return
    if ended:
        assert by_h11(data) == body


@pytest.mark.parametrize(
    "bad",
    [
        b"xyz\r\n",
        b"\r\n",
        b"\n",
        b" 1\r\na\r\n",
        b"+1\r\na\r\n",
        b"-1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1_0\r\n",
        b"1 1\r\na\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\naX",
        b"1\r\na\rX",
        b"1" * 17 + b"\r\n",
        b"1;\rx\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n: nameless\r\n\r\n",
        b"0\r\na b: c\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\n\n",
        b"1;" + b"x" * MAX_LINE,
        b"1;" + b"x" * MAX_LINE + b"\r\n",
        b"0\r\na: " + b"x" * MAX_TRAILERS,
        b"0\r\n" + b"a: b\r\n" * (MAX_TRAILERS // 6 + 1) + b"\r\n",
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_none_is_refused(bad: bytes, whole: bool) -> None:
    start = b"3\r\nabc\r\n"
    with pytest.raises(BadChunk):
        decoded([start + bad] if whole else [start, *(bytes([byte]) for byte in bad)])


def test_a_body_that_has_not_ended_has_not_ended() -> None:
    for whole in (b"5\r\nabcde\r\n0\r\n\r\n", b"1\r\na\r\n0\r\na: b\r\n\r\n"):
        for end in range(len(whole)):
            assert not decoded([whole[:end]])[2]
        assert decoded([whole])[2]


def test_tiny_chunks_come_together_and_no_step_reads_many() -> None:
    chunks = Chunks(b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")
    body, worst = b"", 0.0
    while True:
        begun = time.thread_time()
        part = chunks.step()
        worst = max(worst, time.thread_time() - begun)
        if part is None:
            break
        assert len(part) <= STEP
        body += part
    assert body == b"x" * 40_000
    assert chunks.ended
    assert worst < 0.02  # seconds of processor time; a step over all of it would take longer


def test_what_is_read_is_not_kept() -> None:
    chunks = Chunks()
    arrival = b"1\r\nx\r\n" * 10_000
    tracemalloc.start()
    try:
        for _ in range(20):
            chunks.receive(bytes(bytearray(arrival)))
            while chunks.step() is not None:
                pass
            now, _ = tracemalloc.get_traced_memory()
            # A sixth of one arrival; what other threads of this process take is in it.
            assert now < len(arrival) // 6
    finally:
        tracemalloc.stop()


def test_a_large_chunk_goes_on_as_it_comes() -> None:
    chunks = Chunks(b"100000\r\n")
    assert chunks.step() is None
    for _ in range(16):
        chunks.receive(bytes(65_536))
        assert chunks.step() == bytes(65_536)
        assert chunks.step() is None
    chunks.receive(b"\r\n0\r\n\r\n")
    assert chunks.step() is None
    assert chunks.ended
