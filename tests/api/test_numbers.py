"""Numbers in bodies, by the rules of the network's nodes, and without what ends those."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.api import numbers
from codex.errors import DecodeError

RANGE = "Parsed integer outside of valid range"


@pytest.mark.parametrize(
    ("body", "found"),
    [({}, 0), ({"n": 200}, 200), ({"n": "200"}, 200), ({"n": ""}, 0), ({"n": 2**64 - 1}, 2**64 - 1)],
)
def test_numbers_of_64_bits(body: dict[str, Any], found: int) -> None:
    assert numbers.uint64(body, "n") == found


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "deserialization to uint64 failed: expected {JInt, JString} but got JObject"),
        (None, "deserialization to uint64 failed: expected {JInt, JString} but got JNull"),
        (True, "deserialization to uint64 failed: expected {JInt, JString} but got JBool"),
        (1.5, "deserialization to uint64 failed: expected {JInt, JString} but got JFloat"),
        ([], "deserialization to uint64 failed: expected {JInt, JString} but got JArray"),
        ("abc", "invalid unsigned integer: abc"),
        ("0x10", "invalid unsigned integer: 0x10"),
        ("-1", RANGE),
        (-1, RANGE),
        (2**64, RANGE),
        (str(2**64), RANGE),
    ],
)
def test_what_is_no_number_of_64_bits(value: Any, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        numbers.uint64({"n": value}, "n")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("value", "found"),
    [("0x1f", 31), ("0o17", 15), ("0b101", 5), ("", 0), ("12", 12), (7, 7), (2**256 - 1, 2**256 - 1)],
)
def test_amounts(value: Any, found: int) -> None:
    assert numbers.uint256({"n": value}, "n") == found
    assert numbers.optional_uint256({"n": value}, "n") == (None if value == "" else found)


@pytest.mark.parametrize(
    "value", [2**256, str(2**256), "0x" + "f" * 65, "-1", -1, "0b2", "0o8", "0x", "0xg", "x", None, {}, "1_0"]
)
def test_what_is_no_amount(value: Any) -> None:
    with pytest.raises(DecodeError):
        numbers.uint256({"n": value}, "n")


@pytest.mark.parametrize("body", [{}, {"n": None}, {"n": ""}, {"n": "null"}])
def test_what_may_be_missing(body: dict[str, Any]) -> None:
    assert numbers.optional_uint64(body, "n") is None
    assert numbers.optional_uint256(body, "n") is None
    assert numbers.optional_bool(body, "n") is None


def test_flags_and_moments() -> None:
    assert numbers.optional_bool({"n": False}, "n") is False
    with pytest.raises(DecodeError, match=r"expected \{JBool\} but got JInt"):
        numbers.optional_bool({"n": 1}, "n")
    assert numbers.optional_moment({}, "n") is None
    assert numbers.optional_moment({"n": -1}, "n") == -1
    with pytest.raises(DecodeError) as caught:
        numbers.optional_moment({"n": "1"}, "n")
    assert caught.value.message == (
        "deserialization to SecondsSince1970 failed: expected {JInt} but got JString"
    )
    with pytest.raises(DecodeError, match=RANGE):
        numbers.optional_moment({"n": 2**63}, "n")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_anything_is_a_number_or_refused(value: Any) -> None:
    for read in (numbers.uint64, numbers.uint256, numbers.optional_uint64, numbers.optional_uint256):
        try:
            found = read({"n": value}, "n")
        except DecodeError:
            continue
        assert found is None or 0 <= found < 2**256
