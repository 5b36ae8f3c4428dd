"""The table of the interface, against the interface of the network's contracts."""

from collections.abc import Callable
from typing import Any

import pytest
from eth_abi.abi import encode

from codex.chain import Log, abi
from codex.errors import DecodeError
from codex.market import (
    G1,
    G2,
    Address,
    Groth16Proof,
    ProofSubmitted,
    RequestId,
    SlotFilled,
    SlotId,
    StorageAsk,
    StorageRequested,
)
from codex.market.request import ASK_ABI

Vectors = Callable[[str], Any]


def signature(entry: Any) -> str:
    return f"{entry['name']}({','.join(map(type_of, entry['inputs']))})"


def type_of(entry: Any) -> str:
    kind: str = entry["type"]
    if kind.startswith("tuple"):
        return f"({','.join(map(type_of, entry['components']))}){kind.removeprefix('tuple')}"
    return kind


@pytest.mark.parametrize(
    ("contract", "table"),
    [
        ("marketplace", [*abi.MARKETPLACE.values(), abi.FREE_SLOT_TO, abi.WITHDRAW_FUNDS_TO]),
        ("token", list(abi.TOKEN.values())),
    ],
)
def test_functions_are_those_of_the_contracts(
    vectors: Vectors, contract: str, table: list[abi.Function]
) -> None:
    known = vectors("contracts_abi")
    selectors = known["selectors"][contract]["functions"]
    outputs = {
        signature(entry): tuple(map(type_of, entry["outputs"]))
        for entry in known[contract]
        if entry["type"] == "function"
    }
    for function in table:
        assert "0x" + function.selector.hex() == selectors[function.signature]
        assert function.outputs == outputs[function.signature]
    if contract == "marketplace":
        assert {function.signature for function in table} == set(selectors)


def test_events_are_those_of_the_marketplace(vectors: Vectors) -> None:
    known = vectors("contracts_abi")
    indexed = {
        signature(entry): [one["indexed"] for one in entry["inputs"]]
        for entry in known["marketplace"]
        if entry["type"] == "event"
    }
    topics = known["selectors"]["marketplace"]["events"]
    assert {event.signature for event in abi.EVENTS} == set(topics)
    for event in abi.EVENTS:
        assert "0x" + event.topic.hex() == topics[event.signature]
        assert indexed[event.signature] == [True] * len(event.indexed) + [False] * len(event.plain)


def test_refusals_are_those_of_the_contracts(vectors: Vectors) -> None:
    known = vectors("contracts_abi")["selectors"]
    errors = {**known["marketplace"]["errors"], **known["token"]["errors"]}
    ours = {f"{row.name}({','.join(row.inputs)})": "0x" + row.selector.hex() for row in abi.REFUSALS}
    assert ours == errors


def log(event: str, *topics: bytes, data: bytes) -> Log:
    topic = next(row.topic for row in abi.EVENTS if row.name == event)
    return Log(Address(bytes(20)), (topic, *topics), data, 1, bytes(32), bytes(32), 0)


def test_events_are_read() -> None:
    ask = (1, 2, 3, 4, 5, 6, 7)
    data = encode(["bytes32", ASK_ABI, "uint64"], [b"\x01" * 32, ask, 99])
    asked = StorageRequested(RequestId(b"\x01" * 32), StorageAsk.from_tuple(ask), 99)
    assert abi.event_of(log("StorageRequested", data=data)) == asked
    filled = log("SlotFilled", b"\x02" * 32, data=(7).to_bytes(32, "big"))
    assert abi.event_of(filled) == SlotFilled(RequestId(b"\x02" * 32), 7)
    proved = log("ProofSubmitted", data=b"\x03" * 32)
    assert abi.event_of(proved) == ProofSubmitted(SlotId(b"\x03" * 32))


def test_every_kind_of_event_is_read() -> None:
    for event in abi.EVENTS:
        zeros = encode(event.plain, [_zero(kind) for kind in event.plain])
        found = abi.event_of(log(event.name, *[bytes(32)] * len(event.indexed), data=zeros))
        assert type(found).__name__ == event.name


def _zero(kind: str) -> object:
    if kind.startswith("("):
        return tuple(map(_zero, kind.strip("()").split(",")))
    return bytes(32) if kind == "bytes32" else 0


def test_other_logs_are_none_and_broken_ones_refused() -> None:
    assert abi.event_of(Log(Address(bytes(20)), (), b"", 1, bytes(32), bytes(32), 0)) is None
    assert abi.event_of(Log(Address(bytes(20)), (b"\x09" * 32,), b"", 1, bytes(32), bytes(32), 0)) is None
    for broken in (
        log("SlotFilled", data=bytes(32)),
        log("SlotFilled", bytes(32), data=b""),
        log("SlotFilled", bytes(32), data=b"\xff" * 32),
        log("StorageRequested", data=bytes(64)),
    ):
        with pytest.raises(DecodeError):
            abi.event_of(broken)


def test_a_call_and_its_answer() -> None:
    function = abi.MARKETPLACE["slotState"]
    assert function.call(b"\x01" * 32) == bytes.fromhex("be5cdc48") + b"\x01" * 32
    assert function.answer((6).to_bytes(32, "big")) == 6
    assert abi.MARKETPLACE["freeSlot"].answer(b"") is None
    # What is no contract answers with nothing.
    with pytest.raises(DecodeError) as caught:
        function.answer(b"")
    assert "--marketplace-address" in caught.value.remedy


def test_proofs_have_the_order_of_the_interface() -> None:
    proof = Groth16Proof(G1(1, 2), G2((3, 4), (5, 6)), G1(7, 8))
    words = abi.MARKETPLACE["submitProof"].call(bytes(32), proof.as_tuple())[4 + 32 :]
    assert [int.from_bytes(words[at : at + 32], "big") for at in range(0, 256, 32)] == list(range(1, 9))
