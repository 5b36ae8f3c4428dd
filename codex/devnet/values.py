"""What an embedded chain is made of: messages, outcomes, transactions, logs, receipts and blocks.

Addresses are 20 bytes, hashes and topics 32; amounts are in wei, times in whole seconds since 1970.
"""

from attrs import frozen
from Crypto.Hash import keccak

GAS_LIMIT = 30_000_000
"""Gas of all transactions of a block."""


def keccak256(data: bytes) -> bytes:
    """The hash that Ethereum uses, 32 bytes."""
    return keccak.new(digest_bits=256, data=data).digest()


@frozen
class Message:
    """A call of a contract, or with `to` None the creation of one from `data`.

    `nonce` decides the address of what is created, and nothing else.
    """

    sender: bytes
    to: bytes | None
    data: bytes = b""
    value: int = 0
    gas: int = GAS_LIMIT
    nonce: int = 0


@frozen
class Surroundings:
    """What a contract sees of the block that it runs in."""

    number: int
    timestamp: int
    base_fee: int
    gas_limit: int
    fee_recipient: bytes


@frozen
class Event:
    """What a contract said while it ran."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@frozen
class Outcome:
    """How running a message ended.

    `output` is what was returned, or with `failure` "Revert" what the contract said of it; any other
    `failure` is the machine's own word (an opcode that is none, gas that ran out). `gas_used` is all of
    it, with the fixed part.
    """

    gas_used: int
    output: bytes
    failure: str = ""
    events: tuple[Event, ...] = ()
    created: bytes | None = None


@frozen
class Transaction:
    """A signed transaction, read: of type 0 (legacy), 1 (with access list) or 2 (with a base fee).

    For types 0 and 1 `max_fee` and `max_tip` both are the gas price.
    """

    raw: bytes
    hash: bytes
    kind: int
    chain_id: int | None
    sender: bytes
    nonce: int
    to: bytes | None
    value: int
    data: bytes
    gas: int
    max_fee: int
    max_tip: int
    parity: int
    r: int
    s: int

    @property
    def cost(self) -> int:
        """Wei that the sender must have: the value, and all of the gas at its highest price."""
        return self.value + self.gas * self.max_fee

    def price(self, base_fee: int) -> int:
        """Wei for each unit of gas in a block of that base fee."""
        return min(self.max_fee, base_fee + self.max_tip)


@frozen
class Log:
    """An event, and where in the chain it stands."""

    event: Event
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    transaction_index: int
    index: int
    """Among all logs of its block."""


@frozen
class Receipt:
    """What became of a transaction."""

    transaction: Transaction
    index: int
    block_number: int
    block_hash: bytes
    outcome: Outcome
    cumulative_gas: int
    price: int
    logs: tuple[Log, ...]


@frozen
class Block:
    """A block, with what its transactions led to.

    `branch` counts the reorganisations before it, so that blocks of the same content on two branches differ.
    """

    number: int
    hash: bytes
    parent: bytes
    timestamp: int
    base_fee: int
    gas_limit: int
    gas_used: int
    fee_recipient: bytes
    branch: int
    receipts: tuple[Receipt, ...]

    @property
    def logs(self) -> tuple[Log, ...]:
        """All logs of the block, in order."""
        return tuple(log for receipt in self.receipts for log in receipt.logs)


@frozen
class Filter:
    """Which logs are wanted: of these addresses (none: of all), with these topics at these places.

    A place without topics takes any; a log with fewer topics than places does not match.
    """

    addresses: frozenset[bytes] = frozenset()
    topics: tuple[frozenset[bytes], ...] = ()

    def takes(self, event: Event) -> bool:
        """Whether `event` is one of those."""
        if self.addresses and event.address not in self.addresses:
            return False
        if len(event.topics) < len(self.topics):
            return False
        return all(
            not any_of or topic in any_of for any_of, topic in zip(self.topics, event.topics, strict=False)
        )
