"""A town: nodes with accounts on one embedded chain and one network in memory, on trio's clock, for tests.

The nodes, the contracts and the chain's virtual machine are the real ones. What is simulated: time, the
network between the nodes, and the wire to the chain, which carries the same JSON-RPC and can be broken.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from attrs import define, evolve, field

from codex.config import MarketConfig, StoreConfig
from codex.devnet.chain import Chain
from codex.devnet.deploying import CONFIG
from codex.devnet.errors import Refused
from codex.devnet.methods import Methods
from codex.devnet.opening import Devnet, open_devnet
from codex.market import Address, MarketplaceConfig
from codex.node import Node
from codex.runtime import VirtualClock
from codex.testing.chain_provider import ProviderError, SimulatedProvider
from codex.testing.chain_service import key_file
from codex.testing.neighbourhood import Neighbourhood, open_test_network
from codex.testing.nodes import EPOCH

FAST = evolve(CONFIG, proofs=evolve(CONFIG.proofs, period=60, downtime=32))
"""The marketplace's numbers with periods of a minute."""
BLOCK_TIME = 2.0


@define(eq=False)
class Town:
    """The chain, the nodes, and each node's way to the chain by its name."""

    devnet: Devnet
    neighbourhood: Neighbourhood
    providers: dict[str, SimulatedProvider] = field(factory=dict)
    accounts: dict[str, int] = field(factory=dict)

    def __getitem__(self, name: str) -> Node:
        return self.neighbourhood[name]

    async def add(self, name: str, **options: Any) -> Node:
        """Start a node with an account of its own, or the one it had; `options` are those of MarketConfig."""
        number = self.accounts.setdefault(name, len(self.accounts) + 1)
        directory = self.neighbourhood.directory / f"{name}.keys"
        directory.mkdir(exist_ok=True)
        key = self.devnet.accounts[number].key.removeprefix("0x")
        market = MarketConfig(
            providers=("ws://one",),
            private_key_file=key_file(directory, key),
            marketplace_address=self.devnet.marketplace,
            **options,
        )
        if name not in self.providers:
            self.providers[name] = way_to(self.devnet.chain)
        return await self.neighbourhood.add(name, market=market, dial=self.providers[name].dial)

    async def stop(self, name: str) -> None:
        """Stop a node in good order."""
        await self.neighbourhood.stop(name)

    async def tokens(self, account: Address) -> int:
        """What an account has."""
        node = next(self[name] for name in self.accounts if name in self.neighbourhood.nodes)
        return await (await node.market.parts.marketplace.token()).balance_of(account)


def way_to(chain: Chain) -> SimulatedProvider:
    """A way to a chain, by its JSON-RPC methods, that a test can break."""
    methods = Methods(chain)

    async def answer(method: str, params: list[Any]) -> Any:
        try:
            return await methods.answer(method, params)
        except Refused as error:
            data = None if error.data is None else "0x" + error.data.hex()
            raise ProviderError(error.code, error.message, data) from error

    provider = SimulatedProvider(answer)
    chain.listeners.append(lambda news: provider.push_head(None))
    return provider


@asynccontextmanager
async def open_town(
    directory: Path,
    *names: str,
    config: MarketplaceConfig = FAST,
    block_time: float = BLOCK_TIME,
    store: StoreConfig | None = None,
) -> AsyncIterator[Town]:
    """Run the chain, and nodes of these names, for the length of the block."""
    clock = VirtualClock(EPOCH)
    async with (
        open_devnet(port=None, clock=clock, block_time=block_time, config=config) as devnet,
        open_test_network("bootstrap", directory=directory, store=store) as neighbourhood,
    ):
        town = Town(devnet, neighbourhood)
        for name in names:
            await town.add(name)
        yield town
