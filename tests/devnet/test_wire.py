from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.devnet.errors import INVALID_PARAMS, Refused
from codex.devnet.values import GAS_LIMIT, Filter, Message
from codex.devnet.wire import (
    data,
    quantity,
    read_address,
    read_data,
    read_filter,
    read_hash,
    read_message,
    read_quantity,
)

ADDRESS, HASH = "0x" + "ab" * 20, "0x" + "cd" * 32


def test_numbers_and_bytes_are_written_as_json_rpc_has_them() -> None:
    assert [quantity(number) for number in (0, 10, 256)] == ["0x0", "0xa", "0x100"]
    assert [data(value) for value in (b"", b"\0\x0a")] == ["0x", "0x000a"]


@given(st.integers(0, 2**256 - 1))
def test_numbers_are_read_as_they_are_written(number: int) -> None:
    assert read_quantity(quantity(number)) == number


@given(st.binary(max_size=100))
def test_bytes_are_read_as_they_are_written(value: bytes) -> None:
    assert read_data(data(value)) == value


def test_numbers_are_taken_as_tools_for_development_send_them() -> None:
    assert [read_quantity(given) for given in (7, "0x07", "0xFf")] == [7, 7, 255]


@pytest.mark.parametrize(
    "given", ["", "0x", "7", "0xg", "-0x1", -1, 1.5, True, None, [], {}, "0x" + "1" * 65]
)
def test_what_is_no_number_is_refused(given: Any) -> None:
    with pytest.raises(Refused) as refused:
        read_quantity(given)
    assert refused.value.code == INVALID_PARAMS


@pytest.mark.parametrize("given", ["", "00", "0x0", "0xzz", 0, None, b"", ["0x"]])
def test_what_are_no_bytes_is_refused(given: Any) -> None:
    with pytest.raises(Refused):
        read_data(given)


@pytest.mark.parametrize("read", [read_address, read_hash])
@pytest.mark.parametrize("given", ["0x", "0x" + "00" * 31, None, 5])
def test_names_have_a_length(read: Any, given: Any) -> None:
    with pytest.raises(Refused):
        read(given)


def test_what_is_asked_is_said_in_the_form_of_a_message() -> None:
    given = {"from": ADDRESS, "to": ADDRESS, "data": "0x01", "value": "0x2", "gas": "0x3"}
    account = read_address(ADDRESS)
    assert read_message(given, GAS_LIMIT) == Message(account, account, b"\1", value=2, gas=3)
    assert read_message({"input": "0x02", "data": "0x02"}, 9) == Message(bytes(20), None, b"\2", gas=9)
    assert read_message({"to": None, "gas": "0xffffff"}, 9) == Message(bytes(20), None, gas=9)
    for wrong in (None, [], {"to": "0x01"}, {"data": 5}, {"value": "x"}):
        with pytest.raises(Refused):
            read_message(wrong, 9)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, Filter()),
        ({"address": ADDRESS}, Filter(frozenset([read_address(ADDRESS)]))),
        ({"address": [ADDRESS, ADDRESS]}, Filter(frozenset([read_address(ADDRESS)]))),
        ({"address": [], "topics": []}, Filter()),
        ({"topics": None}, Filter()),
        (
            {"topics": [HASH, None, [HASH], []]},
            Filter(
                topics=(
                    frozenset([read_hash(HASH)]),
                    frozenset(),
                    frozenset([read_hash(HASH)]),
                    frozenset(),
                )
            ),
        ),
        ({"topics": [[HASH, None]]}, Filter(topics=(frozenset(),))),
    ],
)
def test_filters_are_read_in_all_their_forms(given: Any, wanted: Filter) -> None:
    assert read_filter(given) == wanted


@pytest.mark.parametrize(
    "given", [None, [], {"address": 5}, {"address": "0x"}, {"topics": HASH}, {"topics": ["0x00"]}]
)
def test_what_is_no_filter_is_refused(given: Any) -> None:
    with pytest.raises(Refused):
        read_filter(given)
