"""The contracts of a development chain: as they are shipped, and how they come onto the chain."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from attrs import frozen

from codex.devnet.chain import Chain
from codex.devnet.values import Message
from codex.market import CollateralConfig, MarketplaceConfig, ProofConfig

CONFIG = MarketplaceConfig(
    collateral=CollateralConfig(repair_reward=10, max_slashes=2, slash=20, validator_reward=20),
    # A period has to be shorter than the downtime, which at a block a second is 96 seconds.
    proofs=ProofConfig(period=90, timeout=30, downtime=96, downtime_product=97, zkey_hash=""),
    max_reservations=3,
    duration_limit=30 * 24 * 3600,
)
"""What the marketplace is set up with unless something else is asked for: a development network's numbers."""
BLOCKS_BEFORE = 257
"""Blocks that there have to be before the marketplace: challenges look so far back."""
CONTRACTS = 3
"""Blocks that creating them takes."""
CREATION_GAS = 8_000_000
CALL_GAS = 500_000

_CONFIG = "((uint8,uint8,uint8,uint8),(uint64,uint64,uint8,uint8,string),(uint8),uint64)"


@frozen
class Contract:
    """A contract as it is shipped: its interface as JSON, and the code that creates it."""

    abi: tuple[dict[str, Any], ...]
    bytecode: bytes


@frozen
class Deployed:
    """Where the contracts of a chain are."""

    token: bytes
    verifier: bytes
    marketplace: bytes


@cache
def contract(name: str) -> Contract:
    """The contract of that name: token, verifier or marketplace."""
    text = (files("codex.devnet") / "contracts" / f"{name}.json").read_text("utf-8")
    artefact = json.loads(text)
    return Contract(tuple(artefact["abi"]), bytes.fromhex(artefact["bytecode"][2:]))


def deploy(chain: Chain, config: MarketplaceConfig = CONFIG, *, tokens: int = 0) -> Deployed:
    """Bring the contracts onto a chain that has funded accounts, and `tokens` to each of the accounts.

    The first account does it, on a chain that mines at once. Raises Refused for numbers that a contract
    refuses.
    """
    from eth_abi.abi import encode

    owner = next(iter(chain.accounts))
    chain.mine(max(BLOCKS_BEFORE - chain.latest.number, 0))
    token = _create(chain, owner, contract("token").bytecode)
    verifier = _create(chain, owner, contract("verifier").bytecode)
    marketplace = _create(chain, owner, creation(config, token, verifier))
    for account in chain.accounts if tokens else ():
        # mint(address,uint256)
        mint = bytes.fromhex("40c10f19") + encode(["address", "uint256"], [account, tokens])
        chain.send(chain.sign(Message(owner, token, mint, gas=CALL_GAS)))
    return Deployed(token, verifier, marketplace)


def creation(config: MarketplaceConfig, token: bytes, verifier: bytes) -> bytes:
    """The code that creates a marketplace with that configuration, token and judge of proofs."""
    from eth_abi.abi import encode

    arguments = encode([_CONFIG, "address", "address"], [_as_tuple(config), token, verifier])
    return contract("marketplace").bytecode + arguments


def _create(chain: Chain, owner: bytes, code: bytes) -> bytes:
    creation = Message(owner, None, code, gas=CREATION_GAS)
    chain.estimate(creation)
    receipt = chain.ledger.receipt(chain.send(chain.sign(creation)))
    assert receipt is not None
    assert receipt.outcome.created is not None
    return receipt.outcome.created


def _as_tuple(config: MarketplaceConfig) -> tuple[Any, ...]:
    collateral, proofs = config.collateral, config.proofs
    return (
        (collateral.repair_reward, collateral.max_slashes, collateral.slash, collateral.validator_reward),
        (proofs.period, proofs.timeout, proofs.downtime, proofs.downtime_product, proofs.zkey_hash),
        (config.max_reservations,),
        config.duration_limit,
    )
