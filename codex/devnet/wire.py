"""Values of the chain as JSON, both ways, as Ethereum's JSON-RPC writes them."""

import re
from typing import Any

from codex.devnet.errors import INVALID_PARAMS, Refused
from codex.devnet.ledger import FEE_RECIPIENT
from codex.devnet.values import GAS_LIMIT, Block, Filter, Log, Message, Receipt, Transaction

Json = Any

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
_DATA = re.compile(r"0x([0-9a-fA-F]{2})*")
_NOTHING = "0x" + "00" * 32
"""Instead of a root: this chain has no tries."""
_MAYBE = "0x" + "ff" * 256
"""The bloom of a block with logs. It says "maybe" to every question, so that no reader passes by a log."""
_NO = "0x" + "00" * 256
_NO_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"


# Written.


def quantity(number: int) -> str:
    """A number, as JSON-RPC has it."""
    return hex(number)


def data(value: bytes) -> str:
    """Bytes, as JSON-RPC has them."""
    return "0x" + value.hex()


def json_log(log: Log, *, removed: bool = False) -> Json:
    """A log; `removed` when it is told that its block is no longer part of the chain."""
    return {
        "address": data(log.event.address),
        "topics": [data(topic) for topic in log.event.topics],
        "data": data(log.event.data),
        "blockNumber": quantity(log.block_number),
        "blockHash": data(log.block_hash),
        "transactionHash": data(log.transaction_hash),
        "transactionIndex": quantity(log.transaction_index),
        "logIndex": quantity(log.index),
        "removed": removed,
    }


def json_receipt(receipt: Receipt) -> Json:
    """What became of a transaction."""
    transaction, outcome = receipt.transaction, receipt.outcome
    return {
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(receipt.index),
        "blockHash": data(receipt.block_hash),
        "blockNumber": quantity(receipt.block_number),
        "from": data(transaction.sender),
        "to": None if transaction.to is None else data(transaction.to),
        "contractAddress": None if outcome.created is None else data(outcome.created),
        "status": quantity(0 if outcome.failure else 1),
        "type": quantity(transaction.kind),
        "gasUsed": quantity(outcome.gas_used),
        "cumulativeGasUsed": quantity(receipt.cumulative_gas),
        "effectiveGasPrice": quantity(receipt.price),
        "logs": [json_log(log) for log in receipt.logs],
        "logsBloom": _MAYBE if receipt.logs else _NO,
    }


def json_transaction(transaction: Transaction, receipt: Receipt | None) -> Json:
    """A transaction; one without a receipt waits for a block."""
    told: dict[str, Json] = {
        "hash": data(transaction.hash),
        "type": quantity(transaction.kind),
        "chainId": None if transaction.chain_id is None else quantity(transaction.chain_id),
        "from": data(transaction.sender),
        "to": None if transaction.to is None else data(transaction.to),
        "nonce": quantity(transaction.nonce),
        "value": quantity(transaction.value),
        "input": data(transaction.data),
        "gas": quantity(transaction.gas),
        "gasPrice": quantity(transaction.max_fee if receipt is None else receipt.price),
        "v": quantity(_v(transaction)),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        "blockHash": None if receipt is None else data(receipt.block_hash),
        "blockNumber": None if receipt is None else quantity(receipt.block_number),
        "transactionIndex": None if receipt is None else quantity(receipt.index),
    }
    if transaction.kind == 2:
        told |= {
            "maxFeePerGas": quantity(transaction.max_fee),
            "maxPriorityFeePerGas": quantity(transaction.max_tip),
        }
    if transaction.kind:
        told |= {"accessList": [], "yParity": quantity(transaction.parity)}
    return told


def json_header(block: Block) -> Json:
    """A block without its transactions, as it is told to subscribers."""
    return {
        "number": quantity(block.number),
        "hash": data(block.hash),
        "parentHash": data(block.parent),
        "timestamp": quantity(block.timestamp),
        "baseFeePerGas": quantity(block.base_fee),
        "gasLimit": quantity(block.gas_limit),
        "gasUsed": quantity(block.gas_used),
        "miner": data(block.fee_recipient),
        "extraData": data(b"codex devnet %d" % block.branch),
        "logsBloom": _MAYBE if block.logs else _NO,
        "difficulty": "0x0",
        "nonce": "0x" + "00" * 8,
        "mixHash": data(block.number.to_bytes(32, "big")),
        "sha3Uncles": _NO_UNCLES,
        "stateRoot": _NOTHING,
        "transactionsRoot": _NOTHING,
        "receiptsRoot": _NOTHING,
    }


