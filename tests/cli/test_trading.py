"""The commands about the marketplace, against a stand-in for a node: what they ask, and how answers look."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from codex.cli import trading
from codex.cli.exits import Failed

Run = Callable[..., subprocess.CompletedProcess[bytes]]
ID = "37060d6badd4"
SLOT = "0x" + "ab" * 32
REQUEST = "0x" + "cd" * 32
ASK = {
    "proofProbability": "1",
    "pricePerBytePerSecond": "2",
    "collateralPerByte": "3",
    "slots": 5,
    "slotSize": 1 << 20,
    "duration": 86400,
    "maxSlotLoss": 2,
}
PURCHASE = {
    "requestId": REQUEST,
    "request": {"id": REQUEST, "ask": ASK},
    "state": "started",
    "error": None,
    "made": 1_750_000_000,
    "changed": 1_750_000_000,
    "withdrawn": False,
}
HELD = {"id": SLOT, "slotIndex": 3, "request": {"id": REQUEST, "ask": ASK}}
OFFER = ["sell", "50GiB", "--for=30d", "--price=2", "--collateral=1000"]
DECISIONS = {
    "decisions": [
        {
            "slot": SLOT,
            "requestId": REQUEST,
            "slotIndex": 3,
            "at": 1_750_000_060,
            "verdict": "unwanted",
            "reason": "no availability takes it",
            "checks": [
                {"name": "room", "passed": True, "wanted": "1 MiB", "offered": "2 MiB"},
                {"name": "price", "passed": False, "wanted": "2", "offered": "9\x1b[2J"},
            ],
            "availabilityId": None,
        },
        {
            "slot": SLOT,
            "requestId": REQUEST,
            "slotIndex": 3,
            "at": 1_750_000_000,
            "verdict": "refused",
            "reason": "",
            "checks": [],
            "availabilityId": None,
        },
    ]
}


def test_storage_is_bought_and_the_purchase_printed(codex: Run, node: Any, job: Any, cid: str) -> None:
    path = f"POST /storage/request/{cid}?async=1"
    node.json(path, job("request"), status=202)
    node.json(f"GET /jobs/{ID}", job("request"), job("request", "done", result={"purchaseId": REQUEST}))
    words = ["buy", cid, "--for=30d", "--price=2", "--collateral=3", "--slots=5", "--tolerance=2"]
    done = codex(*words, port=node.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{REQUEST}\n".encode(), b"")
    assert json.loads(node.uploads[0].body) == {
        "duration": 30 * 86400,
        "pricePerBytePerSecond": "2",
        "collateralPerByte": "3",
        "proofProbability": "20",
        "nodes": 5,
        "tolerance": 2,
        "expiry": 3600,
    }
    done = codex(*words, "--expiry=5m", "--detach", port=node.port)
    assert done.stdout == f"{ID}\n".encode()
    assert json.loads(node.uploads[1].body)["expiry"] == 300
    node.problem(path, 422, "Insufficient funds", "get tokens")
    done = codex(*words, port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"error: {cid}: Insufficient funds\n  Get tokens\n"


def test_room_is_offered(codex: Run, node: Any) -> None:
    node.json("POST /sales/availability", {"id": SLOT}, status=201)
    done = codex(*OFFER, port=node.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{SLOT}\n".encode(), b"")
    assert json.loads(node.uploads[0].body) == {
        "totalSize": 50 << 30,
        "duration": 30 * 86400,
        "minPricePerBytePerSecond": "2",
        "totalCollateral": "1000",
    }
    node.problem("POST /sales/availability", 422, "Not enough storage quota", "offer less")
    done = codex(*OFFER, "--json", port=node.port)
    assert done.returncode == 1
    assert json.loads(done.stderr)["remedy"] == "offer less"


@pytest.mark.parametrize("wrong", ["--price=0", "--for=soon", "--collateral=-1"])
def test_terms_that_cannot_be_meant_are_told(codex: Run, wrong: str) -> None:
    done = codex(*OFFER, wrong)
    assert done.returncode == 2
    assert wrong.split("=")[0] in done.stderr.decode()


def test_purchases_and_slots_are_listed(codex: Run, node: Any) -> None:
    node.json("GET /storage/history?limit=100", {"purchases": [PURCHASE]})
    node.json("GET /sales/slots", [HELD])
    node.json(f"GET /sales/slots/{SLOT}", {"state": "SaleProving"})
    shown = codex("purchases", port=node.port).stdout.decode()
    assert shown.splitlines()[1].split()[:6] == [REQUEST, "started", "5", "5.00", "MiB", "1d"]
    shown = codex("slots", port=node.port).stdout.decode()
    assert shown.splitlines()[1].split() == [SLOT, "proving", "3", "1.00", "MiB", REQUEST]
    told = json.loads(codex("slots", "--json", port=node.port).stdout)
    assert told == [{**HELD, "state": "SaleProving"}]


def test_a_slot_that_nobody_works_on_is_listed_all_the_same() -> None:
    shown = trading.slots_table([{**HELD, "state": None}], None)
    assert shown.splitlines()[1].split()[1] == "unattended"


def test_there_may_be_none() -> None:
    assert trading.purchases_table({"purchases": []}, 80) == ""
    assert trading.slots_table([], 80) == ""


@pytest.mark.parametrize("width", [40, 60, 80])
def test_lists_fit_the_terminal(width: int) -> None:
    lost = {**PURCHASE, "request": None, "state": "errored"}
    for shown in (
        trading.purchases_table({"purchases": [PURCHASE, lost]}, width),
        trading.slots_table([{**HELD, "state": "SaleProving"}], width),
    ):
        assert max(map(len, shown.splitlines())) <= width


def test_why_a_slot_was_not_taken_is_told_in_order(codex: Run, node: Any) -> None:
    node.json(f"GET /sales/decisions?slot={SLOT}&limit=100", DECISIONS)
    lines = codex("explain", SLOT, port=node.port).stdout.decode().splitlines()
    assert lines[0] == f"slot 3 of request {REQUEST}"
    assert lines[2].endswith("  refused: as many hosts as may had reserved it")
    assert lines[4].endswith("  unwanted: nothing that is on offer takes it")
    assert lines[5:] == [
        "  no availability takes it",
        "  ok  room: wanted 1 MiB, offered 2 MiB",
        "  NO  price: wanted 2, offered 9\N{REPLACEMENT CHARACTER}[2J",
    ]
    told = json.loads(codex("explain", SLOT, "--json", port=node.port).stdout)
    assert told == DECISIONS
    node.json(f"GET /sales/decisions?slot={SLOT}&limit=100", {"decisions": []})
    done = codex("explain", SLOT, port=node.port)
    assert done.returncode == 1
    assert "has not seen slot" in done.stderr.decode()


def test_without_a_slot_those_that_were_looked_at_are_listed(codex: Run, node: Any) -> None:
    other = {**DECISIONS["decisions"][1], "slot": REQUEST}
    answer = {"decisions": [*DECISIONS["decisions"], other]}
    node.json("GET /sales/decisions?limit=100", answer)
    done = codex("explain", port=node.port)
    title, first, second = done.stdout.decode().splitlines()
    assert title.split() == ["SLOT", "VERDICT", "WHEN", "WHY"]
    # Each once, with what was decided last.
    assert first.split()[:2] == [SLOT, "unwanted"]
    assert first.endswith("  no availability takes it")
    assert second.split()[:2] == [REQUEST, "refused"]
    assert second.endswith("  as many hosts as may had reserved it")
    assert json.loads(codex("explain", "--json", port=node.port).stdout) == answer
    node.json("GET /sales/decisions?limit=100", {"decisions": []})
    done = codex("explain", port=node.port)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_list_of_decisions_fits_and_shortens_no_id(width: int) -> None:
    lines = trading.decisions_table(DECISIONS, width).splitlines()
    assert max(map(len, lines)) <= width
    assert SLOT in lines[1]


@pytest.mark.parametrize("answer", [{}, {"purchases": [{}]}, {"purchases": [{**PURCHASE, "made": "soon"}]}])
def test_answers_that_are_none_are_told(answer: Any) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"):
        trading.purchases_table(answer, 80)
    with pytest.raises(Failed, match="not that of a Codex node"):
        trading.story(answer)
    with pytest.raises(Failed, match="not that of a Codex node"):
        trading.decisions_table(answer, 80)
