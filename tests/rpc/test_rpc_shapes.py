"""What comes in is of the declared type, or refused with a sentence that says where and why."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from codex.api.rpc import params
from codex.api.rpc.faults import InvalidParams
from codex.api.rpc.shapes import MOST, Bounds, camel, structure
from codex.api.rpc.table import METHODS
from codex.codec import Cid
from codex.p2p import PeerId

CID = "zDvZRwzm1cD1ndrXQp3km8FnTzYNm6mSgmYNvy9UF42XUGKoFMzG"
PEER = "16Uiu2HAkuRrsmdWN5NzAPhZbzrX1uVThYpkX4A9fC8hMFh6xQy9w"


class Colour(StrEnum):
    """A word."""

    RED = "red"
    BLUE = "blue"


@frozen
class Everything:
    """One field of each type there is."""

    a_text: Annotated[str, "text"] = ""
    a_number: Annotated[int, "number"] = 0
    a_switch: Annotated[bool, "switch"] = False
    a_share: Annotated[int | None, "some", Bounds(1, 10)] = None
    a_word: Annotated[Colour | None, "word"] = None
    a_cid: Annotated[Cid | None, "cid"] = None
    a_peer: Annotated[PeerId | None, "peer"] = None
    a_path: Annotated[Path | None, "path"] = None
    an_id: Annotated[int | str, "id"] = 0
    some_words: Annotated[tuple[Colour, ...], "words"] = ()


@pytest.mark.parametrize(
    ("name", "given", "made"),
    [
        ("a_text", "\U0001f300 and more", "\U0001f300 and more"),
        ("a_number", -5, -5),
        ("a_number", 1 << 80, 1 << 80),
        ("a_switch", True, True),
        ("a_share", 1, 1),
        ("a_share", 10, 10),
        ("a_share", None, None),
        ("a_word", "blue", Colour.BLUE),
        ("a_word", None, None),
        ("a_cid", CID, Cid.parse(CID)),
        ("a_peer", PEER, PeerId.parse(PEER)),
        ("a_path", "/srv/copy", Path("/srv/copy")),
        ("an_id", 7, 7),
        ("an_id", "seven", "seven"),
        ("some_words", ["red", "blue", "red"], (Colour.RED, Colour.BLUE, Colour.RED)),
        ("some_words", [], ()),
    ],
)
def test_what_fits_is_made(name: str, given: object, made: object) -> None:
    assert getattr(structure(Everything, {camel(name): given}), name) == made


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"aText": 5}, "params.aText must be a text"),
        ({"aText": "\ud800 and more"}, "params.aText has half a character (a lone surrogate) in it"),
        ({"aPath": "/a\ud800"}, "params.aPath has half a character (a lone surrogate) in it"),
        ({"aText": None}, "params.aText must be a text"),
        ({"aNumber": "5"}, "params.aNumber must be a whole number"),
        ({"aNumber": True}, "params.aNumber must be a whole number"),
        ({"aNumber": 5.0}, "params.aNumber must be a whole number"),
        ({"aSwitch": 1}, "params.aSwitch must be true or false"),
        ({"aSwitch": "true"}, "params.aSwitch must be true or false"),
        ({"aShare": 0}, "params.aShare must be from 1 to 10"),
        ({"aShare": 11}, "params.aShare must be from 1 to 10"),
        ({"aShare": "3"}, "params.aShare must be a whole number"),
        ({"aWord": "green"}, "params.aWord must be one of red, blue"),
        ({"aWord": ["red"]}, "params.aWord must be one of red, blue"),
        ({"aCid": "zDv"}, "params.aCid cannot be used: Incorrect Cid"),
        ({"aCid": 3}, "params.aCid must be the text of a CID"),
        ({"aPeer": {}}, "params.aPeer must be the text of a peer id"),
        ({"aPath": "copy"}, "params.aPath must be an absolute path"),
        ({"aPath": "/a\0b"}, "params.aPath must be an absolute path"),
        ({"aPath": "/" + "a" * 4096}, "params.aPath must have at most 4096 bytes"),
        ({"aPath": 1}, "params.aPath must be an absolute path"),
        ({"anId": 1.5}, "params.anId must be a text or a whole number"),
        ({"anId": False}, "params.anId must be a text or a whole number"),
        ({"someWords": "red"}, "params.someWords must be an array"),
        ({"someWords": {"red": 1}}, "params.someWords must be an array"),
        ({"someWords": ["red", "green"]}, "params.someWords[1] must be one of red, blue"),
        ({"someWords": ["red"] * 65}, "params.someWords must have at most 64 items"),
        ({"a_text": "x"}, "params has no 'a_text'"),
        ({"zebra": 1, "ant": 2}, "params has no 'ant', 'zebra'"),
        ("x", "params must be an object or an array"),
        (None, "params must be an object or an array"),
        (5, "params must be an object or an array"),
        ([""] * 11, "params: there are at most 10, not 11"),
        (["x", "y"], "params.aNumber must be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(given: object, why: str) -> None:
    with pytest.raises(InvalidParams) as raised:
        structure(Everything, given)
    assert str(raised.value) == why


def test_a_refused_peer_id_says_why() -> None:
    with pytest.raises(InvalidParams, match=r"params\.aPeer cannot be used: \w+"):
        structure(Everything, {"aPeer": "nobody"})


def test_what_is_needed_must_be_there() -> None:
    with pytest.raises(InvalidParams, match=r"^params\.cid is missing$"):
        structure(params.Dataset, {})
    with pytest.raises(InvalidParams, match=r"^params\.cid is missing; params\.duration is missing; "):
        structure(params.StorageRequest, {})


def test_three_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidParams) as raised:
        structure(Everything, {"aText": 1, "aNumber": "", "aSwitch": 0, "aWord": 0})
    assert str(raised.value).count(";") == 2


def test_a_long_name_is_not_echoed() -> None:
    with pytest.raises(InvalidParams) as raised:
        structure(Everything, {"x" * 100_000: 1})
    assert len(str(raised.value)) < 100


def test_an_array_gives_the_fields_in_their_order() -> None:
    made = structure(params.Retrieve, [CID, 5, None, True])
    assert (str(made.cid), made.offset, made.length, made.local) == (CID, 5, None, True)


def test_numbers_have_their_bounds_where_nothing_is_said() -> None:
    with pytest.raises(InvalidParams, match="must be from 0 to"):
        structure(params.Retrieve, {"cid": CID, "offset": -1})
    with pytest.raises(InvalidParams, match="must be from 0 to"):
        structure(params.Store, {"size": MOST + 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KINDS = sorted({method.takes for method in METHODS.values()}, key=lambda kind: kind.__name__)


@given(st.sampled_from(KINDS), st.data())
def test_whatever_comes_is_made_or_refused(kind: Any, data: st.DataObject) -> None:
    names = [camel(field.name) for field in kind.__attrs_attrs__]
    named = st.dictionaries(st.sampled_from(names), JSON) if names else st.just({})
    value = data.draw(JSON | named | st.lists(JSON, max_size=len(names)))
    try:
        made = structure(kind, value)
    except InvalidParams as error:
        made, why = None, str(error)
    assert isinstance(made, kind) if made is not None else why.startswith("params")
