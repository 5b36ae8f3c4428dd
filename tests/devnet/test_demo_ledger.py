"""What a contract must come to, worked out by hand; and each check that the demo makes fails when it must."""

import pytest
from attrs import evolve

from codex.devnet.demo_ledger import (
    Course,
    DemoFailed,
    Fill,
    Line,
    changes,
    check_content,
    check_ledger,
    check_same,
)
from codex.market import Address, CollateralConfig, RequestState, StorageAsk

ALICE, BOB, CAROL, WATCHER, MARKET = (Address(bytes([number]) * 20) for number in range(1, 6))
# 1000 of collateral a slot, 20 a second.
ASK = StorageAsk(
    proof_probability=1,
    price_per_byte_per_second=2,
    collateral_per_byte=100,
    slots=2,
    slot_size=10,
    duration=100,
    max_slot_loss=1,
)
CONFIG = CollateralConfig(repair_reward=10, max_slashes=2, slash=20, validator_reward=20)


def grown(course: Course) -> dict[Address, int]:
    return changes(ASK, CONFIG, course, client=ALICE, validator=WATCHER, marketplace=MARKET)


def test_a_contract_in_which_nothing_happens() -> None:
    held = {0: Fill(0, BOB, 10, False), 1: Fill(1, CAROL, 25, False)}
    assert grown(Course(held, {0: 0, 1: 0}, (), 100)) == {
        ALICE: -(90 + 75) * 20,
        BOB: 90 * 20,
        CAROL: 75 * 20,
        WATCHER: 0,
        MARKET: 0,
    }


def test_a_missed_proof_costs_its_host() -> None:
    held = {0: Fill(0, BOB, 10, False), 1: Fill(1, CAROL, 10, False)}
    assert grown(Course(held, {0: 1, 1: 0}, (), 100)) == {
        ALICE: -2 * 90 * 20,
        BOB: 90 * 20 - 200,
        CAROL: 90 * 20,
        WATCHER: 40,
        MARKET: 160,
    }


def test_a_lost_slot_costs_all_of_the_collateral_and_its_repair_less_of_it() -> None:
    held = {0: Fill(0, CAROL, 60, True), 1: Fill(1, CAROL, 10, False)}
    found = grown(Course(held, {0: 0, 1: 0}, (Fill(0, BOB, 10, False),), 100))
    assert found == {
        ALICE: -(40 + 90) * 20,
        BOB: -1000,
        CAROL: (40 + 90) * 20 + 100,
        WATCHER: 80,
        MARKET: 820,
    }


LINES = (Line("client", ALICE, 5000, 3000, -2000), Line("host", BOB, 0, 2000, 2000))


def test_a_ledger_that_is_right_passes() -> None:
    check_ledger(LINES)


@pytest.mark.parametrize("wrong", [0, 1])
@pytest.mark.parametrize("by", [1, -1])
def test_a_payout_that_is_wrong_by_a_unit_fails(wrong: int, by: int) -> None:
    lines = list(LINES)
    lines[wrong] = evolve(lines[wrong], after=lines[wrong].after + by)
    with pytest.raises(DemoFailed, match=f"{lines[wrong].name} was paid wrongly"):
        check_ledger(lines)


def test_tokens_from_nowhere_fail() -> None:
    lines = [LINES[0], evolve(LINES[1], after=2001, expected=2001)]
    with pytest.raises(DemoFailed, match=r"\+1 units came from nowhere"):
        check_ledger(lines)


def test_content_that_is_another_fails() -> None:
    check_content(b"a", 5, b"a", 5)
    with pytest.raises(DemoFailed, match="with 4 bytes, and 5 were stored"):
        check_content(b"a", 5, b"a", 4)
    with pytest.raises(DemoFailed, match="other content: SHA-256 62, and 61 was"):
        check_content(b"a", 5, b"b", 5)


def test_a_state_that_is_another_fails() -> None:
    check_same("the request", RequestState.STARTED, RequestState.STARTED)
    with pytest.raises(DemoFailed, match=r"the request is .*, and must be"):
        check_same("the request", RequestState.FAILED, RequestState.STARTED)
