"""Varints: one encoding out, any of up to ten bytes in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import varint
from codex.errors import DecodeError

_UINT64 = st.integers(0, varint.MAX_VALUE)


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (0xCD02, "829a03"),
        (2**63, "80808080808080808001"),
        (2**64 - 1, "ffffffffffffffffff01"),
    ],
)
def test_known_numbers(number: int, encoded: str) -> None:
    assert varint.encode(number).hex() == encoded
    assert varint.decode(bytes.fromhex(encoded)) == (number, len(encoded) // 2)


@settings(deadline=None)
@given(_UINT64, st.binary(max_size=5), st.binary(max_size=5))
def test_a_number_reads_back_from_its_place(number: int, before: bytes, after: bytes) -> None:
    encoded = varint.encode(number)
    for data in (before + encoded + after, memoryview(before + encoded + after)):
        for minimal in (False, True):
            assert varint.decode(data, len(before), minimal=minimal) == (number, len(before) + len(encoded))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_out_of_range_is_not_written(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        varint.encode(number)


def test_a_longer_form_is_read_unless_the_shortest_is_asked_for() -> None:
    assert varint.decode(b"\x81\x00") == (1, 2)
    assert varint.decode(b"\x80" * 9 + b"\x00") == (0, 10)
    with pytest.raises(DecodeError, match="longer than it need be"):
        varint.decode(b"\x81\x00", minimal=True)
    # A zero at the very beginning is the number zero, and as short as can be.
    assert varint.decode(b"\x81\x00", 1, minimal=True) == (0, 2)


@pytest.mark.parametrize("data", ["", "80", "ff" * 9])
def test_data_that_ends_early_is_refused(data: str) -> None:
    with pytest.raises(DecodeError, match="ends inside"):
        varint.decode(bytes.fromhex(data))


@pytest.mark.parametrize("data", ["ff" * 9 + "02", "80" * 10, "ff" * 1000, "80" * 10 + "01"])
def test_more_than_64_bits_are_refused(data: str) -> None:
    with pytest.raises(DecodeError, match="64 bits"):
        varint.decode(bytes.fromhex(data))


def test_an_offset_behind_the_end_is_refused() -> None:
    with pytest.raises(DecodeError):
        varint.decode(b"\x01", 1)
    with pytest.raises(DecodeError):
        varint.decode(b"\x01", 5)


@settings(deadline=None)
@given(st.binary(max_size=24), st.booleans())
def test_any_bytes_give_a_number_or_a_refusal(data: bytes, minimal: bool) -> None:
    try:
        number, end = varint.decode(data, minimal=minimal)
    except DecodeError:
        return
    assert 0 <= number <= varint.MAX_VALUE
    assert 0 < end <= min(len(data), varint.MAX_BYTES)
    if minimal:
        assert varint.encode(number) == data[:end]
