"""Who may call: the rule for the token."""

import pytest

from codex.api.access import UNAUTHORIZED, Access
from codex.api.cors import PREFIX

TOKEN = "0123456789abcdef"
SPACE = PREFIX + "/space"


@pytest.mark.parametrize("authorization", [[], ["Bearer x"], ["garbage"]])
def test_without_a_token_everybody_is_let_in(authorization: list[str]) -> None:
    access = Access()
    assert not access.guarded
    assert access.refuses("GET", SPACE, authorization) is None
    assert access.refuses_socket(authorization, []) is None


@pytest.mark.parametrize(
    "authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN}", f" Bearer {TOKEN} "]
)
def test_who_bears_the_token_is_let_in(authorization: str) -> None:
    access = Access(TOKEN)
    assert access.guarded
    assert access.refuses("GET", SPACE, [authorization]) is None
    assert access.refuses_socket([authorization], []) is None


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        ["Bearer"],
        ["Bearer "],
        [TOKEN],
        [f"Basic {TOKEN}"],
        [f"Bearer {TOKEN}x"],
        [f"Bearer {TOKEN[:-1]}"],
        [f"Bearer {TOKEN.upper()}"],
        [f"Bearer\t{TOKEN}"],
        [f"Bearer {TOKEN}", f"Bearer {TOKEN}"],
        ["Bearer \udcff\u2028"],
    ],
)
def test_everybody_else_is_not(authorization: list[str]) -> None:
    access = Access(TOKEN)
    assert access.refuses("GET", SPACE, authorization) is UNAUTHORIZED
    assert access.refuses_socket(authorization, []) is UNAUTHORIZED


def test_how_the_node_is_may_be_asked_by_anybody() -> None:
    access = Access(TOKEN)
    for path in ("/health", "/ready"):
        assert access.refuses("GET", PREFIX + path, []) is None
    assert access.refuses("OPTIONS", SPACE, []) is None
    for path in ("/health/", "/Health", "/health/x", "/healthy"):
        assert access.refuses("GET", PREFIX + path, []) is UNAUTHORIZED


@pytest.mark.parametrize(
    ("authorization", "tokens", "let_in"),
    [
        ([], [TOKEN], True),
        ([], ["x"], False),
        ([], [], False),
        ([], [TOKEN, TOKEN], False),
        (["Bearer x"], [TOKEN], False),
        ([f"Bearer {TOKEN}"], ["x"], True),
    ],
)
def test_a_websocket_may_name_the_token_in_its_query(
    authorization: list[str], tokens: list[str], let_in: bool
) -> None:
    said = Access(TOKEN).refuses_socket(authorization, tokens)
    assert (said is None) is let_in


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(Access(TOKEN))
    assert TOKEN not in repr(UNAUTHORIZED)
