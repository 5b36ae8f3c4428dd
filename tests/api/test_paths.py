"""Paths that callers name: what cannot be one is refused in a sentence, and not repeated."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.api.paths import MAX_PATH, absolute
from codex.errors import InvalidInput


def test_a_path_is_taken_as_it_is() -> None:
    assert absolute("/mnt/größe/copy") == Path("/mnt/größe/copy")
    assert absolute("/mnt/\udcff") == Path("/mnt/\udcff")  # bytes that are no UTF-8
    assert absolute("/" + "a" * (MAX_PATH - 1))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be absolute"),
        ("copy", "must be absolute"),
        ("/a\0b", "characters that no file's name can have"),
        ("/a\ud800", "characters that no file's name can have"),
        ("/" + "a" * MAX_PATH, "has 4097 bytes, and may have 4096"),
    ],
)
def test_what_is_none_is_told(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as raised:
        absolute(text)
    assert raised.value.remedy


@given(st.text(max_size=50))
def test_anything_is_a_path_or_refused_in_few_words(text: str) -> None:
    for word in (text, f"/{text}", f"/{text * 200}"):
        try:
            path = absolute(word)
        except InvalidInput as error:
            refused = error.message
        else:
            refused = ""
            assert path.is_absolute()
        assert len(refused) < 100
