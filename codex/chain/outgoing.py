"""A transaction on its way: what was sent of it, and what a provider means that does not take it."""

import trio
from attrs import define, field

from codex.chain.jsonrpc import RpcError, hexed
from codex.chain.values import Receipt
from codex.chain.wallet import Transaction
from codex.errors import CodexError, TransactionUnsettled


@define(eq=False)
class Outgoing:
    """One nonce, and what was sent with it: every replacement has a hash of its own."""

    transaction: Transaction
    block: int
    """The newest one when it was first sent; later the one that it is in."""
    sent_block: int
    sent_at: float
    raw: bytes | None = None
    is_unsent: bool = False
    """Whether the transaction is another one by now than those that were sent."""
    adrift: bool = False
    """Whether the provider may not have it."""
    hashes: list[bytes] = field(factory=list)
    passed_over: int = 0
    settled: trio.Event = field(factory=trio.Event)
    receipt: Receipt | None = None
    error: CodexError | None = None

    def settle(self, receipt: Receipt | None = None, error: CodexError | None = None) -> None:
        """Tell whoever waits; the first telling counts for them."""
        if receipt is not None:
            self.receipt = receipt
        if not self.settled.is_set():
            self.error = error
            self.settled.set()

    def unsettled(self, why: str) -> TransactionUnsettled:
        """What whoever waits is told when it is not known to be done."""
        return TransactionUnsettled(
            f"transaction {hexed(self.hashes[-1])} with nonce {self.transaction.nonce} {why}",
            remedy="See on the chain what became of it before it is sent again.",
        )


def is_known(error: RpcError) -> bool:
    """Whether the provider has this very transaction already."""
    words = error.message.lower()
    return "already known" in words or "already imported" in words or "known transaction" in words


def is_nonce(error: RpcError) -> bool:
    """Whether the nonce is what is wrong: used already, or too far ahead."""
    words = error.message.lower()
    return "nonce" in words and ("low" in words or "high" in words or "expected" in words or "used" in words)


def is_underpriced(error: RpcError) -> bool:
    words = error.message.lower()
    return "underpriced" in words or "less than block base fee" in words or "fee too low" in words
