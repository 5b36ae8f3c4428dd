"""Parts and conditions of a download, as headers say them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codex.api.ranges import Part, Unsatisfiable, is_known, part, still_holds

TAG = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=3-5", 3, 5),
        ("bytes=3-", 3, 9),
        ("bytes=9-", 9, 9),
        ("bytes=0-", 0, 9),
        ("bytes=5-100", 5, 9),
        ("bytes=-1", 9, 9),
        ("bytes=-10", 0, 9),
        ("bytes=-11", 0, 9),
        ("bytes=0000000000000000000000002-3", 2, 3),
        ("bytes=2-99999999999999999999999999", 2, 9),
        ("bytes=-99999999999999999999999999", 0, 9),
        ("Bytes=1-2", 1, 2),
        (" bytes= 1-2 ", 1, 2),
    ],
)
def test_one_range_is_a_part(header: str, first: int, last: int) -> None:
    found = part([header], 10)
    assert found == Part(first, last - first + 1, 10)
    assert found.content_range == f"bytes {first}-{last}/10"


@pytest.mark.parametrize(
    "header",
    ["bytes=10-", "bytes=10-20", "bytes=99999999999999999999-", "bytes=-0", "bytes=" + "9" * 5000 + "-"],
)
def test_a_range_behind_the_end_cannot_be(header: str) -> None:
    with pytest.raises(Unsatisfiable) as caught:
        part([header], 10)
    assert caught.value.total == 10


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_nothing_has_no_parts(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        part([header], 0)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["bytes"],
        ["bytes="],
        ["bytes=-"],
        ["bytes=a-b"],
        ["bytes=1"],
        ["bytes=5-3"],
        ["bytes=0-1,3-4"],
        ["bytes=0-1", "bytes=3-4"],
        ["bytes=0-1", "bytes=0-1"],
        ["items=0-1"],
        ["bytes=--1"],
        ["bytes=+1-2"],
        ["bytes=0x1-2"],
        ["bytes=1.0-2"],
        ["bytes=١-٢"],
        ["bytes=1 - 2"],
        ["bytes=1_0-20"],
    ],
)
def test_everything_else_is_passed_over(headers: list[str]) -> None:
    assert part(headers, 10) is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 50))
def test_a_part_is_what_slicing_gives(first: int, last: int, total: int) -> None:
    content = bytes(range(total))
    try:
        found = part([f"bytes={first}-{last}"], total)
    except Unsatisfiable:
        assert content[first : last + 1] == b""
        return
    if last < first:
        assert found is None
        return
    assert found is not None
    assert content[found.offset : found.offset + found.length] == content[first : last + 1]


@given(st.integers(0, 60), st.integers(1, 50))
def test_a_suffix_is_what_slicing_gives(count: int, total: int) -> None:
    content = bytes(range(total))
    try:
        found = part([f"bytes=-{count}"], total)
    except Unsatisfiable:
        assert count == 0
        return
    assert found is not None
    assert content[found.offset : found.offset + found.length] == content[-count:]


@given(
    st.text(max_size=60) | st.text("bytes=-0123456789, ", max_size=30).map("bytes={}".format),
    st.integers(0, 99),
)
@example("bytes=-" + "0" * 8000, 5)
def test_whatever_is_asked_for_lies_within(header: str, total: int) -> None:
    try:
        found = part([header], total)
    except Unsatisfiable:
        return
    if found is not None:
        assert 0 <= found.offset < found.offset + found.length <= total


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([], False),
        ([f'"{TAG}"'], True),
        ([f'W/"{TAG}"'], True),
        ([f'"a", "{TAG}"'], True),
        (['"a"', f'"{TAG}"'], True),
        (["*"], True),
        ([" * "], True),
        ([TAG], False),
        (['"a"'], False),
        ([f'"{TAG}x"'], False),
        ([""], False),
        (['"'], False),
    ],
)
def test_what_is_known_need_not_be_sent(headers: list[str], known: bool) -> None:
    assert is_known(headers, TAG) is known


@pytest.mark.parametrize(
    ("headers", "holds"),
    [
        ([], True),
        ([f'"{TAG}"'], True),
        ([f'W/"{TAG}"'], False),
        (['"a"'], False),
        (["Wed, 21 Oct 2015 07:28:00 GMT"], False),
        ([f'"{TAG}"', '"a"'], False),
        ([""], False),
    ],
)
def test_a_part_is_sent_only_of_what_is_meant(headers: list[str], holds: bool) -> None:
    assert still_holds(headers, TAG) is holds
