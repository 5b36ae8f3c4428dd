"""A development chain as bytes, to go on with it another day.

What is kept is what was done: the time and the transactions of every block. The state follows from them, and
the hash of the last block tells whether it did.
"""

from collections.abc import Callable, Sequence
from typing import Any

import cbor2

from codex.devnet.chain import Chain
from codex.devnet.deploying import Deployed
from codex.devnet.errors import Refused, WrongDump
from codex.devnet.ledger import Ledger, Recorded
from codex.devnet.transactions import Account

FORMAT = "codex devnet 1"


def dump(chain: Chain, deployed: Deployed) -> bytes:
    """The chain and where its contracts are, but for what waits for a block."""
    return cbor2.dumps(
        {
            "format": FORMAT,
            "chain": chain.chain_id,
            "lead": chain.lead,
            "contracts": [deployed.token, deployed.verifier, deployed.marketplace],
            "last": chain.latest.hash,
            "blocks": [
                [
                    block.timestamp,
                    block.branch,
                    list(block.transactions),
                    [list(gift) for gift in block.gifts],
                ]
                for block in chain.ledger.recorded()
            ],
        }
    )


def restore(data: bytes, now: Callable[[], float], accounts: Sequence[Account]) -> tuple[Chain, Deployed]:
    """The chain that was dumped, which signs for `accounts`. Raises WrongDump, NoEmbeddedChain."""
    try:
        return _restored(cbor2.loads(data), now, accounts)
    except (cbor2.CBORDecodeError, Refused, LookupError, TypeError, ValueError) as error:
        raise WrongDump(
            f"this is no state of a development chain, or one of another version ({error})",
            remedy="Name the file that `codex devnet --state` wrote, or another name to begin a new chain.",
        ) from error


def _restored(told: Any, now: Callable[[], float], accounts: Sequence[Account]) -> tuple[Chain, Deployed]:
    if told["format"] != FORMAT:
        raise ValueError(f"its format is {told['format']}")
    chain_id = _number(told["chain"])
    token, verifier, marketplace = (_bytes(address, 20) for address in told["contracts"])
    ledger = Ledger.replayed(chain_id, (_block(block) for block in told["blocks"]))
    if ledger.latest.hash != told["last"]:
        raise ValueError("its blocks lead to another state")
    chain = Chain(now, accounts=accounts, chain_id=chain_id, ledger=ledger)
    chain.lead = float(told["lead"])
    return chain, Deployed(token, verifier, marketplace)


def _block(told: Any) -> Recorded:
    timestamp, branch, transactions, gifts = told
    return Recorded(
        _number(timestamp),
        _number(branch),
        tuple(_bytes(raw) for raw in transactions),
        tuple((_bytes(account, 20), int(wei)) for account, wei in gifts),
    )


def _number(told: Any) -> int:
    if not isinstance(told, int) or not 0 <= told < 2**63:
        raise ValueError(f"{str(told)[:30]} is no number in it")
    return told


def _bytes(told: Any, length: int | None = None) -> bytes:
    if not isinstance(told, bytes) or length not in (None, len(told)):
        raise ValueError("something in it has the wrong length")
    return told
