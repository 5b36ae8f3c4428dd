"""A simulation of a chain, for tests of whoever reads and writes one.

It has blocks, logs, a pool of transactions and one account's balance; contracts run nowhere in it: a test
says what a call answers. It is right about what this node relies on: numbers and hashes of blocks, order of
nonces, replacement of what is in the pool, and what becomes of all that in a reorganisation.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from eth_abi.abi import encode

from codex.market.ids import keccak256
from codex.testing.chain_provider import ProviderError, SimulatedProvider

__all__ = [
    "CHAIN_ID",
    "GAS",
    "ProviderError",
    "SentTransaction",
    "SimulatedChain",
    "SimulatedLog",
    "SimulatedProvider",
    "shown_of",
    "transaction_of",
]

CHAIN_ID = 31337
GAS = 50_000
"""What every transaction is estimated at, and takes."""
BASE_FEE = 1_000_000_000
_CONFIG = "((uint8,uint8,uint8,uint8),(uint64,uint64,uint8,uint8,string),(uint8),uint64)"
CONFIGURATION = ((10, 2, 20, 20), (60, 30, 32, 97, ""), (3,), 30 * 86400)
"""The numbers of the marketplace, as its contract tells them."""
_CONFIGURATION = "0x" + keccak256(b"configuration()")[:4].hex()


@frozen
class SimulatedLog:
    """What a contract says in a block that a test makes."""

    address: str
    topics: tuple[str, ...]
    data: str = "0x"


@define
class _Sent:
    """A transaction that was sent."""

    hash: str
    nonce: int
    to: str
    data: str
    price: int
    """What it offers whoever makes the block, in wei a unit of gas."""
    raw: str = ""


@define
class _Block:
    number: int
    hash: str
    parent: str
    timestamp: int
    base_fee: int | None
    logs: tuple[SimulatedLog, ...] = ()
    sent: list[_Sent] = field(factory=list)
    count: int = 0
    """Transactions up to its end."""

    def as_json(self) -> dict[str, Any]:
        return {
            "number": hex(self.number),
            "hash": self.hash,
            "parentHash": self.parent,
            "timestamp": hex(self.timestamp),
            **({} if self.base_fee is None else {"baseFeePerGas": hex(self.base_fee)}),
        }


@frozen
class SentTransaction:
    """What a node has sent, as it can be read: prices in wei a unit of gas, addresses and data as text."""

    nonce: int
    tip: int
    most: int
    gas: int
    to: str
    data: str


def transaction_of(raw: str) -> SentTransaction:
    """The transaction of type 2 that `raw` is, in hexadecimal. Its signature is not looked at."""
    import rlp

    assert raw.startswith("0x02")
    _, nonce, tip, most, gas, to, _, data, *_ = rlp.decode(bytes.fromhex(raw[4:]))
    return SentTransaction(
        int.from_bytes(nonce, "big"),
        int.from_bytes(tip, "big"),
        int.from_bytes(most, "big"),
        int.from_bytes(gas, "big"),
        "0x" + to.hex(),
        "0x" + data.hex(),
    )


_FIELDS = (
    *("chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas", "to", "value", "input"),
    *("accessList", "yParity", "r", "s"),
)
"""Of a transaction of type 2, in order."""


def shown_of(raw: str) -> dict[str, Any]:
    """A transaction of type 2 as providers show it."""
    import rlp

    fields = dict(zip(_FIELDS, rlp.decode(bytes.fromhex(raw[4:])), strict=True))
    shown: dict[str, Any] = {
        name: "0x" + value.hex() if name in ("to", "input") else hex(int.from_bytes(value, "big"))
        for name, value in fields.items()
        if name != "accessList"
    }
    return {**shown, "type": "0x2", "accessList": [], "blockHash": None}


class SimulatedChain:
    """Blocks that a test makes, and the transactions of one account."""

    def __init__(self, *, genesis: int = 1_700_000_000, interval: int = 1) -> None:
        """The first block is of time `genesis`, unix seconds; blocks come `interval` seconds apart."""
        self._interval = interval
        self._salt = 0
        self._blocks: list[_Block] = []
        self._pool: dict[int, _Sent] = {}
        self.providers: list[SimulatedProvider] = []
        self.balance = 10**18
        """Wei of every account."""
        self.base_fee: int | None = BASE_FEE
        """Of the blocks to come, in wei a unit of gas; None for a chain that has no such fee."""
        self.gas_price = BASE_FEE
        """What is named to who asks for a price."""
        self.least_price = 0
        """What a transaction must offer at least to get into a block, in wei a unit of gas."""
        self.failing: set[str] = set()
        """Data of transactions that fail when they are in a block."""
        self.shows = ""
        """The method by which it shows what waits in the pool: txpool_contentFrom or
        eth_getTransactionBySenderAndNonce; none unless one is set.
        """
        self.logs_limit = 10_000
        """Blocks that one scan of logs may have."""
        self.configuration: str | ProviderError = "0x" + encode((_CONFIG,), (CONFIGURATION,)).hex()
        """What a marketplace's configuration is answered with."""
        self.contract: Callable[[str, str], str] = lambda to, data: "0x"
        """What any other call of a contract, by address and data, is answered with; may raise
        ProviderError.
        """
        self.mine(timestamp=genesis)

    @property
    def height(self) -> int:
        return self._blocks[-1].number

    @property
    def waiting(self) -> list[int]:
        """The nonces that are in the pool."""
        return sorted(self._pool)

    def latest_sent(self) -> list[SentTransaction]:
        """The transactions in the newest block that has any."""
        block = next(block for block in reversed(self._blocks) if block.sent)
        return [transaction_of(sent.raw) for sent in block.sent]

    def provider(self, *, pushes: bool = True) -> SimulatedProvider:
        """A provider of this chain."""
        provider = SimulatedProvider(self.answer, pushes=pushes)
        self.providers.append(provider)
        return provider

    def mine(self, *logs: SimulatedLog, count: int = 1, timestamp: int | None = None) -> None:
        """Make blocks. The first has the logs, and what is in the pool and offers enough."""
        for number in range(count):
            self._append(logs if number == 0 else (), timestamp)
        for provider in self.providers:
            provider.push_head(self._blocks[-1].as_json())

    def reorganise(self, depth: int, *logs: SimulatedLog, longer: int = 1, lose: bool = False) -> None:
        """Replace the last `depth` blocks by as many and `longer` more, of which the first has `logs`. The
        transactions in those that go come back into the pool, unless they are to be lost.
        """
        gone = self._blocks[-depth:]
        del self._blocks[-depth:]
        self._salt += 1
        if not lose:
            self._pool.update({sent.nonce: sent for block in gone for sent in block.sent})
        held, self.least_price = self.least_price, 10**30  # they wait for a block after these
        self.mine(*logs, count=depth + longer)
        self.least_price = held

    def take_over(self, nonce: int) -> None:
        """Have another transaction in the place of one in the pool, as if the same key had sent it from
        elsewhere.
        """
        self._pool[nonce] = evolve(self._pool[nonce], hash="0x" + "ee" * 32)

    def forget(self) -> None:
        """Lose everything that is in the pool, as a provider does that was restarted."""
        self._pool.clear()

    def _append(self, logs: Sequence[SimulatedLog], timestamp: int | None) -> None:
        before = self._blocks[-1] if self._blocks else None
        number = before.number + 1 if before else 0
        parent = before.hash if before else "0x" + "00" * 32
        made = hashlib.sha256(f"{self._salt}:{number}:{parent}".encode()).hexdigest()
        time = timestamp if timestamp is not None else before.timestamp + self._interval if before else 0
        count = before.count if before else 0
        block = _Block(number, "0x" + made, parent, time, self.base_fee, tuple(logs), [], count)
        self._blocks.append(block)
        while (sent := self._pool.get(self._count)) is not None and sent.price >= self.least_price:
            block.sent.append(self._pool.pop(sent.nonce))
            block.count += 1

    @property
    def _count(self) -> int:
        return self._blocks[-1].count

    # -- methods

    async def answer(self, method: str, params: list[Any]) -> Any:
        """What a provider of this chain answers. Raises ProviderError."""
        match method, params:
            case "eth_chainId", []:
                return hex(CHAIN_ID)
            case "eth_syncing", []:
                return False
            case "eth_getCode", [_, _]:
                return "0xfe"
            case "eth_accounts", []:
                return []
            case "eth_getBlockByNumber", [at, False]:
                return self._block(at)
            case "eth_gasPrice", []:
                return hex(self.gas_price)
            case "eth_getBalance", [_, _]:
                return hex(self.balance)
            case "eth_estimateGas", [call, _]:
                self.contract(call["to"], call["data"])
                return hex(GAS)
            case "eth_call", [{"data": data}, _] if data == _CONFIGURATION:
                if isinstance(self.configuration, ProviderError):
                    raise self.configuration
                return self.configuration
            case "eth_call", [call, _]:
                return self.contract(call["to"], call["data"])
            case "eth_getTransactionCount", [_, at]:
                return hex(self._count if at == "latest" else self._pending_count())
            case "eth_sendRawTransaction", [raw]:
                return self._send(raw)
            case "eth_getTransactionReceipt", [hash]:
                return self._receipt(hash)
            case "eth_getLogs", [wanted]:
                return self._logs(wanted)
            case "txpool_contentFrom", [_] if self.shows == method:
                return {"pending": {str(nonce): shown_of(sent.raw) for nonce, sent in self._pool.items()}}
            case "eth_getTransactionBySenderAndNonce", [_, nonce] if self.shows == method:
                waiting = self._pool.get(int(nonce, 16))
                return None if waiting is None else shown_of(waiting.raw)
        raise ProviderError(-32601, f"the method {method} does not exist")

    def _block(self, at: str) -> dict[str, Any] | None:
        number = self.height if at == "latest" else int(at, 16)
        return self._blocks[number].as_json() if number <= self.height else None

    def _pending_count(self) -> int:
        count = self._count
        while count in self._pool:
            count += 1
        return count

    def _send(self, raw: str) -> str:
        fields = transaction_of(raw)
        hash = "0x" + keccak256(bytes.fromhex(raw[2:])).hex()
        sent = _Sent(hash, fields.nonce, fields.to, fields.data, fields.tip, raw)
        there = self._pool.get(sent.nonce)
        if there is not None and there.hash == hash:
            raise ProviderError(-32000, "already known")
        if sent.nonce < self._count:
            raise ProviderError(-32000, f"nonce too low: next nonce {self._count}, tx nonce {sent.nonce}")
        if there is not None and sent.price * 10 < there.price * 11:
            raise ProviderError(-32000, "replacement transaction underpriced")
        self._pool[sent.nonce] = sent
        return hash

    def _receipt(self, hash: str) -> dict[str, Any] | None:
        for block in self._blocks:
            for sent in block.sent:
                if sent.hash == hash:
                    return {
                        "transactionHash": hash,
                        "blockNumber": hex(block.number),
                        "blockHash": block.hash,
                        "status": "0x0" if sent.data in self.failing else "0x1",
                        "gasUsed": hex(GAS),
                        "logs": [],
                    }
        return None

    def _logs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        if "blockHash" in wanted:
            there = [block.number for block in self._blocks if block.hash == wanted["blockHash"]]
            if not there:
                raise ProviderError(-32000, "unknown block")
            first = last = there[0]
        else:
            first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if last - first >= self.logs_limit:
            raise ProviderError(-32005, "query returned more than 10000 results")
        (topics,) = wanted["topics"]
        return [
            {
                "address": log.address,
                "topics": list(log.topics),
                "data": log.data,
                "blockNumber": hex(block.number),
                "blockHash": block.hash,
                "transactionHash": block.hash,
                "logIndex": hex(index),
            }
            for block in self._blocks[first : last + 1]
            for index, log in enumerate(block.logs)
            if log.address == wanted["address"] and log.topics[0] in topics
        ]
