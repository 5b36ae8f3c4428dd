"""Amounts, to the unit."""

import pytest
from attrs import evolve

from codex.errors import InvalidInput
from codex.market import (
    MarketplaceConfig,
    StorageRequest,
    payout,
    repair_collateral,
    slashing,
    validator_reward,
)


def test_amounts_seen_on_a_network(request_of_alice: StorageRequest, config: MarketplaceConfig) -> None:
    ask = request_of_alice.ask
    assert payout(ask, 1000, 1193) == 193 * 524288
    assert repair_collateral(ask, config.collateral) == 471_860
    assert ask.collateral_per_slot - slashing(ask, config.collateral) == 419_431
    assert validator_reward(ask, config.collateral) == 20_971


def test_per_cents_are_rounded_as_the_contract_does(
    request_of_alice: StorageRequest, config: MarketplaceConfig
) -> None:
    ask = evolve(request_of_alice.ask, slot_size=19)
    assert repair_collateral(ask, config.collateral) == 18
    assert slashing(ask, config.collateral) == 3
    assert validator_reward(ask, config.collateral) == 0


def test_a_slot_filled_at_the_end_earns_nothing_and_cannot_be(request_of_alice: StorageRequest) -> None:
    with pytest.raises(InvalidInput, match="over"):
        payout(request_of_alice.ask, 1000, 1000)
