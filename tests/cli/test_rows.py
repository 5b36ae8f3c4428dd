"""Rows for reading: how many, which are damaged, what may still go and what is lost."""

from typing import Any

import pytest

from codex.cli import rows


def row(number: int, kind: str, present: int, missing: int = 0, corrupt: int = 0) -> dict[str, Any]:
    return {"row": number, "kind": kind, "present": present, "missing": missing, "corrupt": corrupt}


WHOLE: dict[str, Any] = {
    "data": 2,
    "parity": 1,
    "rows": [row(0, "data", 500), row(1, "data", 500), row(2, "parity", 500)],
    "spare": 1,
    "lostBytes": 0,
    "lost": [],
}


def test_whole_rows_are_a_table() -> None:
    assert rows.told(WHOLE) == [
        "  ROW  KIND    PRESENT  MISSING  CORRUPT",
        "    0  data        500        0        0",
        "    1  data        500        0        0",
        "    2  parity      500        0        0",
        "  any one more row may be lost",
    ]
    assert rows.repairable(WHOLE)


def test_a_result_without_rows_says_nothing_of_them() -> None:
    assert rows.told({"sound": True}) == []
    assert not rows.repairable({"sound": True})


def test_what_may_still_go_is_told() -> None:
    assert rows.told({**WHOLE, "spare": 2})[-1] == "  any 2 more of its rows may be lost"
    holed = {**WHOLE, "spare": 0, "rows": [row(0, "data", 0, 499, 1), *WHOLE["rows"][1:]]}
    assert rows.told(holed)[-4:] == [
        "    0  data          0      499        1",
        "    1  data        500        0        0",
        "    2  parity      500        0        0",
        "  no more row may be lost",
    ]
    assert rows.repairable(holed)


def test_what_is_lost_is_told_in_bytes_and_cannot_be_repaired() -> None:
    lost = [{"offset": 1024 * n, "size": 512} for n in range(25)]
    found = {**WHOLE, "spare": 0, "lostBytes": 25 * 512, "lost": lost}
    said = rows.told(found)
    assert said[4:6] == [
        "  12.5 KiB cannot be recovered from what is here:",
        "  lost     bytes 0 to 511",
    ]
    assert said[-1] == "  lost     and 5 more parts"
    assert not rows.repairable(found)


def test_of_many_rows_the_damaged_ones_are_told_first() -> None:
    many = [row(n, "data" if n < 30 else "parity", 5 - (n == 33), int(n == 33)) for n in range(40)]
    said = rows.told({**WHOLE, "data": 30, "parity": 10, "rows": many, "spare": 9})
    assert said[1].split() == ["33", "parity", "4", "1", "0"]
    assert said[-2:] == ["  and 20 more rows", "  any 9 more of its rows may be lost"]


@pytest.mark.parametrize("what", ["data", "spare", "lostBytes", "lost"])
def test_a_result_that_no_node_tells_is_seen(what: str) -> None:
    found = {key: value for key, value in {**WHOLE, "lostBytes": 5}.items() if key != what}
    with pytest.raises((KeyError, TypeError, ValueError)):
        rows.told(found)


def test_nothing_of_it_moves_the_cursor() -> None:
    assert "\x1b" not in "".join(rows.told({**WHOLE, "rows": [row(0, "da\x1b[2Jta", 1)]}))
