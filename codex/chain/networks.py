"""Where the marketplace is on chains that are known: the id of the chain, and the address of the contract."""

from collections.abc import Mapping

from codex.config import MarketConfig
from codex.errors import ConfigError
from codex.market import Address

MARKETPLACES: Mapping[int, Address] = {
    chain: Address.parse(address)
    for chain, address in (
        (31337, "0x322813Fd9A801c5507c9de605d63CEA4f2CE6c44"),
        (167005, "0x948CF9291b77Bd7ad84781b9047129Addf1b894F"),
        (789987, "0x5378a4EA5dA2a548ce22630A3AE74b052000C62D"),
        (1660990954, "0x34F606C65869277f236ce07aBe9af0B8c88F486B"),
    )
}


def marketplace_on(chain: int, config: MarketConfig) -> Address:
    """The marketplace that is meant on a chain. Raises ConfigError where none is named and none is known."""
    if config.marketplace_address is not None:
        return Address.parse(config.marketplace_address)
    if chain not in MARKETPLACES:
        raise ConfigError(
            f"no marketplace is known on chain {chain}",
            remedy="Give its address with --marketplace-address, or a provider of another chain with "
            "--eth-provider.",
        )
    return MARKETPLACES[chain]
