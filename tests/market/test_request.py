"""Requests: their names after known values, their amounts, and how they go through the interface."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from eth_abi.abi import decode, encode

from codex.market import Address, SlotId, StorageAsk, StorageContent, StorageRequest
from codex.market.request import ABI

Vectors = Callable[[str], Any]


def request_of(row: Any) -> StorageRequest:
    ask, content = row["ask"], row["content"]
    return StorageRequest(
        client=Address.parse(row["client"]),
        ask=StorageAsk(
            proof_probability=int(ask["proofProbability"]),
            price_per_byte_per_second=int(ask["pricePerBytePerSecond"]),
            collateral_per_byte=int(ask["collateralPerByte"]),
            slots=int(ask["slots"]),
            slot_size=int(ask["slotSize"]),
            duration=int(ask["duration"]),
            max_slot_loss=int(ask["maxSlotLoss"]),
        ),
        content=StorageContent(bytes.fromhex(content["cid_hex"]), bytes.fromhex(content["merkle_root_hex"])),
        expiry=int(row["expiry"]),
        nonce=bytes.fromhex(row["nonce_hex"]),
    )


def test_request_ids_are_as_on_the_chain(vectors: Vectors) -> None:
    rows = vectors("contracts_abi")["ids"]["vectors"]
    assert len(rows) >= 3
    for row in rows:
        request = request_of(row["request"])
        assert encode([ABI], [request.as_tuple()]).hex() == row["abi_encoding_hex"]
        assert request.id.hex == row["request_id_hex"]
        for slot in row["slot_ids"]:
            assert request.slot(slot["index"]).id.hex == slot["slot_id_hex"]


def test_a_request_comes_back_from_its_encoding(vectors: Vectors) -> None:
    for row in vectors("contracts_abi")["ids"]["vectors"]:
        (values,) = decode([ABI], bytes.fromhex(row["abi_encoding_hex"]))
        assert StorageRequest.from_tuple(values) == request_of(row["request"])


def test_amounts_of_a_request(request_of_alice: StorageRequest) -> None:
    ask = request_of_alice.ask
    assert ask.price_per_slot_per_second == 524288
    assert ask.price_per_slot == 524288 * 3600
    assert ask.price == 3 * 524288 * 3600
    assert ask.collateral_per_slot == 524288


def test_a_slot_is_named_after_its_request(request_of_alice: StorageRequest) -> None:
    slot = request_of_alice.slot(2)
    assert slot.id == SlotId.of(request_of_alice.id, 2)
    assert slot.id is slot.id


def test_the_words_of_the_marketplace_load_no_library_of_the_chain() -> None:
    probe = "import sys, codex.market; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert "codex" in loaded.split()
    assert {"eth_abi", "eth_utils", "eth_account", "eth_hash", "trio"}.isdisjoint(loaded.split())
