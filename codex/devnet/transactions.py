"""Signed transactions: read from the bytes that wallets send, and signed for the chain's own accounts.

Types 0 (EIP-155 or without a chain), 1 (EIP-2930) and 2 (EIP-1559). Access lists are taken, without effect.
"""

from typing import Any

from attrs import frozen
from coincurve import PrivateKey, PublicKey

from codex.devnet.errors import INVALID_PARAMS, REFUSED, Refused
from codex.devnet.values import Message, Transaction, keccak256

LARGEST = 128 * 1024
"""Bytes of a transaction at most, as nodes of live chains have it."""
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1. Of the two values that `s` may have, the lower one is taken (EIP-2)."""
_FIELDS = {0: 9, 1: 11, 2: 12}


@frozen
class Account:
    """A key that the chain itself holds, and the address that goes with it."""

    address: bytes
    key: bytes

    @classmethod
    def of(cls, key: bytes) -> "Account":
        """The account of a secret key of 32 bytes."""
        return cls(_address(PrivateKey(key).public_key), key)

    def __repr__(self) -> str:
        return f"Account(0x{self.address.hex()})"


def read(raw: bytes) -> Transaction:
    """The transaction that `raw` is. Raises Refused when it is none, or its signature is none."""
    import rlp

    if len(raw) > LARGEST:
        raise Refused(REFUSED, "oversized data")
    kind = raw[0] if raw and raw[0] < 0x80 else 0
    if kind not in _FIELDS:
        raise Refused(REFUSED, f"transaction type {kind} not supported")
    try:
        fields = rlp.decode(raw[1:] if kind else raw)
        if not isinstance(fields, list) or len(fields) != _FIELDS[kind]:
            raise Refused(REFUSED, "rlp: wrong number of fields in transaction")
        return _legacy(raw, fields) if kind == 0 else _typed(raw, kind, fields)
    except rlp.DecodingError as error:
        raise Refused(REFUSED, f"rlp: {error}") from error


def sign(account: Account, *, chain_id: int, message: Message, max_fee: int, max_tip: int) -> Transaction:
    """A transaction of type 2 by `account`: `message` with its nonce, whoever it says is the sender."""
    import rlp

    fields: list[Any] = [
        chain_id,
        message.nonce,
        max_tip,
        max_fee,
        message.gas,
        message.to or b"",
        message.value,
        message.data,
        [],
    ]
    signature = PrivateKey(account.key).sign_recoverable(keccak256(b"\x02" + rlp.encode(fields)), hasher=None)
    r, s = (int.from_bytes(signature[at : at + 32], "big") for at in (0, 32))
    return read(b"\x02" + rlp.encode([*fields, signature[64], r, s]))


def fixed_gas(data: bytes, creates: bool) -> int:
    """Gas that a transaction takes before anything runs (EIP-2, EIP-2028, EIP-3860)."""
    zeros = data.count(0)
    gas = 21_000 + 4 * zeros + 16 * (len(data) - zeros)
    return gas + 32_000 + 2 * ((len(data) + 31) // 32) if creates else gas


def _legacy(raw: bytes, fields: list[Any]) -> Transaction:
    import rlp

    nonce, price, gas, to, value, data, v, r, s = fields
    mark = _number(v)
    if mark >= 35:
        chain_id, parity = divmod(mark - 35, 2)
        signed = rlp.encode([nonce, price, gas, to, value, data, chain_id, 0, 0])
    else:
        chain_id, parity = None, mark - 27
        signed = rlp.encode([nonce, price, gas, to, value, data])
    return _made(raw, 0, chain_id, signed, (nonce, price, price, gas, to, value, data), (parity, r, s))


def _typed(raw: bytes, kind: int, fields: list[Any]) -> Transaction:
    import rlp

    chain, nonce, *fees, gas, to, value, data, _accesses, parity, r, s = fields
    signed = raw[:1] + rlp.encode(fields[:-3])
    tip, fee = (fees[0], fees[-1])
    return _made(
        raw, kind, _number(chain), signed, (nonce, fee, tip, gas, to, value, data), (_number(parity), r, s)
    )


def _made(
    raw: bytes,
    kind: int,
    chain_id: int | None,
    signed: bytes,
    fields: tuple[Any, ...],
    signature: tuple[int, bytes, bytes],
) -> Transaction:
    nonce, fee, tip, gas, to, value, data = fields
    parity, r, s = signature[0], _number(signature[1]), _number(signature[2])
    if not isinstance(to, bytes) or len(to) not in (0, 20) or not isinstance(data, bytes):
        raise Refused(REFUSED, "rlp: the recipient or the data of the transaction are of the wrong form")
    if parity not in (0, 1) or not 0 < r < _ORDER or not 0 < s <= _ORDER // 2:
        raise Refused(REFUSED, "invalid transaction v, r, s values")
    try:
        key = PublicKey.from_signature_and_message(
            r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity]), keccak256(signed), hasher=None
        )
    except ValueError as error:
        raise Refused(REFUSED, "invalid transaction v, r, s values") from error
    transaction = Transaction(
        raw=raw,
        hash=keccak256(raw),
        kind=kind,
        chain_id=chain_id,
        sender=_address(key),
        nonce=_number(nonce),
        to=to or None,
        value=_number(value),
        data=data,
        gas=_number(gas),
        max_fee=_number(fee),
        max_tip=_number(tip),
        parity=parity,
        r=r,
        s=s,
    )
    if transaction.max_tip > transaction.max_fee:
        raise Refused(REFUSED, "max priority fee per gas higher than max fee per gas")
    return transaction


def _number(field: Any) -> int:
    if not isinstance(field, bytes) or len(field) > 32 or field[:1] == b"\0":
        raise Refused(INVALID_PARAMS, "rlp: a number of the transaction is of the wrong form")
    return int.from_bytes(field, "big")


def _address(key: PublicKey) -> bytes:
    return keccak256(key.format(compressed=False)[1:])[-20:]