def json_block(block: Block, *, full: bool) -> Json:
    """A block, with its transactions in full or by their hashes."""
    return json_header(block) | {
        "totalDifficulty": "0x0",
        "size": quantity(sum(len(receipt.transaction.raw) for receipt in block.receipts) + 512),
        "uncles": [],
        "transactions": [
            json_transaction(receipt.transaction, receipt) if full else data(receipt.transaction.hash)
            for receipt in block.receipts
        ],
    }


def json_next(number: int, parent: bytes, timestamp: int, base_fee: int) -> Json:
    """The block that is to come: without a hash, and empty."""
    coming = Block(number, b"", parent, timestamp, base_fee, GAS_LIMIT, 0, FEE_RECIPIENT, 0, ())
    return json_block(coming, full=False) | {"hash": None, "nonce": None, "miner": None}


def _v(transaction: Transaction) -> int:
    if transaction.kind:
        return transaction.parity
    if transaction.chain_id is None:
        return 27 + transaction.parity
    return 35 + 2 * transaction.chain_id + transaction.parity


# Read. Each raises Refused for what cannot be meant.


def read_quantity(given: Json) -> int:
    """A number: in hexadecimal with 0x, or a JSON number, as tools for development send it."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    if isinstance(given, str) and _QUANTITY.fullmatch(given):
        return int(given, 16)
    raise _wrong("a quantity in hexadecimal", given)


def read_data(given: Json, length: int | None = None) -> bytes:
    """Bytes in hexadecimal with 0x; `length` of them, where it is given."""
    if isinstance(given, str) and _DATA.fullmatch(given):
        value = bytes.fromhex(given[2:])
        if length is None or len(value) == length:
            return value
    raise _wrong(f"{length} bytes in hexadecimal" if length else "bytes in hexadecimal", given)


def read_address(given: Json) -> bytes:
    """An account."""
    return read_data(given, 20)


def read_hash(given: Json) -> bytes:
    """The hash of a block or a transaction."""
    return read_data(given, 32)


def read_message(given: Json, gas: int) -> Message:
    """A call or an unsigned transaction; `gas` where it says nothing of gas, and at most."""
    if not isinstance(given, dict):
        raise _wrong("an object", given)
    # Both names are in use; where both are given they say the same.
    payload = given.get("input") or given.get("data") or "0x"
    asked = given.get("gas")
    return Message(
        sender=bytes(20) if given.get("from") is None else read_address(given["from"]),
        to=None if given.get("to") in (None, "", "0x") else read_address(given["to"]),
        data=read_data(payload),
        value=read_quantity(given.get("value") or 0),
        gas=gas if asked is None else min(read_quantity(asked), gas),
    )


def read_filter(given: Json) -> Filter:
    """Which logs are wanted: `address` is one or several, of `topics` null is any and a list alternatives."""
    if not isinstance(given, dict):
        raise _wrong("an object", given)
    addresses, topics = given.get("address"), given.get("topics")
    if addresses is None:
        addresses = []
    elif isinstance(addresses, str):
        addresses = [addresses]
    if not isinstance(addresses, list) or not isinstance(topics or [], list):
        raise _wrong("a filter", given)
    return Filter(
        frozenset(read_address(address) for address in addresses),
        tuple(_topics(place) for place in topics or []),
    )


def _topics(given: Json) -> frozenset[bytes]:
    if given is None:
        return frozenset()
    if isinstance(given, list):
        return frozenset() if None in given else frozenset(read_hash(topic) for topic in given)
    return frozenset([read_hash(given)])


def _wrong(wanted: str, given: Json) -> Refused:
    shown = str(given)
    return Refused(INVALID_PARAMS, f"expected {wanted}, not {shown[:80]}")
