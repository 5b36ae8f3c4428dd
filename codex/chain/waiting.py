"""A transaction of this account that waits for a block and that this life of the node has not sent, as far as
a provider shows it.

What is shown is believed only where this account's own key has signed it, for this chain and that nonce:
whoever signs anew what a stranger shows gives the account away.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from attrs import frozen

from codex.chain.fees import Fees
from codex.chain.jsonrpc import RpcError, data, number, quantity, shown
from codex.chain.wallet import Transaction, signer_of
from codex.errors import DecodeError
from codex.logs import get_logger
from codex.market import Address
from codex.market.ids import keccak256

NOTHING_GAS = 21_000
"""What a transaction takes that does nothing."""

_log = get_logger("chain")


class Rpc(Protocol):
    """What is needed of the uplink."""

    async def call(self, method: str, *params: Any) -> Any: ...


@frozen
class Waiting:
    """A transaction that waits, and its hash."""

    transaction: Transaction
    hash: bytes


def nothing(account: Address, nonce: int, fees: Fees) -> Transaction:
    """A transaction that does nothing but take its turn: to oneself, of no value."""
    return Transaction(account, b"", NOTHING_GAS, nonce, fees)


async def find_waiting(rpc: Rpc, account: Address, nonce: int, chain: int) -> Waiting | None:
    """What waits with a nonce, by whichever method the provider has for it. None when it shows nothing, or
    what cannot be sent again as it is: only plain calls can.

    Raises ChainUnreachable and ChainFailed.
    """
    asked = (str(account), quantity(nonce))
    for method, params in (
        ("txpool_contentFrom", asked[:1]),
        ("eth_getTransactionBySenderAndNonce", asked),
    ):
        try:
            answer = await rpc.call(method, *params)
            found = _of_pool(answer, nonce) if method == "txpool_contentFrom" else answer
            if found is not None:
                return read_waiting(found, account, nonce, chain)
        except (RpcError, DecodeError) as error:
            # Few providers have either method.
            _log.debug("what waits for a block is not shown", nonce=nonce, method=method, why=str(error))
    return None


def _of_pool(answer: object, nonce: int) -> object:
    """The transaction of a nonce in the part of a pool that is one account's; None when it is not there."""
    if not isinstance(answer, Mapping):
        raise DecodeError(f"the provider gave no pool of transactions: {shown(answer)}")
    pending = answer.get("pending")
    return pending.get(str(nonce)) if isinstance(pending, Mapping) else None


def read_waiting(found: object, account: Address, nonce: int, chain: int) -> Waiting:
    """A plain call that `account` has signed for the chain of that id, with that nonce.

    Raises DecodeError for anything else.
    """
    import rlp  # with what the market needs

    if not isinstance(found, Mapping):
        raise DecodeError(f"the provider gave no transaction: {shown(found)}")
    to = data(found.get("to"), "whom a transaction is to", 20)
    payload = data(found.get("input", found.get("data")), "a transaction's data")
    gas, value = number(found.get("gas"), "a limit of gas"), number(found.get("value"), "a value")
    r, s = (number(found.get(name), "a signature") for name in "rs")
    v = number(found.get("yParity", found.get("v")), "a signature")
    kind = number(found.get("type", "0x0"), "a kind of transaction")
    if kind == 2:
        fees = Fees(
            number(found.get("maxFeePerGas"), "a fee"), number(found.get("maxPriorityFeePerGas"), "a tip")
        )
        offered = fees.tip, fees.most
        raw = b"\x02" + rlp.encode([chain, nonce, *offered, gas, to, value, payload, [], v, r, s])
    elif kind == 0 and v in (2 * chain + 35, 2 * chain + 36):
        fees = Fees(number(found.get("gasPrice"), "a fee"), None)
        raw = rlp.encode([nonce, fees.most, gas, to, value, payload, v, r, s])
    else:
        raise DecodeError(f"a transaction of kind {kind} is not one that can be sent again")
    if signer_of(raw) != account:
        raise DecodeError(f"the provider shows a transaction that {account} has not signed so")
    return Waiting(Transaction(Address(to), payload, gas, nonce, fees, value), keccak256(raw))
