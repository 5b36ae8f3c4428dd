"""Transactions on their way: what providers mean that do not take one, and what its sender is told."""

import pytest

from codex.chain import Receipt
from codex.chain.fees import Fees
from codex.chain.jsonrpc import RpcError
from codex.chain.outgoing import Outgoing, is_known, is_nonce, is_underpriced
from codex.chain.wallet import Transaction
from codex.errors import TransactionUnsettled
from codex.market import Address

RECEIPT = Receipt(bytes(32), 5, bytes(32), True, 21000, ())


def outgoing() -> Outgoing:
    made = Outgoing(Transaction(Address(bytes(20)), b"", 1, 7, Fees(1, 1)), 1, 1, 0.0)
    made.hashes.append(b"\xab" * 32)
    return made


# The words of the programs that most chains run.
@pytest.mark.parametrize(
    ("words", "known", "nonce", "underpriced"),
    [
        ("already known", True, False, False),
        ("transaction already imported", True, False, False),
        ("nonce too low: next nonce 5, tx nonce 4", False, True, False),
        ("Nonce too high. Expected nonce to be 3 but got 9.", False, True, False),
        ("nonce has already been used", False, True, False),
        ("replacement transaction underpriced", False, False, True),
        ("transaction underpriced: tip needed 1, tip permitted 0", False, False, True),
        ("max fee per gas less than block base fee", False, False, True),
        ("insufficient funds for gas * price + value", False, False, False),
        ("execution reverted", False, False, False),
    ],
)
def test_what_providers_mean(words: str, known: bool, nonce: bool, underpriced: bool) -> None:
    error = RpcError("eth_sendRawTransaction", -32000, words)
    assert (is_known(error), is_nonce(error), is_underpriced(error)) == (known, nonce, underpriced)


async def test_the_first_telling_counts() -> None:
    made = outgoing()
    assert not made.settled.is_set()
    made.settle(RECEIPT)
    made.settle(error=TransactionUnsettled("late"))
    assert made.settled.is_set()
    assert made.error is None
    assert made.receipt == RECEIPT


async def test_who_waits_is_told_which_one_is_not_done() -> None:
    error = outgoing().unsettled("is in none of 50 blocks")
    assert error.message == f"transaction 0x{'ab' * 32} with nonce 7 is in none of 50 blocks"
    assert error.remedy
