"""The demo as it looks: lines, a table that stays, JSON."""

import json

import pytest

from codex.cli.demo_screen import JsonScreen, LiveScreen, PlainScreen, slots_table
from codex.devnet.demo import Began, Happening, Ledger, Said, Slots
from codex.devnet.demo_ledger import Line
from codex.devnet.demo_watch import SlotRow
from codex.market import Address, SlotState

FREE = SlotRow(0, SlotState.FREE, "", 0, 0, 0)
HELD = SlotRow(0, SlotState.FILLED, "host-1", 1, 0, 1000)
PROVED = SlotRow(0, SlotState.FILLED, "host-1", 2, 0, 1000)
MISSED = SlotRow(0, SlotState.FILLED, "host-1", 2, 1, 800)
LOST = SlotRow(0, SlotState.REPAIR, "", 2, 0, 0)
STORY: tuple[Happening, ...] = (
    Began("sell", "Each host offers room"),
    Said("something is so"),
    *(Slots((row,), full=1000) for row in (FREE, HELD, PROVED, MISSED, LOST)),
    Ledger(
        (
            Line("client", Address(bytes(20)), 3000, 1000, -2000),
            Line("host-1", Address(bytes(20)), 0, 2000, 2001),
        )
    ),
)


def test_elsewhere_there_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with PlainScreen() as screen:
        for happening in STORY:
            screen.show(happening, 2.04)
    assert capsys.readouterr().out.split("\n") == [
        "",
        " 2.0 s  Each host offers room",
        "        something is so",
        "        slot 0 is free",
        "        slot 0 is filled: host-1, 1 proof, 100 % of collateral",
        "        proofs taken, slot by slot  0: 2",
        "        slot 0 is filled: host-1, 2 proofs, 1 missed, 80 % of collateral",
        "        slot 0 is lost, and free for repair",
        "",
        "ACCOUNT  CHANGE  BY THE RULES",
        "client   -2,000        -2,000",
        "host-1   +2,000        +2,001  WRONG",
        "",
    ]


def test_for_programs_each_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    with JsonScreen() as screen:
        for happening in STORY:
            screen.show(happening, 2.048)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [there["event"] for there in told] == ["phase", "said", *["slots"] * 5, "ledger"]
    assert {there["at"] for there in told} == {2.05}
    assert told[0]["phase"] == "sell"
    assert told[5]["slots"] == [
        {"index": 0, "state": "filled", "host": "host-1", "proofs": 2, "missed": 1, "collateral": "800"}
    ]
    assert told[2]["slots"][0]["host"] is None
    assert told[7]["accounts"][1] == {
        "name": "host-1",
        "account": "0x" + "00" * 20,
        "before": "0",
        "after": "2000",
        "change": "2000",
        "expected": "2001",
    }


def test_on_a_terminal_the_slots_are_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with LiveScreen() as screen:
        for happening in STORY:
            screen.show(happening, 2)
        screen.close()  # and once more at the end of the block
    out = capsys.readouterr().out
    assert "Each host offers room" in out
    assert "   0  repair             2       0" in out
    assert "slot 0 is" not in out


def test_a_narrow_table_leaves_out_what_can_be() -> None:
    slots = Slots((MISSED,), full=1000)
    assert "COLLATERAL" in slots_table(slots, 80)
    narrow = slots_table(slots, 40)
    assert "COLLATERAL" not in narrow
    assert max(map(len, narrow.split("\n"))) <= 40
