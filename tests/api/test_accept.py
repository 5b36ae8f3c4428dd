"""What a caller would rather have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.api.accept import PROBLEM, wants_problem, weight


@pytest.mark.parametrize(
    ("accept", "media_type", "expected"),
    [
        ([], "text/plain", 1.0),
        (["text/plain"], "text/plain", 1.0),
        (["text/plain"], PROBLEM, 0.0),
        (["text/*;q=0.4, */*;q=0.1"], "text/plain", 0.4),
        (["*/*;q=0.9, text/plain;q=0.2"], "text/plain", 0.2),
        (["*/*;q=0.9", "text/plain; charset=utf-8; q=0.2"], "text/plain", 0.2),
        (["TEXT/Plain;Q=0.5"], "text/plain", 0.5),
        (["text/plain;q=1.000"], "text/plain", 1.0),
        (["text/plain;q=2"], "text/plain", 0.0),
        (["text/plain;q=-1"], "text/plain", 0.0),
        (["text/plain;q=nan"], "text/plain", 0.0),
        (["text/plain;q="], "text/plain", 0.0),
        ([""], "text/plain", 0.0),
        ([";;,,;"], "text/plain", 0.0),
    ],
)
def test_the_most_specific_range_decides(accept: list[str], media_type: str, expected: float) -> None:
    assert weight(accept, media_type) == expected


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ([], False),
        (["*/*"], False),
        ([PROBLEM], True),
        ([f"{PROBLEM}, application/json"], True),
        (["application/*"], True),
        (["application/json"], False),
        (["application/json, text/plain, */*"], False),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], False),
        ([f"{PROBLEM};q=0.5, text/plain;q=0.4"], True),
        ([f"{PROBLEM};q=0.4, text/plain;q=0.5"], False),
        ([f"{PROBLEM};q=0"], False),
        ([f"text/plain, {PROBLEM}"], True),
        ([f"{PROBLEM}, */*"], True),
        ([f"application/json, {PROBLEM}, text/plain, */*"], True),
        (["application/json, text/plain, */*", PROBLEM], True),
        ([f"{PROBLEM};q=0, text/plain;q=0"], False),
        ([f"{PROBLEM};q=0.8, */*"], False),
        ([f"*/*;q=0.1, {PROBLEM}"], True),
    ],
)
def test_problem_details_are_for_those_who_prefer_them(accept: list[str], wanted: bool) -> None:
    assert wants_problem(accept) is wanted


@given(st.lists(st.text(max_size=80), max_size=3))
def test_anything_may_stand_there(accept: list[str]) -> None:
    assert 0 <= weight(accept, PROBLEM) <= 1
