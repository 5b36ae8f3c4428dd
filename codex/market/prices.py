"""What is paid, and to whom: exactly the contract's own integer arithmetic."""

from codex.errors import InvalidInput
from codex.market.config import CollateralConfig
from codex.market.request import StorageAsk


def payout(ask: StorageAsk, filled_at: int, until: int) -> int:
    """What a host earns that held a slot from one moment to another.

    `until` is the request's end, or its expiry when it was cancelled. Raises InvalidInput when the slot was
    not filled before that.
    """
    if filled_at >= until:
        raise InvalidInput("the slot was filled when the request was over")
    return (until - filled_at) * ask.price_per_slot_per_second


def repair_collateral(ask: StorageAsk, config: CollateralConfig) -> int:
    """What a host pays in that fills a lost slot again; the full collateral is then held for it."""
    full = ask.collateral_per_slot
    return full - full * config.repair_reward // 100


def slashing(ask: StorageAsk, config: CollateralConfig) -> int:
    """What one missed proof takes from a host's collateral."""
    return ask.collateral_per_slot * config.slash // 100


def validator_reward(ask: StorageAsk, config: CollateralConfig) -> int:
    """What marking one proof as missing brings."""
    return slashing(ask, config) * config.validator_reward // 100
