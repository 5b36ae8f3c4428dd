"""Periods, pointers and challenges against known values and the rules of the contract."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.market import (
    MarketplaceConfig,
    Period,
    SlotId,
    challenge_of,
    in_downtime,
    is_proof_due,
    pointer_of,
)
from codex.market.periods import BLOCKS, probability

Vectors = Callable[[str], Any]
slots = st.builds(SlotId, st.binary(min_size=32, max_size=32))


def test_pointers_are_as_on_the_chain(vectors: Vectors) -> None:
    rows = vectors("contracts_abi")["pointer"]["vectors"]
    assert len(rows) >= 3
    for row in rows:
        slot = SlotId.parse(row["slot_id_hex"])
        assert pointer_of(slot, row["period"], row["block"], row["product"]) == row["pointer"]


def test_challenges_are_as_on_the_chain(vectors: Vectors) -> None:
    rows = vectors("contracts_abi")["challenge"]["vectors"]
    assert len(rows) >= 2
    for row in rows:
        assert challenge_of(bytes.fromhex(row["blockhash_hex"])).hex() == row["challenge_hex"]


@given(slots, st.integers(0, 2**32), st.integers(300, 2**40))
def test_within_a_period_the_challenged_block_stays_until_the_pointer_wraps(
    slot: SlotId, period: int, block: int
) -> None:
    def challenged(later: int) -> int:
        return later - 1 - pointer_of(slot, period, later, 67)

    wrapped = block + BLOCKS - pointer_of(slot, period, block, 67)
    assert {challenged(later) for later in range(block, wrapped)} == {challenged(block)}
    assert pointer_of(slot, period, wrapped, 67) == 0
    assert challenged(wrapped) == wrapped - 1


@given(st.integers(0, 2**40), st.integers(1, 86400))
def test_every_moment_is_in_one_period(moment: int, seconds: int) -> None:
    period = Period.at(moment, seconds)
    assert period.start <= moment < period.end
    assert period.next.start == period.end
    assert period.next.previous == period
    assert Period.at(period.end, seconds) == period.next


@pytest.mark.parametrize(("moment", "markable"), [(240, False), (241, True), (269, True), (270, False)])
def test_a_missed_proof_can_be_marked_between_the_end_and_the_timeout(moment: int, markable: bool) -> None:
    assert Period(1, 120).markable(moment, 30) is markable


def test_the_configuration_tells_periods(config: MarketplaceConfig) -> None:
    assert config.proofs.period_at(1_700_000_039) == Period(14_166_666, 120)


@pytest.mark.parametrize(
    ("asked", "downtime", "odds"), [(1, 64, 0), (2, 64, 1), (100, 64, 75), (4, 96, 2), (1, 0, 1)]
)
def test_proofs_are_likelier_outside_downtime(asked: int, downtime: int, odds: int) -> None:
    assert probability(asked, downtime) == odds


def test_when_a_proof_is_due() -> None:
    assert is_proof_due(b"\xff" * 32, 1, 64)
    assert is_proof_due((75 * 9).to_bytes(32, "big"), 100, 64)
    assert not is_proof_due((75 * 9 + 1).to_bytes(32, "big"), 100, 64)


@pytest.mark.parametrize(("pointer", "quiet"), [(0, True), (63, True), (64, False), (255, False)])
def test_downtime(pointer: int, quiet: bool) -> None:
    assert in_downtime(pointer, 64) is quiet
