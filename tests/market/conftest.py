"""A request as alice makes one, and the configuration of the public networks."""

import pytest

from codex.market import (
    Address,
    CollateralConfig,
    MarketplaceConfig,
    ProofConfig,
    StorageAsk,
    StorageContent,
    StorageRequest,
)


@pytest.fixture
def config() -> MarketplaceConfig:
    return MarketplaceConfig(
        collateral=CollateralConfig(repair_reward=10, max_slashes=2, slash=20, validator_reward=20),
        proofs=ProofConfig(period=120, timeout=30, downtime=64, downtime_product=67, zkey_hash=""),
        max_reservations=3,
        duration_limit=30 * 86400,
    )


@pytest.fixture
def request_of_alice() -> StorageRequest:
    return StorageRequest(
        client=Address(b"\xa1" * 20),
        ask=StorageAsk(
            proof_probability=4,
            price_per_byte_per_second=1,
            collateral_per_byte=1,
            slots=3,
            slot_size=524288,
            duration=3600,
            max_slot_loss=1,
        ),
        content=StorageContent(b"\x01\x81\x9a\x03", bytes(32)),
        expiry=600,
        nonce=bytes(range(32)),
    )
