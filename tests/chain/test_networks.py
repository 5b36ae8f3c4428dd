"""Where the marketplace is."""

import pytest

from codex.chain.networks import MARKETPLACES, marketplace_on
from codex.config import MarketConfig
from codex.errors import ConfigError
from codex.market import Address


def test_it_is_known_on_the_networks_there_are() -> None:
    assert set(MARKETPLACES) == {31337, 167005, 789987, 1660990954}
    assert str(marketplace_on(789987, MarketConfig())) == "0x5378a4ea5da2a548ce22630a3ae74b052000c62d"


def test_a_named_one_goes_first() -> None:
    named = MarketConfig(marketplace_address="0x" + "Ab" * 20)
    assert marketplace_on(789987, named) == Address(b"\xab" * 20)
    assert marketplace_on(5, named) == Address(b"\xab" * 20)


def test_on_another_chain_it_must_be_named() -> None:
    with pytest.raises(ConfigError, match="no marketplace is known on chain 5") as caught:
        marketplace_on(5, MarketConfig())
    assert "--marketplace-address" in caught.value.remedy
