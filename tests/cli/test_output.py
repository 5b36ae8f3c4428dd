"""What goes to the terminal: columns that fit, words that are harmless, times that can be read."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.cli.output import (
    Column,
    as_json,
    as_line,
    brief_time,
    cells,
    complaint,
    moment,
    printable,
    shortened,
    spent,
    table,
)
from codex.errors import CodexError


def test_printable_text_is_left_as_it_is() -> None:
    assert printable("naïve \N{SNOWMAN} 日本") == "naïve \N{SNOWMAN} 日本"
    assert printable("a\tb\x00\x7f\x9b") == "a\ufffdb\ufffd\ufffd\ufffd"


def test_an_error_says_what_to_do_as_a_sentence() -> None:
    assert complaint(CodexError("no room\n", remedy="make some")) == "error: no room\ufffd\n  Make some"
    assert complaint(CodexError("no room", remedy="`codex rm` makes some")).endswith(
        "  `codex rm` makes some"
    )
    assert complaint(CodexError("no room")) == "error: no room"


def test_json_keeps_letters_and_is_one_line_where_it_must() -> None:
    assert as_json({"a": ["日"]}) == '{\n  "a": [\n    "日"\n  ]\n}'
    assert as_line({"a": ["日\n"]}) == '{"a": ["日\\n"]}'


def test_json_can_be_printed_whatever_is_in_it() -> None:
    assert as_line({"file": os.fsdecode(b"\xff")}) == '{"file": "\\udcff"}'


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0:00"),
        (0.4, "0:00"),
        (42, "0:42"),
        (59.6, "1:00"),
        (725, "12:05"),
        (11045, "3:04:05"),
        (187200, "2d 04h"),
    ],
)
def test_times_to_go_are_brief(seconds: float, shown: str) -> None:
    assert brief_time(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-0.1, "0.00 s"), (0.416, "0.42 s"), (12.34, "12.3 s"), (60, "1:00"), (3600, "1:00:00")],
)
def test_times_that_it_took_have_fractions(seconds: float, shown: str) -> None:
    assert spent(seconds) == shown


def test_a_moment_is_shown_in_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert moment(86400.9) == "1970-01-02 09:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_places_in_a_line_are_counted_as_a_terminal_does() -> None:
    assert cells("abc") == 3
    assert cells("日本") == 4
    assert cells("e\N{COMBINING ACUTE ACCENT}") == 1


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab…ef"),
        ("abcdef", 4, "a…ef"),
        ("abcdef", 1, "…"),
        ("日本語文字", 7, "日…字"),
        ("日本語文字", 9, "日本…文字"),
    ],
)
def test_the_middle_is_left_out(text: str, width: int, shown: str) -> None:
    assert shortened(text, width) == shown


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=60), st.integers(1, 70))
def test_what_is_shortened_fits(text: str, width: int) -> None:
    shown = shortened(text, width)
    assert cells(shown) <= width
    assert shown == text or "…" in shown


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([Column(), Column(right=True)], [["a", "1"], ["bbb", "22"]]) == "a     1\nbbb  22"
    assert table([Column("日"), Column("B")], [["a", "1"]]) == "日  B\na   1"


def test_columns_are_left_out_and_shortened_where_they_may_be() -> None:
    columns = [Column("ID"), Column("NAME", least=4), Column("TYPE", least=0)]
    rows = [["whole", "some long name", "text/plain"]]
    assert table(columns, rows) == "ID     NAME            TYPE\nwhole  some long name  text/plain"
    assert table(columns, rows, 33) == table(columns, rows)
    assert table(columns, rows, 32) == "ID     NAME\nwhole  some long name"
    assert table(columns, rows, 16) == "ID     NAME\nwhole  some…name"
    assert table(columns, rows, 1) == "ID     NAME\nwhole  s…me"


WORDS = st.lists(st.text("ab日", max_size=30), min_size=3, max_size=3)


@given(st.lists(WORDS, min_size=1, max_size=5), st.integers(10, 100))
def test_a_table_that_can_fit_does(rows: list[list[str]], width: int) -> None:
    columns = [Column("A", least=2), Column("B", least=2, right=True), Column("C", least=0)]
    lines = table(columns, rows, width).split("\n")
    assert len(lines) == len(rows) + 1
    assert max(map(cells, lines)) <= width
