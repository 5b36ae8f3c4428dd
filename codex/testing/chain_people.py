"""People on one chain that a test has in its hands: each with a key, a service of their own, and a provider
that can be broken apart from the others'.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from codex.chain import Chain, Marketplace
from codex.config import MarketConfig
from codex.runtime import Clock
from codex.testing.chain_provider import SimulatedProvider
from codex.testing.chain_service import OpenChain, key_file, open_chain


class Person:
    """Somebody with an account: `chain` and `marketplace` are in their name."""

    def __init__(self, opened: OpenChain, provider: SimulatedProvider, config: MarketConfig) -> None:
        self.opened = opened
        self.provider = provider
        self.config = config

    @property
    def chain(self) -> Chain:
        return self.opened.chain

    @property
    def marketplace(self) -> Marketplace:
        return self.opened.marketplace


@asynccontextmanager
async def open_person(
    provider: SimulatedProvider,
    directory: Path,
    key: str,
    marketplace: str,
    *,
    clock: Clock | None = None,
    change: Callable[[MarketConfig], MarketConfig] = lambda config: config,
) -> AsyncIterator[Person]:
    """Somebody with the secret key `key` (hexadecimal, with 0x or without), for the length of the block."""
    config = change(
        MarketConfig(
            providers=("ws://one",),
            private_key_file=key_file(directory, key.removeprefix("0x")),
            marketplace_address=marketplace,
        )
    )
    async with open_chain(provider.dial, config, clock=clock) as opened:
        yield Person(opened, provider, config)
