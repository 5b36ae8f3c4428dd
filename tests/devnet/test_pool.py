from typing import Any

import pytest
from attrs import evolve

from codex.devnet import pool as pool_module
from codex.devnet.errors import Refused
from codex.devnet.pool import Pool
from codex.devnet.values import Transaction, keccak256

ALICE, BOB = bytes([0xA] * 20), bytes([0xB] * 20)


def sent(sender: bytes = ALICE, nonce: int = 0, fee: int = 100, **changes: Any) -> Transaction:
    made = Transaction(
        raw=b"",
        hash=b"",
        kind=2,
        chain_id=1,
        sender=sender,
        nonce=nonce,
        to=BOB,
        value=0,
        data=b"",
        gas=21_000,
        max_fee=fee,
        max_tip=fee,
        parity=0,
        r=1,
        s=1,
    )
    made = evolve(made, **changes)
    return evolve(made, hash=keccak256(repr(made).encode()))


def taken(pool: Pool, base_fee: int = 1) -> list[Transaction]:
    """What goes into a block, as whoever mines takes it."""
    nonces = {ALICE: 0, BOB: 0}
    found = []
    for transaction in pool.ready(nonces.__getitem__, base_fee):
        pool.drop(transaction)
        nonces[transaction.sender] += 1
        found.append(transaction)
    return found


def test_first_come_first_mined_but_in_the_order_of_nonces() -> None:
    pool = Pool()
    second, other, first = sent(nonce=1), sent(BOB), sent(nonce=0)
    for transaction in (second, other, first):
        pool.add(transaction)
    assert taken(pool) == [other, first, second]
    assert len(pool) == 0


def test_what_has_a_gap_before_it_waits() -> None:
    pool = Pool()
    pool.add(sent(nonce=2))
    assert taken(pool) == []
    assert pool.next_nonce(ALICE, 0) == 0
    pool.add(sent(nonce=0))
    assert pool.next_nonce(ALICE, 0) == 1
    pool.add(sent(nonce=1))
    assert pool.next_nonce(ALICE, 0) == 3


def test_what_pays_too_little_waits_and_so_does_what_hangs_on_it() -> None:
    pool = Pool()
    poor, next_one, other = sent(fee=5), sent(nonce=1), sent(BOB)
    for transaction in (poor, next_one, other):
        pool.add(transaction)
    assert taken(pool, base_fee=6) == [other]
    assert taken(pool, base_fee=5) == [poor, next_one]


def test_a_transaction_takes_anothers_place_for_a_tenth_more() -> None:
    pool = Pool()
    pool.add(sent(fee=100))
    for fees in ({"fee": 109}, {"fee": 120, "max_tip": 109}, {"fee": 109, "max_tip": 120}):
        with pytest.raises(Refused, match="replacement transaction underpriced"):
            pool.add(sent(**fees))
    better = sent(fee=110)
    pool.add(better)
    assert taken(pool) == [better]


def test_what_is_here_is_not_taken_twice() -> None:
    pool = Pool()
    pool.add(sent())
    with pytest.raises(Refused, match="already known"):
        pool.add(sent())


def test_what_comes_back_from_a_block_does_not_take_a_place() -> None:
    pool = Pool()
    newer = sent(fee=200)
    pool.add(newer)
    pool.put_back(sent(fee=100))
    assert taken(pool) == [newer]


def test_a_transaction_is_found_by_its_hash() -> None:
    pool = Pool()
    transaction = sent()
    pool.add(transaction)
    assert pool.find(transaction.hash) is transaction
    assert pool.find(bytes(32)) is None
    pool.drop(transaction)
    assert pool.find(transaction.hash) is None


def test_the_pool_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "ROOM", 2)
    pool = Pool()
    pool.add(sent(nonce=0))
    pool.add(sent(nonce=1))
    with pytest.raises(Refused, match="txpool is full"):
        pool.add(sent(nonce=2))
    pool.add(sent(nonce=1, fee=200))
