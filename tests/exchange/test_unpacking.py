"""Messages taken apart as they come: cut anywhere, they say the same; and what is held is bounded."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import varint
from codex.codec.protobuf import Writer
from codex.errors import DecodeError
from codex.exchange import unpacking
from codex.exchange.messages import MAX_DELIVERIES, MAX_FIELDS
from codex.exchange.unpacking import AT_ONCE, LOOKED_AT, MESSAGE_BYTES, WHOLE, Piece, Unpacker

LARGE = bytes(WHOLE)
"""Something that makes a message too large to be handed on whole."""

fields = st.one_of(
    st.tuples(st.just(3), st.binary(max_size=40) | st.just(LARGE)),
    st.tuples(st.sampled_from([1, 2, 4, 100]), st.binary(max_size=20)),
    st.tuples(st.sampled_from([3, 5]), st.integers(0, 2**64 - 1)),
)
messages = st.lists(fields, max_size=6)


def written(parts: Iterable[tuple[int, bytes | int]]) -> bytes:
    writer = Writer()
    for number, value in parts:
        if isinstance(value, int):
            writer.varint(number, value)
        else:
            writer.bytes(number, value)
    return writer.finish()


def framed(message: bytes) -> bytes:
    return varint.encode(len(message)) + message


def unpack(unpacker: Unpacker, *parts: bytes) -> list[Piece]:
    unpacker.feed(parts)
    pieces = []
    while (piece := unpacker.next()) is not None:
        pieces.append(piece)
    return pieces


@given(st.lists(messages, max_size=4), st.data())
def test_wherever_it_is_cut_all_is_handed_on_once_and_in_order(
    said: list[list[tuple[int, bytes | int]]], data: st.DataObject
) -> None:
    wire = b"".join([framed(written(message)) for message in said])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    unpacker, heard, blocks = Unpacker(), [], list[bytes]()
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for piece in unpack(unpacker, wire[start:end]):
            blocks += map(bytes, piece.deliveries)
            if piece.message is not None:
                heard.append((blocks, bytes(piece.message)))
                blocks = []
        assert unpacker.held <= end
    expected: list[tuple[list[bytes], bytes]] = []
    for message in said:
        whole = written(message)
        if len(whole) <= WHOLE:
            expected.append(([], whole))
            continue
        deliveries = [value for number, value in message if number == 3 and isinstance(value, bytes)]
        rest = [(number, value) for number, value in message if number != 3 or isinstance(value, int)]
        expected.append((deliveries, written(rest)))
    assert heard == expected
    assert not blocks
    assert not unpacker.midway
    assert unpacker.held == 0


def test_a_delivery_is_handed_on_before_its_message_has_ended_and_nothing_of_it_is_held() -> None:
    unpacker = Unpacker()
    [first] = unpack(unpacker, framed(written([(1, b"wants"), (3, LARGE), (3, LARGE)]))[: WHOLE + 100])
    assert ([bytes(delivery) for delivery in first.deliveries], first.message) == ([LARGE], None)
    assert unpacker.midway
    assert unpacker.held < 200


def test_what_lies_in_one_piece_is_not_copied() -> None:
    wire = framed(written([(3, LARGE), (3, LARGE)]))
    [piece] = unpack(Unpacker(), wire)
    assert [delivery.obj for delivery in piece.deliveries if isinstance(delivery, memoryview)] == [wire, wire]


def test_what_is_small_does_not_keep_in_memory_what_it_came_with() -> None:
    wire = bytearray(framed(written([(3, b"small"), (1, LARGE)])))
    [piece] = unpack(Unpacker(), memoryview(wire))
    assert piece.deliveries == [b"small"]
    wire.clear()  # which raises while there is a view of it


def test_what_has_begun_keeps_nothing_in_memory_but_itself() -> None:
    wire = framed(written([(1, b"wants"), (3, LARGE), (3, LARGE), (3, LARGE)]))
    cuts = [0, 2 * WHOLE + 100, 2 * WHOLE + 101, 3 * WHOLE]
    unpacker, blocks = Unpacker(), 0
    for start, end in pairwise(cuts):
        piece = bytearray(wire[start:end])
        unpacker.feed([memoryview(piece)])
        blocks += sum(len(handed.deliveries) for handed in iter(unpacker.next, None))
        piece.clear()  # which raises while there is a view of it
    assert (blocks, unpacker.held > WHOLE // 2) == (2, True)
    assert unpack(unpacker, wire[end:]) == [Piece([LARGE], written([(1, b"wants")]))]


def test_much_is_handed_on_little_by_little() -> None:
    pieces = unpack(Unpacker(), framed(written([(3, b"x" * 1000)] * (2 * AT_ONCE + 1))))
    assert [len(piece.deliveries) for piece in pieces] == [AT_ONCE, AT_ONCE, 1]
    assert [piece.message for piece in pieces] == [None, None, b""]
    small = written([(5, 1)] * 3 * LOOKED_AT + [(1, LARGE)])
    *looks, last = unpack(Unpacker(), framed(small))
    assert looks == [Piece()] * 3
    assert last == Piece([], small)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (varint.encode(MESSAGE_BYTES + 1), "more than"),
        (b"\xff" * 20, "64 bits"),
        (framed(b"\x0b" + LARGE), "wire type 3"),
        (framed(b"\x02" + LARGE), "number 0"),
        (framed(b"\x1a\x80\x80\x05" + LARGE), "inside a field"),
        (framed(written([(1, LARGE)]) + b"\x80"), "inside a varint"),
        (framed(written([(1, LARGE)]) + b"\x1a"), "inside a varint"),
        (framed(written([(1, LARGE)]) + b"\x0d\0"), "inside a field"),
        (framed(written([(3, b"x" * 100)] * (MAX_DELIVERIES + 1))), "deliveries"),
    ],
)
def test_what_is_no_message_is_refused(wire: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        unpack(Unpacker(), wire)
    with pytest.raises(DecodeError, match=why):
        unpack(Unpacker(), *[wire[at : at + 4096] for at in range(0, len(wire), 4096)])


def test_the_fields_of_a_message_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "MAX_FIELDS", 5000)
    assert MAX_FIELDS > 5000
    unpack(Unpacker(), *[framed(written([(5, 1)] * 4999 + [(1, LARGE)]))] * 2)
    with pytest.raises(DecodeError, match="too many fields"):
        unpack(Unpacker(), framed(written([(5, 1)] * 5000 + [(1, LARGE)])))


@pytest.mark.parametrize("content", [bytes(12), b"\xff" * 12])
def test_fields_of_a_fixed_size_are_for_whoever_reads_the_message(content: bytes) -> None:
    message = (
        b"\x2d" + content[:4] + b"\x31" + content[4:] + b"\xad\x7f" + content[:4] + written([(1, LARGE)])
    )
    wire = framed(message)
    assert unpack(Unpacker(), wire) == [Piece([], message)]
    for first in range(1, 30):
        for second in (1, 2, 3, 40):
            parts = wire[:first], wire[first : first + second], wire[first + second :]
            assert unpack(Unpacker(), *parts) == [Piece([], message)]
