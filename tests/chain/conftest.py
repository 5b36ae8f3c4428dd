"""A simulated chain, and alice's way to it."""

from pathlib import Path

import pytest

from codex.config import MarketConfig
from codex.market import Address, StorageAsk, StorageContent, StorageRequest
from codex.testing.chain import SimulatedChain, SimulatedProvider
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
