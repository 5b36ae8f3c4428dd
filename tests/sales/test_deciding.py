"""Whether a slot is taken, and that it is told why not: each check, wanted against offered."""

import pytest
from attrs import evolve

from codex.errors import DecodeError
from codex.market import RequestId, SlotId, StorageAsk
from codex.sales.deciding import Check, Decision, Verdict, judge
from codex.store import Availability

ASK = StorageAsk(
    proof_probability=1,
    price_per_byte_per_second=5,
    collateral_per_byte=2,
    slots=3,
    slot_size=100,
    duration=60,
    max_slot_loss=1,
)
ROOM = Availability(
    id=bytes(range(32)), total=1000, free=500, duration=60, price=5, collateral=2000, remaining=1000
)


@pytest.mark.parametrize("until", [0, 99])
def test_what_just_fits_is_taken(until: int) -> None:
    room = evolve(ROOM, until=until)
    judgement = judge(ASK, collateral=200, end=99, availabilities=[room], balance=200)
    assert judgement.availability == room
    assert [check.name for check in judgement.checks] == [
        "enabled",
        "size",
        "duration",
        "price",
        "collateral per byte",
        "collateral",
        "until",
    ]
    assert all(check.passed for check in judgement.checks)


@pytest.mark.parametrize(
    ("room", "name", "words"),
    [
        ({"enabled": False}, "enabled", ["off"]),
        ({"free": 99}, "size", ["100 bytes", "99 bytes free"]),
        ({"duration": 59}, "duration", ["60 s", "59 s"]),
        ({"price": 6}, "price", ["5 a byte", "at least 6"]),
        ({"remaining": 999, "collateral": 1999}, "collateral per byte", ["2 a byte", "at most 1"]),
        ({"remaining": 199, "collateral": 2000, "lost": 7}, "collateral", ["200", "199 remain, 7 were lost"]),
        ({"until": 98}, "until", ["until 99", "until 98"]),
    ],
)
def test_the_first_thing_in_the_way_is_named(room: dict[str, int], name: str, words: list[str]) -> None:
    there = evolve(ROOM, **room)  # type: ignore[arg-type]
    judgement = judge(ASK, collateral=200, end=99, availabilities=[there])
    assert judgement.availability is None
    last = judgement.checks[-1]
    assert (last.name, last.passed) == (name, False)
    assert all(check.passed for check in judgement.checks[:-1])
    assert all(word in f"{last.wanted}, {last.offered}" for word in words)
    assert all(word in judgement.reason for word in words)


def test_no_limit_is_no_limit() -> None:
    assert judge(ASK, collateral=0, end=2**62, availabilities=[ROOM]).availability == ROOM


def test_the_first_that_fits_takes_it_and_each_other_has_its_reason() -> None:
    small, dear = evolve(ROOM, free=1), evolve(ROOM, price=50)
    assert judge(ASK, collateral=0, end=0, availabilities=[small, dear, ROOM]).availability == ROOM
    neither = judge(ASK, collateral=0, end=0, availabilities=[small, dear])
    assert "size:" in neither.reason
    assert "price:" in neither.reason
    assert sum(not check.passed for check in neither.checks) == 2


def test_a_loss_does_not_close_what_is_left() -> None:
    """With one slot of ten lost, those that are left are still offered at the rate that was set."""
    there = evolve(ROOM, free=1000, remaining=1800, lost=200)
    assert judge(ASK, collateral=200, end=0, availabilities=[there]).availability == there


def test_without_offers_and_without_money() -> None:
    assert "no availability" in judge(ASK, collateral=0, end=0, availabilities=[]).reason
    poor = judge(ASK, collateral=200, end=0, availabilities=[ROOM], balance=199)
    assert poor.availability is None
    assert [check.name for check in poor.checks] == ["balance"]
    assert "199 tokens" in poor.reason


def test_numbers_of_any_size_are_judged() -> None:
    huge = evolve(ASK, slot_size=2**64 - 1, collateral_per_byte=2**255, price_per_byte_per_second=2**255)
    assert judge(huge, collateral=2**300, end=0, availabilities=[ROOM]).availability is None


def test_a_decision_is_kept_as_it_is() -> None:
    decision = Decision(
        SlotId(bytes(32)),
        RequestId(bytes(32)),
        3,
        1_750_000_000,
        Verdict.UNWANTED,
        "for a reason",
        (Check("size", False, "1", "2"),),
        bytes(32),
    )
    assert Decision.from_bytes(decision.to_bytes()) == decision


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x80", b"\x01", b"a decision"])
def test_what_is_no_decision(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Decision.from_bytes(data)
