"""A simulated chain, and alice's way to it; and a town: people on a development chain with the contracts."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from codex.config import MarketConfig
from codex.devnet import Devnet, open_devnet
from codex.devnet.errors import Refused
from codex.devnet.methods import Methods
from codex.market import Address, StorageAsk, StorageContent, StorageRequest
from codex.runtime import VirtualClock
from codex.testing.chain import ProviderError, SimulatedChain, SimulatedProvider
from codex.testing.chain_people import Person, open_person
from codex.testing.chain_service import key_file

CONTRACT = Address(b"\xc0" * 20)


@pytest.fixture
def contract() -> Address:
    """Where the contract of these tests is."""
    return CONTRACT


@pytest.fixture
def simulated() -> SimulatedChain:
    return SimulatedChain()


@pytest.fixture
def provider(simulated: SimulatedChain) -> SimulatedProvider:
    return simulated.provider()


@pytest.fixture
def config(tmp_path: Path) -> MarketConfig:
    """Alice's configuration: one provider, her key, and where the marketplace is."""
    return MarketConfig(
        providers=("ws://one",), private_key_file=key_file(tmp_path), marketplace_address=str(CONTRACT)
    )


@pytest.fixture
def request_of_alice() -> StorageRequest:
    return StorageRequest(
        client=Address.parse("0x5d5c99edf529335160ff180fa141dd4967fc00d2"),
        ask=StorageAsk(
            proof_probability=1,
            price_per_byte_per_second=1,
            collateral_per_byte=2,
            slots=3,
            slot_size=1000,
            duration=600,
            max_slot_loss=1,
        ),
        content=StorageContent(b"\x01\x81\x9a\x03", bytes(range(32))),
        expiry=300,
        nonce=bytes(32),
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "town" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.embedded_chain)


class Town:
    """A development chain on virtual time, and people there."""

    def __init__(self, devnet: Devnet, directory: Path, clock: VirtualClock) -> None:
        self.devnet = devnet
        self.directory = directory
        self.clock = clock
        self.methods = Methods(devnet.chain)

    def provider(self) -> SimulatedProvider:
        """A way to the chain that a test can break."""
        provider = SimulatedProvider(self._answer)
        self.devnet.chain.listeners.append(lambda news: provider.push_head(None))
        return provider

    async def _answer(self, method: str, params: list[Any]) -> Any:
        try:
            return await self.methods.answer(method, params)
        except Refused as error:
            data = None if error.data is None else "0x" + error.data.hex()
            raise ProviderError(error.code, error.message, data) from error

    @asynccontextmanager
    async def person(
        self, number: int, change: Callable[[MarketConfig], MarketConfig] = lambda config: config
    ) -> AsyncIterator[Person]:
        """Whoever has the account of that number."""
        key, market = self.devnet.accounts[number].key, self.devnet.marketplace
        async with open_person(
            self.provider(), self.directory, key, market, clock=self.clock, change=change
        ) as person:
            yield person

    def pass_time(self, seconds: float) -> None:
        """Have a block so much later than the last one."""
        chain = self.devnet.chain
        chain.set_next_timestamp(int(chain.latest.timestamp + seconds))
        chain.mine()


@pytest.fixture
async def town(autojump_clock: MockClock, tmp_path: Path) -> AsyncIterator[Town]:
    clock = VirtualClock(1_700_000_000)
    async with open_devnet(port=None, clock=clock) as devnet:
        yield Town(devnet, tmp_path, clock)
