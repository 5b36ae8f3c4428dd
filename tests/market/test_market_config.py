"""The configuration as the contract tells it."""

from codex.market import MarketplaceConfig


def test_the_numbers_stand_where_the_interface_has_them(config: MarketplaceConfig) -> None:
    assert MarketplaceConfig.from_tuple(((10, 2, 20, 20), (120, 30, 64, 67, ""), (3,), 2592000)) == config
