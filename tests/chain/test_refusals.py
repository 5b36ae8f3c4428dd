"""Refusals are found wherever chains put them, and say what to do."""

from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from codex import errors
from codex.chain import abi
from codex.chain.jsonrpc import RpcError
from codex.chain.refusals import ROWS, named, refusal_data, refused, translated
from codex.errors import ChainFailed, ChainRefused, CodexError, InsufficientFunds

NOT_FREE = "0xff556acf"
POOR = "0xe450d38c" + encode(["address", "uint256", "uint256"], ["0x" + "aa" * 20, 5, 7]).hex()


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("execution reverted", NOT_FREE),
        ("execution reverted: custom error 0xff556acf", NOT_FREE),
        ("VM Exception", {"message": "reverted", "txHash": "0x" + "12" * 32, "data": NOT_FREE}),
        ("VM Exception", {"message": "reverted", "data": {"message": "x", "data": NOT_FREE}}),
        ("revert", {"0x" + "ab" * 32: {"error": "revert", "program_counter": 9, "return": NOT_FREE}}),
        ("revert", {"hash": "0x" + "ab" * 32, "programCounter": 9, "result": NOT_FREE, "reason": None}),
        ("VM execution error.", f"Reverted {NOT_FREE}"),
        (f"execution reverted: custom error {NOT_FREE}", None),
        ("reverted with custom error 'Marketplace_SlotNotFree()'", None),
    ],
)
def test_a_refusal_is_found_in_every_shape(message: str, data: Any) -> None:
    error = translated(RpcError("eth_call", 3, message, data))
    assert type(error) is errors.SlotStateMismatch
    assert error.reason == "Marketplace_SlotNotFree"
    assert error.message == "another host has filled the slot"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Marketplace_SlotIsFree", errors.SlotStateMismatch),
        ("SlotReservations_ReservationNotAllowed", errors.SlotReservationNotAllowed),
        ("Proofs_InvalidProof", errors.ProofInvalid),
        ("Marketplace_UnknownRequest", errors.UnknownRequest),
        ("Marketplace_NothingToWithdraw", ChainRefused),
    ],
)
def test_what_flows_tell_apart_has_a_kind_of_its_own(name: str, kind: type[ChainRefused]) -> None:
    raw = next(refusal.selector for refusal in abi.REFUSALS if refusal.name == name)
    error = refused(raw)
    assert type(error) is kind
    assert isinstance(error, ChainRefused)
    assert error.reason == name


def test_every_refusal_of_the_table_is_told_in_words() -> None:
    for refusal in abi.REFUSALS:
        values = ["0x" + "aa" * 20 if kind == "address" else 1 for kind in refusal.inputs]
        error = refused(refusal.selector + encode(refusal.inputs, values))
        assert error.message
        assert "_" not in error.message
        assert "{" not in error.message
        assert "{" not in named(refusal.name).message
    assert set(ROWS) | {"ERC20InsufficientAllowance", "ERC20InsufficientBalance"} == {
        refusal.name for refusal in abi.REFUSALS
    }


def test_too_few_tokens_are_told_with_numbers() -> None:
    error = translated(RpcError("eth_estimateGas", 3, "execution reverted", POOR))
    assert isinstance(error, InsufficientFunds)
    assert error.message == f"0x{'aa' * 20} has 5 tokens, and 7 are needed"
    assert error.remedy


def test_a_reason_in_words_and_a_panic_are_told() -> None:
    reason = "0x08c379a0" + encode(["string"], ["not today"]).hex()
    assert translated(RpcError("eth_call", 3, "x", reason)).message == "the contract refused: not today"
    panic = "0x4e487b71" + encode(["uint256"], [0x11]).hex()
    assert "panic 0x11" in translated(RpcError("eth_call", 3, "x", panic)).message
    unknown = translated(RpcError("eth_call", 3, "x", "0xdeadbeef"))
    assert isinstance(unknown, ChainRefused)
    assert unknown.reason == "0xdeadbeef"


def test_a_refusal_whose_own_form_is_broken_is_told_by_its_selector() -> None:
    broken = refused(bytes.fromhex("08c379a0") + b"\xff" * 64)
    assert isinstance(broken, ChainRefused)
    assert broken.reason == "0x08c379a0"
    assert refused(bytes.fromhex("e450d38c") + bytes(32)).message.endswith("0xe450d38c")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("insufficient funds for gas * price + value", InsufficientFunds),
        ("Sender doesn't have enough funds to send tx", InsufficientFunds),
        ("execution reverted", ChainRefused),
        ("VM Exception while processing transaction: out of gas", ChainRefused),
        ("daily request count exceeded, request rate limited", ChainFailed),
        ("the method eth_foo does not exist/is not available", ChainFailed),
        ("unknown block 0x1234567890123456789012345678901234567890", ChainFailed),
    ],
)
def test_what_has_no_data_is_told_by_its_words(message: str, kind: type[CodexError]) -> None:
    error = translated(RpcError("eth_sendRawTransaction", -32000, message))
    assert type(error) is kind
    assert error.remedy


_json = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(max_size=80).map(lambda raw: "0x" + raw.hex()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(st.text(), _json)
def test_whatever_a_provider_answers_is_some_error(message: str, data: Any) -> None:
    error = translated(RpcError("eth_call", 1, message, data))
    assert isinstance(error, CodexError)
    assert len(error.message) < 1000


def test_data_that_never_ends_is_not_followed_for_ever() -> None:
    deep: Any = NOT_FREE
    for _ in range(100):
        deep = {"data": deep}
    assert refusal_data(deep) is None
