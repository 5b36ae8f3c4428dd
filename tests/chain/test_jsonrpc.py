"""Messages of JSON-RPC: what is sent, and what foreign ones are taken for."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.chain.jsonrpc import Push, Reply, data, hexed, number, parse, quantity, request, shown
from codex.errors import DecodeError


def test_a_call_as_text() -> None:
    assert json.loads(request(7, "eth_call", ({"to": "0x1"}, "latest"))) == {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "eth_call",
        "params": [{"to": "0x1"}, "latest"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"jsonrpc":"2.0","id":1,"result":null}', Reply(1, None, None)),
        ('{"id":1,"result":"0x1","error":null}', Reply(1, "0x1", None)),
        ('{"id":2,"error":{"code":3,"message":"no","data":"0x"}}', Reply(2, None, (3, "no", "0x"))),
        ('{"id":2,"error":"broken"}', Reply(2, None, (0, "broken", "broken"))),
        (
            '{"method":"eth_subscription","params":{"subscription":"0x9","result":{"a":1}}}',
            Push("0x9", {"a": 1}),
        ),
        ('{"id":null,"error":{"code":-32700,"message":"parse error"}}', None),
    ],
)
def test_what_a_provider_says(text: str, message: Reply | Push | None) -> None:
    assert parse(text) == message
    assert parse(text.encode()) == message


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"id":1}', '{"id":"x","result":1}', "[" * 100_000])
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="the provider sent what is"):
        parse(text)


@given(st.binary(max_size=200))
def test_anything_is_a_message_or_refused(raw: bytes) -> None:
    with suppress(DecodeError):
        assert isinstance(parse(raw), Reply | Push | None)


@given(st.integers(0, 2**256 - 1))
def test_numbers_come_back(value: int) -> None:
    assert number(quantity(value), "x") == value


@pytest.mark.parametrize("value", ["0x", "12", "0xg", 12, None, "0x" + "1" * 65, "-0x1"])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(DecodeError, match="no number as a balance"):
        number(value, "a balance")


def test_bytes_come_back_and_may_be_of_one_length_only() -> None:
    assert data(hexed(b"ab"), "x") == b"ab"
    assert data("0x", "x") == b""
    assert data("0x" + "00" * 20, "x", 20) == bytes(20)
    for wrong in ("0x1", "00", 5, None):
        with pytest.raises(DecodeError, match="no bytes as a hash"):
            data(wrong, "a hash")
    with pytest.raises(DecodeError):
        data("0x00", "a hash", 32)


def test_foreign_words_are_cut_short() -> None:
    assert len(shown("x" * 10_000)) < 200
    assert shown({"a": 1}) == "{'a': 1}"
