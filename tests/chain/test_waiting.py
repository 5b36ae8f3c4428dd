"""What waits with one of this account's nonces, as providers show it; and what is not believed of that."""

from typing import Any

import pytest

from codex.chain.fees import Fees
from codex.chain.jsonrpc import RpcError
from codex.chain.waiting import NOTHING_GAS, find_waiting, nothing, read_waiting
from codex.chain.wallet import KeySigner, Transaction
from codex.errors import DecodeError
from codex.market import Address
from codex.market.ids import keccak256
from codex.testing.chain import shown_of
from codex.testing.chain_service import ALICE_KEY, BOB_KEY

CHAIN = 31337
ALICE, BOB = KeySigner(bytes.fromhex(ALICE_KEY)), KeySigner(bytes.fromhex(BOB_KEY))
SENT = Transaction(Address(b"\xc0" * 20), b"\x01\x02", 50_000, 7, Fees(3 * 10**9, 10**9), 5)


def signed(signer: KeySigner, sent: Transaction, chain: int = CHAIN) -> bytes:
    raw = signer.sign(sent, chain)
    assert raw is not None
    return raw


def shown(signer: KeySigner = ALICE, chain: int = CHAIN, sent: Transaction = SENT) -> dict[str, Any]:
    raw = signed(signer, sent, chain)
    return shown_of("0x" + raw.hex())


def shown_legacy(chain: int = CHAIN) -> dict[str, Any]:
    """A transaction of the first kind as providers show it, and its hash."""
    import rlp

    sent = Transaction(SENT.to, SENT.data, SENT.gas, SENT.nonce, Fees(10**9, None), 5)
    raw = signed(ALICE, sent, chain)
    names = ("nonce", "gasPrice", "gas", "to", "value", "input", "v", "r", "s")
    fields = dict(zip(names, rlp.decode(raw), strict=True))
    return {
        name: "0x" + value.hex() if name in ("to", "input") else hex(int.from_bytes(value, "big"))
        for name, value in fields.items()
    } | {"hash": "0x" + keccak256(raw).hex()}


class Provider:
    """Answers as it is told."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def call(self, method: str, *params: Any) -> Any:
        self.asked.append(method)
        if method not in self._answers:
            raise RpcError(method, -32601, "the method does not exist")
        assert params[0] == str(ALICE.address)
        return self._answers[method]


def test_what_this_account_has_signed_is_read() -> None:
    found = read_waiting(shown(), ALICE.address, 7, CHAIN)
    assert found.transaction == SENT
    assert found.hash == keccak256(signed(ALICE, SENT))
    legacy = shown_legacy()
    found = read_waiting(legacy, ALICE.address, 7, CHAIN)
    assert found.transaction.fees == Fees(10**9, None)
    assert "0x" + found.hash.hex() == legacy["hash"]


@pytest.mark.parametrize(
    "made",
    [
        shown(BOB),
        shown(chain=1),
        shown() | {"to": "0x" + "ee" * 20},
        shown() | {"value": "0x6"},
        shown() | {"input": "0x03"},
        shown() | {"r": "0x0"},
        shown() | {"s": hex(2**256 - 1)},
        shown() | {"yParity": "0x5"},
        shown() | {"type": "0x3"},
        shown() | {"type": "0x1"},
        shown() | {"accessList": [], "to": None},
        shown() | {"gas": 5},
        shown_legacy(chain=1),
        {},
        None,
        [],
        "0x",
    ],
)
def test_nothing_else_is_believed(made: Any) -> None:
    with pytest.raises(DecodeError):
        read_waiting(made, ALICE.address, 7, CHAIN)


def test_another_nonce_is_not_what_was_signed() -> None:
    with pytest.raises(DecodeError, match="has not signed"):
        read_waiting(shown(), ALICE.address, 8, CHAIN)


async def test_each_method_is_tried_that_providers_have() -> None:
    pool = Provider(txpool_contentFrom={"pending": {"7": shown()}, "queued": {}})
    found = await find_waiting(pool, ALICE.address, 7, CHAIN)
    assert found is not None
    assert found.transaction == SENT
    single = Provider(eth_getTransactionBySenderAndNonce=shown())
    found = await find_waiting(single, ALICE.address, 7, CHAIN)
    assert found is not None
    assert single.asked == ["txpool_contentFrom", "eth_getTransactionBySenderAndNonce"]


@pytest.mark.parametrize("pool", [{"pending": {}}, {"pending": []}, {}, [], None, {"pending": {"7": "?"}}])
async def test_what_is_not_shown_is_not_found(pool: Any) -> None:
    provider = Provider(txpool_contentFrom=pool, eth_getTransactionBySenderAndNonce=None)
    assert await find_waiting(provider, ALICE.address, 7, CHAIN) is None
    assert await find_waiting(Provider(), ALICE.address, 7, CHAIN) is None


def test_nothing_is_nothing() -> None:
    made = nothing(ALICE.address, 3, Fees(2, 1))
    assert made == Transaction(ALICE.address, b"", NOTHING_GAS, 3, Fees(2, 1), 0)
