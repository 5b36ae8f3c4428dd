"""Ids: their text, and slots' names after known values."""

from collections.abc import Callable
from typing import Any

import pytest

from codex.errors import DecodeError
from codex.market import Address, RequestId, SlotId
from codex.market.ids import NOBODY, keccak256

Vectors = Callable[[str], Any]


def test_slot_ids_are_as_on_the_chain(vectors: Vectors) -> None:
    rows = vectors("contracts_abi")["ids"]["vectors"]
    pairs = [(row["request_id_hex"], slot) for row in rows for slot in row["slot_ids"]]
    assert len(pairs) > 4
    for request, slot in pairs:
        assert SlotId.of(RequestId.parse(request), slot["index"]).hex == slot["slot_id_hex"]


def test_the_hash_of_nothing() -> None:
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_an_id_is_read_with_0x_or_without_and_written_with_it() -> None:
    digits = "ab" * 32
    assert RequestId.parse(digits) == RequestId.parse("0x" + digits.upper()) == RequestId(b"\xab" * 32)
    assert str(RequestId.parse(digits)) == "0x" + digits
    assert RequestId.parse(digits).hex == digits
    assert repr(Address(bytes(20))) == f"Address(0x{'00' * 20})"


@pytest.mark.parametrize(
    "text", ["", "0x", "ab" * 31, "ab" * 33, "xy" * 32, "0X" + "ab" * 32, " " + "ab" * 32]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(DecodeError) as caught:
        RequestId.parse(text)
    assert "64 hexadecimal digits" in caught.value.remedy


def test_the_wrong_number_of_bytes_is_refused() -> None:
    with pytest.raises(DecodeError, match="a slot id has 32 bytes, and not 20"):
        SlotId(bytes(20))
    with pytest.raises(DecodeError, match="64 bits"):
        SlotId.of(RequestId(bytes(32)), 2**64)


def test_ids_of_different_things_are_never_equal() -> None:
    assert len({RequestId(bytes(32)), SlotId(bytes(32)), RequestId(bytes(32))}) == 2


def test_nobody_is_the_zero_address() -> None:
    assert NOBODY.is_none
    assert not Address(b"\x01" * 20).is_none


def test_validators_share_slots_by_the_first_bytes() -> None:
    slot = SlotId(bytes.fromhex("0000000000000007") + bytes(24))
    assert slot.group(2) == 1
    assert slot.group(7) == 0
