"""The few forms that a reply takes."""

import pytest

from codex.api.routes import as_json, as_text, nothing, parse_cid
from codex.errors import DecodeError


def test_json_is_compact_or_pretty() -> None:
    value = {"b": [1, "größe"], "a": None}
    assert as_json(value)[0] == '{"b":[1,"gr\\u00f6\\u00dfe"],"a":null}'
    assert as_json(value, pretty=True)[0].startswith('{\n  "b": [')
    assert as_json(value)[1:] == (200, {"Content-Type": "application/json"})
    assert as_json({}, 202, headers={"Location": "/x"}) == (
        "{}",
        202,
        {"Content-Type": "application/json", "Location": "/x"},
    )


def test_text_has_no_line_end() -> None:
    assert as_text("yes") == ("yes", 200, {"Content-Type": "text/plain"})


def test_nothing_is_no_html() -> None:
    assert nothing() == ("", 204, {"Content-Type": "text/plain"})
    assert nothing(200)[1] == 200


@pytest.mark.parametrize("text", ["", "z", "zDv", "<b>"])
def test_no_cid_is_refused_in_the_networks_words(text: str) -> None:
    with pytest.raises(DecodeError, match=r"^Incorrect Cid$"):
        parse_cid(text)
