"""JSON bodies: what can be read is, what cannot is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.api.bodies import count, read_object, text
from codex.errors import CodexError, DecodeError, InvalidInput

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5))
def test_an_object_is_read(value: dict[str, object]) -> None:
    assert read_object(json.dumps(value).encode()) == value
    assert read_object(b"\xef\xbb\xbf" + json.dumps(value, ensure_ascii=False).encode("utf-8")) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"{'a': 1}", "no JSON"),
        (b'{"a": 1} x', "no JSON"),
        (b'{"a": NaN}', "no JSON"),
        (b'{"a": -Infinity}', "no JSON"),
        (b'{"a": "\xff"}', "no JSON"),
        ('{"a": 1}'.encode("utf-16"), "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b'{"a":' * 100_000, "no JSON"),
        (b"[]", "a list"),
        (b'"x"', "text"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"true", "true or false"),
        (b"null", "null"),
    ],
)
def test_anything_else_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        read_object(body)


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_an_object_or_a_refusal(body: bytes) -> None:
    try:
        found = read_object(body)
    except DecodeError:
        return
    assert found == json.loads(body)


def test_text_is_taken_out() -> None:
    assert text({"path": "/tmp/größe", "more": 1}, "path") == "/tmp/größe"


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ({}, InvalidInput, "'path' is missing"),
        ({"path": ""}, InvalidInput, "'path' is missing"),
        ({"path": None}, InvalidInput, "'path' is missing"),
        ({"Path": "/"}, InvalidInput, "'path' is missing"),
        ({"path": 5}, DecodeError, "'path' must be text, and not a number"),
        ({"path": ["/"]}, DecodeError, "a list"),
        ({"path": {}}, DecodeError, "an object"),
        ({"path": True}, DecodeError, "true or false"),
    ],
)
def test_what_is_no_text_is_refused(body: dict[str, object], error: type[CodexError], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        text(body, "path")
    assert type(caught.value) is error


@pytest.mark.parametrize("value", [1, 2, 65536, 10**30])
def test_a_count_is_taken_out(value: int) -> None:
    assert count({"data": value, "more": 0}, "data") == value


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (None, InvalidInput, "missing"),
        (0, InvalidInput, "1 at least"),
        (-5, InvalidInput, "1 at least"),
        (True, DecodeError, "true or false"),
        (1.0, DecodeError, "a fraction"),
        ("1", DecodeError, "text"),
        ([1], DecodeError, "a list"),
        ({}, DecodeError, "an object"),
    ],
)
def test_what_is_no_count_is_refused(value: object, kind: type[CodexError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        count({"data": value}, "data")
    assert type(caught.value) is kind
