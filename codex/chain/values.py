"""What a chain tells, as values: blocks, logs, receipts; and how this node stands with it."""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from codex.chain.jsonrpc import data, number, shown
from codex.errors import DecodeError
from codex.market import Address

BlockTag = Literal["latest", "pending"] | int
"""A block by its number, the newest one, or the one that is about to be made."""


FARTHEST = 2**40
"""Blocks have lower numbers, and all times are earlier (unix seconds): it is some 30,000 years ahead. Farther
still, a float that holds a time does not tell one second from the next.
"""


def _hex(raw: bytes) -> str:
    return raw.hex()


def _fields(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DecodeError(f"the provider gave no {what}: {shown(value)}")
    return value


def _near(number: int, what: str) -> int:
    if number >= FARTHEST:
        raise DecodeError(f"the provider gave {what} that is beyond all there will be: {number}")
    return number


@frozen(slots=True)
class Header:
    """A block. `timestamp` is in unix seconds; `base_fee` in wei a unit of gas, None on a chain without."""

    number: int
    hash: bytes = field(repr=_hex)
    parent: bytes = field(repr=_hex)
    timestamp: int
    base_fee: int | None = None

    @classmethod
    def from_json(cls, value: object) -> "Header":
        """Raises DecodeError."""
        block = _fields(value, "block")
        fee = block.get("baseFeePerGas")
        return cls(
            _near(number(block.get("number"), "a block's number"), "a block's number"),
            data(block.get("hash"), "a block's hash", 32),
            data(block.get("parentHash"), "a block's parent", 32),
            _near(number(block.get("timestamp"), "a block's time"), "a block's time"),
            None if fee is None else number(fee, "a base fee"),
        )


@frozen(slots=True)
class Log:
    """What a contract said in a transaction. `index` counts the logs of a block."""

    address: Address
    topics: tuple[bytes, ...] = field(repr=lambda topics: ",".join(map(_hex, topics)))
    data: bytes = field(repr=_hex)
    block: int
    block_hash: bytes = field(repr=_hex)
    transaction: bytes = field(repr=_hex)
    index: int

    @classmethod
    def from_json(cls, value: object) -> "Log":
        """Raises DecodeError."""
        log = _fields(value, "log")
        topics = log.get("topics")
        if not isinstance(topics, list) or len(topics) > 4:
            raise DecodeError(f"the provider gave no topics of a log: {shown(topics)}")
        return cls(
            Address(data(log.get("address"), "a log's address", 20)),
            tuple([data(topic, "a log's topic", 32) for topic in topics]),
            data(log.get("data"), "a log's data"),
            number(log.get("blockNumber"), "a log's block"),
            data(log.get("blockHash"), "the hash of a log's block", 32),
            data(log.get("transactionHash"), "a log's transaction", 32),
            number(log.get("logIndex"), "a log's index"),
        )


@frozen(slots=True)
class Receipt:
    """A transaction that is in a block."""

    transaction: bytes = field(repr=_hex)
    block: int
    block_hash: bytes = field(repr=_hex)
    succeeded: bool
    gas_used: int
    logs: tuple[Log, ...]

    @classmethod
    def from_json(cls, value: object) -> "Receipt":
        """Raises DecodeError."""
        receipt = _fields(value, "receipt")
        logs = receipt.get("logs")
        if not isinstance(logs, list):
            raise DecodeError(f"the provider gave no logs of a transaction: {shown(logs)}")
        return cls(
            data(receipt.get("transactionHash"), "a transaction's hash", 32),
            number(receipt.get("blockNumber"), "a transaction's block"),
            data(receipt.get("blockHash"), "the hash of a transaction's block", 32),
            number(receipt.get("status"), "a transaction's status") == 1,
            number(receipt.get("gasUsed"), "the gas of a transaction"),
            tuple(map(Log.from_json, logs)),
        )


@frozen
class Connected:
    """A provider answers, since `since` (unix seconds), for the chain of id `chain`."""

    url: str
    """Without what may be secret in it."""
    since: float
    chain: int


@frozen
class Disconnected:
    """No provider answers, since `since`. `why` tells what came of each attempt; the next one is at
    `next_try` (both in unix seconds).
    """

    since: float
    why: str
    next_try: float


ChainState = Connected | Disconnected


@frozen(kw_only=True)
class Spending:
    """Tokens that a transaction has a contract take from this node's account: it must be allowed to."""

    token: Address
    spender: Address
    amount: int
