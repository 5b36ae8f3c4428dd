"""From a text to requests, and back: what the specification says, and whatever else a client may send."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.api.rpc import dispatch
from codex.api.rpc.dispatch import Batch, Refused, Request, failure, read
from codex.api.rpc.faults import INTERNAL, INVALID_REQUEST, NO_JSON, NUMBERS
from codex.api.rpc.limits import MAX_MESSAGE, MAX_REQUESTS
from codex.api.rpc.params import Nothing, Page
from codex.api.rpc.table import METHODS


def one(**members: Any) -> str:
    """A request as text."""
    return json.dumps({"jsonrpc": "2.0", **members})


def number(asked: Request | Refused | Batch) -> int:
    """The error that something is refused with."""
    assert isinstance(asked, Refused)
    return asked.fault.number


def test_a_request_is_read() -> None:
    asked = read(one(id=7, method="space"))
    assert asked == Request(7, METHODS["space"], Nothing(), reply=True)


def test_params_are_made_into_what_the_method_takes() -> None:
    asked = read(one(id="a", method="iterateManifests", params={"limit": 5}))
    assert asked == Request("a", METHODS["iterateManifests"], Page(limit=5), reply=True)


@pytest.mark.parametrize("id", [0, -1, 1 << 100, "", "\ud800", "x" * 1000, None])
def test_any_text_or_number_is_an_id_and_null_too(id: Any) -> None:
    asked = read(one(id=id, method="space"))
    assert isinstance(asked, Request)
    assert (asked.id, asked.reply) == (id, True)
    assert json.loads(dispatch.result(asked.id, {}))["id"] == id


def test_without_an_id_nothing_is_owed() -> None:
    for text in (one(method="space"), one(method="nothing"), one(method="exists")):
        asked = read(text)
        assert isinstance(asked, Request | Refused)
        assert not asked.reply


@pytest.mark.parametrize("id", [True, False, [], {}, [1]])
def test_other_ids_are_refused(id: Any) -> None:
    asked = read(one(id=id, method="space"))
    assert number(asked) == -32600
    assert (asked.id, asked.reply) == (None, True)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "nonsense",
        '{"jsonrpc": "2.0", "id": 1, "method": "space"',
        '{"jsonrpc": "2.0", "id": NaN, "method": "space"}',
        '{"jsonrpc": "2.0", "id": 1, "method": "space", "params": [Infinity]}',
        "[1,]",
        "1" * 5000,
        "\0",
        "\ufeff{}",
        "[" * 100_000,
        '{"a":' * 40_000,
        "[" * 50_000 + "]" * 50_000,
    ],
)
def test_what_is_no_json_is_told_so(text: str) -> None:
    assert read(text) == Refused(None, NO_JSON, True)


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "null",
        "true",
        '"space"',
        "{}",
        "[]",
        '{"jsonrpc": "2.0"}',
        '{"jsonrpc": "1.0", "id": 1, "method": "space"}',
        '{"jsonrpc": 2.0, "id": 1, "method": "space"}',
        '{"id": 1, "method": "space"}',
        '{"jsonrpc": "2.0", "id": 1, "method": 5}',
        '{"jsonrpc": "2.0", "id": 1, "method": null}',
    ],
)
def test_what_is_no_request_is_told_so(text: str) -> None:
    asked = read(text)
    assert number(asked) == -32600
    assert asked.reply  # type: ignore[union-attr]


def test_an_invalid_request_keeps_its_id() -> None:
    asked = read('{"id": "seven", "method": "space"}')
    assert isinstance(asked, Refused)
    assert asked.id == "seven"


def test_an_unknown_method_is_told_so_and_not_echoed_at_length() -> None:
    asked = read(one(id=1, method="x" * 10_000))
    assert isinstance(asked, Refused)
    assert asked.fault.number == -32601
    assert len(asked.fault.problem.message) < 100


@pytest.mark.parametrize("params", [5, "x", None, True])
def test_params_are_an_object_or_an_array(params: Any) -> None:
    assert number(read(one(id=1, method="space", params=params))) == -32602


def test_members_that_nobody_knows_are_no_matter() -> None:
    assert isinstance(read(one(id=1, method="space", more="x")), Request)


def test_a_batch_is_read_entry_by_entry() -> None:
    asked = read(f"[{one(id=1, method='space')}, 1, {one(method='space')}, {one(id=2, method='x')}]")
    assert isinstance(asked, Batch)
    kinds = [(type(entry), entry.id, entry.reply) for entry in asked.entries]
    assert kinds == [
        (Request, 1, True),
        (Refused, None, True),
        (Request, None, False),
        (Refused, 2, True),
    ]


def test_a_batch_in_a_batch_is_no_request() -> None:
    asked = read(f"[[{one(id=1, method='space')}]]")
    assert isinstance(asked, Batch)
    assert number(asked.entries[0]) == -32600


def test_a_batch_has_a_length() -> None:
    assert isinstance(read(f"[{','.join(['1'] * MAX_REQUESTS)}]"), Batch)
    assert number(read(f"[{','.join(['1'] * (MAX_REQUESTS + 1))}]")) == -32600


def test_replies_are_ascii_and_say_what_they_are() -> None:
    assert json.loads(dispatch.result(1, {"a": None})) == {"jsonrpc": "2.0", "id": 1, "result": {"a": None}}
    failed = json.loads(dispatch.failure("\ud800é", INTERNAL))
    assert failed["id"] == "\ud800é"
    assert failed["error"]["data"]["code"] == "internal"
    assert dispatch.failure("\ud800é", INTERNAL).isascii()
    told = json.loads(dispatch.notification("lagged", {"missed": 1}))
    assert told == {"jsonrpc": "2.0", "method": "lagged", "params": {"missed": 1}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "id": st.integers() | JSON,
        "method": st.sampled_from(list(METHODS)) | JSON,
        "params": JSON,
    },
)


@given(
    st.text() | JSON.map(json.dumps) | NEARLY.map(json.dumps) | st.lists(NEARLY, max_size=6).map(json.dumps)
)
def test_every_text_is_a_request_or_refused_and_can_be_answered(text: str) -> None:
    asked = read(text)
    for entry in asked.entries if isinstance(asked, Batch) else (asked,):
        if isinstance(entry, Refused):
            assert entry.fault.number in NUMBERS
            assert len(dispatch.failure(entry.id, entry.fault)) <= 7 * len(text) + 1000
        else:
            assert isinstance(entry.params, entry.method.takes)


@pytest.mark.parametrize("unit", ["[]", "{}", '"\\u0000"', "0", '{"jsonrpc":"2.0","method":"space"}'])
def test_the_longest_message_is_read(unit: str) -> None:
    text = f"[{','.join([unit] * (MAX_MESSAGE // (len(unit) + 1) - 1))}]"
    assert number(read(text)) == -32600


@pytest.mark.parametrize("id", ["1.5", "1.0", "1e999", "-1e999", "1e3", "true", "[]", "{}"])
def test_an_id_that_could_not_be_told_back_is_refused(id: str) -> None:
    refused = read(f'{{"jsonrpc":"2.0","id":{id},"method":"space"}}')
    assert isinstance(refused, Refused)
    assert (refused.id, refused.reply, refused.fault.number) == (None, True, INVALID_REQUEST)
    assert json.loads(failure(refused.id, refused.fault), parse_constant=pytest.fail)["id"] is None


def test_who_asks_for_a_method_that_is_none_is_told_which_there_are() -> None:
    refused = read('{"jsonrpc":"2.0","id":1,"method":"nonsense"}')
    assert isinstance(refused, Refused)
    assert all(name in refused.fault.problem.remedy for name in METHODS)
