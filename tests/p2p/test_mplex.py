"""mplex: frames as the network writes them, read in any cut, and nothing else read as frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import varint
from codex.errors import DecodeError
from codex.p2p.mplex import MAX_HEADER, MAX_ID, MAX_PAYLOAD, Frame, Key, Kind, Parser, header

KEYS = st.builds(Key, st.integers(0, MAX_ID) | st.integers(0, 5), st.booleans())
FRAMES = st.tuples(st.sampled_from(Kind), KEYS, st.binary(max_size=50)).filter(
    lambda frame: frame[0] is not Kind.OPEN or frame[1].ours
)


def seen_from_there(key: Key) -> Key:
    return Key(key.number, not key.ours)


def told(frames: list[Frame]) -> list[tuple[Kind, Key, bytes]]:
    """What frames say, with the pieces of data put together again."""
    out: list[tuple[Kind, Key, bytes]] = []
    for kind, key, data in frames:
        if kind is Kind.DATA and data and out and out[-1][:2] == (kind, key):
            out[-1] = (kind, key, out[-1][2] + bytes(data))
        else:
            out.append((kind, key, bytes(data)))
    return out


@pytest.mark.parametrize(
    ("kind", "key", "flag"),
    [
        (Kind.OPEN, Key(3, True), 0),
        (Kind.DATA, Key(3, False), 1),
        (Kind.DATA, Key(3, True), 2),
        (Kind.CLOSE, Key(3, False), 3),
        (Kind.CLOSE, Key(3, True), 4),
        (Kind.RESET, Key(3, False), 5),
        (Kind.RESET, Key(3, True), 6),
    ],
)
def test_flags(kind: Kind, key: Key, flag: int) -> None:
    assert header(kind, key) == bytes([3 << 3 | flag, 0])
    assert list(Parser().feed(header(kind, key))) == [Frame(kind, seen_from_there(key), memoryview(b""))]


def test_the_header_of_much_data() -> None:
    assert header(Kind.DATA, Key(1000, True), 300) == bytes.fromhex("c23e ac02")


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(1, 40), max_size=80))
def test_frames_are_read_however_the_bytes_are_cut(
    frames: list[tuple[Kind, Key, bytes]], cuts: list[int]
) -> None:
    wire = b"".join(header(kind, key, len(data)) + data for kind, key, data in frames)
    parser, came = Parser(), list[Frame]()
    for size in [*cuts, len(wire)]:
        piece, wire = wire[:size], wire[size:]
        came += parser.feed(piece)
    wanted = [
        Frame(kind, seen_from_there(key), memoryview(data if kind is Kind.DATA else b""))
        for kind, key, data in frames
    ]
    # What is cut comes in parts; an empty frame is none of them.
    assert [item for item in told(came) if item[2] or item[0] is not Kind.DATA] == [
        item for item in told(wanted) if item[2] or item[0] is not Kind.DATA
    ]


def test_an_empty_frame_of_data_is_told() -> None:
    assert told(list(Parser().feed(header(Kind.DATA, Key(0, True))))) == [(Kind.DATA, Key(0, False), b"")]


def test_data_is_passed_on_before_its_frame_is_complete() -> None:
    parser = Parser()
    [frame] = parser.feed(header(Kind.DATA, Key(0, True), MAX_PAYLOAD) + b"begin")
    assert bytes(frame.data) == b"begin"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x07\x00", "flag 7"),
        (header(Kind.DATA, Key(0, True), MAX_PAYLOAD + 1), "1048577"),
        (varint.encode((MAX_ID + 1) << 3 | 2) + b"\x00", "60 bits"),
        (b"\xff" * MAX_HEADER, "64 bits"),
        (b"\x02" + b"\xff" * MAX_HEADER, "64 bits"),
    ],
)
def test_what_is_no_frame(data: bytes, why: str) -> None:
    for cut in range(len(data)):
        parser = Parser()
        with pytest.raises(DecodeError, match=why):
            list(parser.feed(data[:cut])) + list(parser.feed(data[cut:]))


@given(st.binary(max_size=300))
def test_garbage_is_frames_or_refused(data: bytes) -> None:
    try:
        frames = list(Parser().feed(data))
    except DecodeError:
        return
    assert sum(len(frame.data) for frame in frames) <= len(data)


def test_a_name_is_dropped_and_the_next_frame_is_found() -> None:
    wire = header(Kind.OPEN, Key(9, True), 4) + b"name" + header(Kind.CLOSE, Key(9, True))
    assert told(list(Parser().feed(wire))) == [
        (Kind.OPEN, Key(9, False), b""),
        (Kind.CLOSE, Key(9, False), b""),
    ]
