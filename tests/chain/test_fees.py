"""What transactions offer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.chain import Header
from codex.chain.fees import Fees

GWEI = 10**9


def head(base_fee: int | None) -> Header:
    return Header(1, bytes(32), bytes(32), 0, base_fee)


def test_an_offer_holds_for_some_full_blocks() -> None:
    fees = Fees.at(head(10 * GWEI), GWEI, 0)
    assert fees == Fees(21 * GWEI, GWEI)
    assert fees.as_json() == {"maxFeePerGas": hex(21 * GWEI), "maxPriorityFeePerGas": hex(GWEI)}


def test_a_chain_without_a_base_fee_has_one_price() -> None:
    fees = Fees.at(head(None), GWEI, 7)
    assert fees.fields() == {"gasPrice": 7}
    assert fees.raised().fields() == {"gasPrice": 8}


@given(st.integers(0, 10**15), st.integers(0, 10**12))
def test_a_replacement_offers_an_eighth_more_of_everything(base: int, tip: int) -> None:
    before = Fees.at(head(base), tip, 0)
    after = before.raised()
    assert after.tip is not None
    assert before.tip is not None
    for new, old in ((after.most, before.most), (after.tip, before.tip)):
        assert new > old
        assert new * 8 >= old * 9
        assert new <= old * 9 // 8 + 2
    assert after.tip <= after.most


@pytest.mark.parametrize(
    ("one", "other", "higher"),
    [
        (Fees(10, 1), Fees(5, 2), Fees(10, 2)),
        (Fees(10, None), Fees(12, 1), Fees(12, None)),
    ],
)
def test_the_higher_of_two_offers(one: Fees, other: Fees, higher: Fees) -> None:
    assert one.at_least(other) == other.at_least(one) == higher
