"""The configuration as the contract tells it."""

import pytest

from codex.errors import DecodeError
from codex.market import MarketplaceConfig


def test_the_numbers_stand_where_the_interface_has_them(config: MarketplaceConfig) -> None:
    assert MarketplaceConfig.from_tuple(((10, 2, 20, 20), (120, 30, 64, 67, ""), (3,), 2592000)) == config


def test_a_period_has_a_length() -> None:
    with pytest.raises(DecodeError, match="no length"):
        MarketplaceConfig.from_tuple(((10, 2, 20, 20), (0, 30, 64, 67, ""), (3,), 2592000))
