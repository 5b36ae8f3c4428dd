from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.devnet.errors import Refused
from codex.devnet.transactions import LARGEST, Account, fixed_gas, read, sign
from codex.devnet.values import Message, keccak256

KEY = keccak256(b"alice")
ALICE = Account.of(KEY)
BOB = bytes(range(20))

SENT: dict[str, dict[str, Any]] = {
    "with a base fee": {"type": 2, "maxFeePerGas": 30, "maxPriorityFeePerGas": 2, "chainId": 31337},
    "with an access list": {
        "type": 1,
        "gasPrice": 30,
        "chainId": 31337,
        "accessList": [{"address": "0x" + BOB.hex(), "storageKeys": ["0x" + "00" * 32]}],
    },
    "legacy": {"gasPrice": 30, "chainId": 31337},
    "legacy without a chain": {"gasPrice": 30},
}


def signed(**changes: Any) -> bytes:
    """A transaction by alice, made by the library that wallets use."""
    from eth_account import Account as Wallet

    fields = {"nonce": 7, "to": "0x" + BOB.hex(), "value": 5, "data": "0x0102", "gas": 50_000}
    return bytes(Wallet.sign_transaction(fields | changes, KEY).raw_transaction)


@pytest.mark.parametrize("changes", SENT.values(), ids=SENT)
def test_what_wallets_sign_is_read(changes: dict[str, Any]) -> None:
    raw = signed(**changes)
    transaction = read(raw)
    assert transaction.sender == ALICE.address
    assert (transaction.nonce, transaction.to, transaction.value) == (7, BOB, 5)
    assert (transaction.data, transaction.gas) == (b"\1\2", 50_000)
    assert transaction.kind == changes.get("type", 0)
    assert transaction.chain_id == changes.get("chainId")
    assert transaction.max_fee == 30
    assert transaction.max_tip == (2 if transaction.kind == 2 else 30)
    assert transaction.hash == keccak256(raw)
    assert transaction.cost == 5 + 50_000 * 30


def test_what_a_unit_of_gas_costs() -> None:
    transaction = read(signed(**SENT["with a base fee"]))
    assert transaction.price(20) == 22
    assert transaction.price(29) == 30
    assert read(signed(**SENT["legacy"])).price(10) == 30


def test_a_creation_has_no_recipient() -> None:
    assert read(signed(to="", gasPrice=1)).to is None


def test_the_chains_own_accounts_sign_what_the_library_reads() -> None:
    from eth_account import Account as Wallet

    message = Message(ALICE.address, BOB, b"\1", value=3, gas=60_000, nonce=2)
    transaction = sign(ALICE, chain_id=5, message=message, max_fee=9, max_tip=1)
    assert Wallet.recover_transaction(transaction.raw).lower() == "0x" + ALICE.address.hex()
    assert (transaction.chain_id, transaction.nonce, transaction.to, transaction.value) == (5, 2, BOB, 3)
    assert (transaction.gas, transaction.max_fee, transaction.max_tip) == (60_000, 9, 1)


def test_a_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(ALICE)
    assert repr(KEY) not in repr(ALICE)


def refusal(raw: bytes) -> str:
    with pytest.raises(Refused) as refused:
        read(raw)
    return refused.value.message


def test_what_is_no_transaction_is_refused() -> None:
    assert refusal(b"").startswith("rlp")
    assert refusal(b"\x02").startswith("rlp")
    assert refusal(b"\xc0") == "rlp: wrong number of fields in transaction"
    assert refusal(b"\x02\xc0") == "rlp: wrong number of fields in transaction"
    assert refusal(b"\x03\xc0") == "transaction type 3 not supported"
    assert refusal(bytes(LARGEST + 1)) == "oversized data"
    assert refusal(signed(gasPrice=1)[:-1]).startswith("rlp")
    assert refusal(signed(gasPrice=1) + b"\0").startswith("rlp")


def test_a_tip_is_not_more_than_the_whole() -> None:
    message = Message(ALICE.address, BOB)
    with pytest.raises(Refused, match="max priority fee"):
        sign(ALICE, chain_id=5, message=message, max_fee=1, max_tip=2)


def changed(place: int, value: Any) -> bytes:
    """Alice's transaction with a base fee, one of its fields another."""
    import rlp

    fields = rlp.decode(signed(**SENT["with a base fee"])[1:])
    fields[place] = value
    return b"\x02" + rlp.encode(fields)


@pytest.mark.parametrize(
    ("place", "value"),
    [(10, b""), (11, b""), (9, b"\x02"), (10, b"\xff" * 32), (11, b"\xff" * 32)],
)
def test_a_signature_that_is_none_is_refused(place: int, value: bytes) -> None:
    assert refusal(changed(place, value)) == "invalid transaction v, r, s values"


@pytest.mark.parametrize("value", [b"\0\1", b"\1" * 33, [b"\1"]])
def test_a_number_has_one_form(value: Any) -> None:
    assert refusal(changed(1, value)) == "rlp: a number of the transaction is of the wrong form"


@pytest.mark.parametrize(("place", "value"), [(5, b"\1" * 19), (5, [b""]), (7, [b""])])
def test_recipient_and_data_are_bytes(place: int, value: Any) -> None:
    assert refusal(changed(place, value)).startswith("rlp: the recipient or the data")


def test_the_high_half_of_signatures_is_refused() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    s = read(signed(**SENT["with a base fee"])).s
    assert refusal(changed(11, (order - s).to_bytes(32, "big"))) == "invalid transaction v, r, s values"


@given(st.binary(max_size=200))
def test_bytes_that_come_are_read_or_refused(raw: bytes) -> None:
    try:
        read(raw)
    except Refused:
        return
    raise AssertionError("nobody signs by chance")


def test_gas_that_a_transaction_takes_before_anything_runs() -> None:
    assert fixed_gas(b"", False) == 21_000
    assert fixed_gas(b"\0\1", False) == 21_000 + 4 + 16
    assert fixed_gas(b"\1" * 33, True) == 21_000 + 32_000 + 33 * 16 + 4
