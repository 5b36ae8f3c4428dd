"""The network's protobuf: what is written is exact, what is read is forgiving within bounds."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import protobuf
from codex.codec.protobuf import Field, Message, Writer
from codex.errors import DecodeError


def test_zero_and_empty_values_are_written() -> None:
    data = Writer().varint(1, 0).bytes(2, b"").text(3, "").message(4, Writer()).finish()
    assert data.hex() == "0800" + "1200" + "1a00" + "2200"


def test_values_are_written_in_the_order_of_the_calls() -> None:
    inner = Writer().bytes(1, b"\x07")
    data = Writer().message(5, inner).varint(1, 300).text(2, "ß").varint(16, 1).finish()
    assert data.hex() == "2a030a0107" + "08ac02" + "1202c39f" + "800101"


def test_a_negative_number_takes_ten_bytes() -> None:
    data = Writer().int32(1, -1).finish()
    assert data.hex() == "08" + "ff" * 9 + "01"
    assert Message(data).int32(1) == -1
    assert Message(data).varint(1) == 2**64 - 1


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_number_out_of_range_is_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        Writer().varint(1, value)


def test_all_wire_types_but_groups_are_read() -> None:
    data = bytes.fromhex("089601" + "11" + "0100000000000000" + "1a03616263" + "25" + "02000000")
    expected = [Field(1, 0, 150), Field(2, 1, 1), Field(3, 2, b"abc"), Field(4, 5, 2)]
    assert list(protobuf.fields(data)) == expected
    assert list(protobuf.fields(memoryview(data))) == expected


_FIELD = st.one_of(
    st.tuples(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1)),
    st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=40)),
)


@settings(deadline=None)
@given(st.lists(_FIELD, max_size=20))
def test_fields_read_back_as_they_were_written(some: list[tuple[int, int | bytes]]) -> None:
    out = Writer()
    for number, value in some:
        if isinstance(value, int):
            out.varint(number, value)
        else:
            out.bytes(number, value)
    read = [(field.number, field.value) for field in protobuf.fields(out.finish())]
    assert read == some


def test_the_last_of_several_counts_and_all_are_there() -> None:
    data = Writer().varint(1, 5).bytes(2, b"a").varint(1, 6).bytes(2, b"").finish()
    message = Message(data)
    assert message.varint(1) == 6
    assert message.bytes(2) == b""
    assert message.repeated(2) == [b"a", b""]


def test_what_is_missing_reads_as_absent() -> None:
    message = Message(b"")
    assert (message.varint(1), message.varint(1, 7), message.uint32(1), message.int32(1)) == (0, 7, 0, 0)
    assert message.bytes(1) is None
    assert message.text(1) is None
    assert message.repeated(1) == []


def test_a_known_field_of_another_wire_type_is_skipped() -> None:
    # Field 1 as fixed32, as bytes, as fixed64; and field 2 as a number.
    data = bytes.fromhex("0d01000000" + "0a0161" + "090100000000000000" + "1005")
    message = Message(data)
    assert message.varint(1) == 0
    assert message.bytes(1) == b"a"
    assert message.bytes(2) is None
    # It does not hide a right one that came before.
    assert Message(Writer().varint(1, 3).bytes(1, b"a").finish()).varint(1) == 3


def test_unknown_fields_are_skipped() -> None:
    data = Writer().varint(200, 1).bytes(2**29 - 1, b"x" * 100).varint(1, 9).finish()
    assert Message(data).varint(1) == 9


def test_numbers_are_held_to_their_size() -> None:
    message = Message(Writer().varint(1, 2**32).varint(2, 2**32 - 1).varint(3, 2**31 - 1).finish())
    assert message.uint32(2) == 2**32 - 1
    assert message.int32(3) == 2**31 - 1
    with pytest.raises(DecodeError, match="32 bits"):
        message.uint32(1)


def test_text_must_be_utf8() -> None:
    message = Message(Writer().text(1, "größe").bytes(2, b"\xff").finish())
    assert message.text(1) == "größe"
    with pytest.raises(DecodeError, match="UTF-8"):
        message.text(2)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("0b", "wire type 3"),
        ("0c", "wire type 4"),
        ("0e00", "wire type 6"),
        ("0f00", "wire type 7"),
        ("0005", "number 0"),
        ("08", "varint"),
        ("0880", "varint"),
        ("08" + "ff" * 10, "64 bits"),
        ("0a", "varint"),
        ("0a0261", "ends inside a field"),
        ("0affffffffffffffffff01", "ends inside a field"),
        ("0d000000", "ends inside a field"),
        ("0900000000000000", "ends inside a field"),
        ("80", "varint"),
    ],
)
def test_a_broken_message_is_refused(data: str, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        list(protobuf.fields(bytes.fromhex(data)))
    with pytest.raises(DecodeError, match=why):
        Message(bytes.fromhex(data))


def test_too_much_is_refused() -> None:
    with pytest.raises(DecodeError, match="more than 3"):
        list(protobuf.fields(b"\x08\x01\x08\x01", limit=3))
    with pytest.raises(DecodeError, match="too many fields"):
        list(protobuf.fields(b"\x08\x01\x08\x01", max_fields=1))
    assert len(list(protobuf.fields(b"\x08\x01\x08\x01", limit=4, max_fields=2))) == 2
    with pytest.raises(DecodeError, match="too many fields"):
        Message(b"\x0a\x00" * (protobuf.MAX_FIELDS + 1))


def test_many_different_fields_take_no_memory() -> None:
    data = b"".join(Writer().varint(number, 1).finish() for number in range(16, 30_000))
    tracemalloc.start()
    try:
        message = Message(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message.varint(16) == 0
    assert peak < 10_000


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_give_fields_or_a_refusal(data: bytes) -> None:
    try:
        fields = list(protobuf.fields(data))
    except DecodeError:
        with pytest.raises(DecodeError):
            Message(data)
        return
    kept = sum(len(field.value) for field in fields if isinstance(field.value, bytes))
    assert kept <= len(data)
    message = Message(data)
    for field in fields:
        if field.wire == protobuf.LENGTH and field.number <= protobuf.MAX_FIELD:
            assert field.value in message.repeated(field.number)
