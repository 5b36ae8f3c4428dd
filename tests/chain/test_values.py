"""Blocks, logs and receipts as providers write them."""

from typing import Any

import pytest

from codex.chain import Header, Log, Receipt
from codex.chain.values import FARTHEST
from codex.errors import DecodeError
from codex.market import Address

HASH = "0x" + "ab" * 32
BLOCK: dict[str, Any] = {"number": "0x10", "hash": HASH, "parentHash": HASH, "timestamp": "0x5"}
LOG: dict[str, Any] = {
    "address": "0x" + "C0" * 20,
    "topics": [HASH],
    "data": "0x01",
    "blockNumber": "0x10",
    "blockHash": HASH,
    "transactionHash": HASH,
    "logIndex": "0x2",
}
RECEIPT: dict[str, Any] = {
    "transactionHash": HASH,
    "blockNumber": "0x10",
    "blockHash": HASH,
    "status": "0x1",
    "gasUsed": "0x5208",
    "logs": [LOG],
}
RAW = b"\xab" * 32


def test_what_providers_write_is_read() -> None:
    assert Header.from_json(BLOCK) == Header(16, RAW, RAW, 5, None)
    assert Header.from_json({**BLOCK, "baseFeePerGas": "0x7"}).base_fee == 7
    log = Log(Address(b"\xc0" * 20), (RAW,), b"\x01", 16, RAW, RAW, 2)
    assert Log.from_json(LOG) == log
    assert Receipt.from_json(RECEIPT) == Receipt(RAW, 16, RAW, True, 21000, (log,))
    assert not Receipt.from_json({**RECEIPT, "status": "0x0"}).succeeded


@pytest.mark.parametrize(("kind", "whole"), [(Header, BLOCK), (Log, LOG), (Receipt, RECEIPT)])
def test_what_lacks_something_or_has_it_wrong_is_refused(kind: Any, whole: dict[str, Any]) -> None:
    for name in whole:
        for wrong in (None, 5, "0xzz", [1]):
            with pytest.raises(DecodeError):
                kind.from_json({**whole, name: wrong})
        with pytest.raises(DecodeError):
            kind.from_json({key: value for key, value in whole.items() if key != name})
    for other in (None, "x", 5):
        with pytest.raises(DecodeError):
            kind.from_json(other)


@pytest.mark.parametrize("name", ["number", "timestamp"])
def test_a_block_that_is_too_far_ahead_is_none(name: str) -> None:
    assert Header.from_json({**BLOCK, name: hex(FARTHEST - 1)})
    for far in (FARTHEST, 2**53 + 1, 2**64 - 1, 2**200):
        with pytest.raises(DecodeError, match="beyond"):
            Header.from_json({**BLOCK, name: hex(far)})


def test_a_log_has_four_topics_at_most() -> None:
    with pytest.raises(DecodeError, match="topics"):
        Log.from_json({**LOG, "topics": [HASH] * 5})


def test_hashes_are_shown_as_such() -> None:
    assert "ab" * 32 in repr(Log.from_json(LOG))
