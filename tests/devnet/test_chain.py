from collections.abc import Callable
from typing import Any

import pytest
from attrs import define

from codex.devnet.chain import Chain, News, Reorganised, raise_failure
from codex.devnet.errors import REVERTED, Refused
from codex.devnet.transactions import Account, sign
from codex.devnet.values import GAS_LIMIT, Block, Message, Outcome, keccak256

START = 1_700_000_000
ALICE, BOB, STRANGER = (Account.of(keccak256(name)) for name in (b"alice", b"bob", b"carol"))
FUNDS = 10**24
GWEI = 10**9
SAYING = bytes.fromhex("60ff60005260aa60206000a1" + "5f5ff3")
# Has SHA-256 of 100,000 zeros made by another contract, to which it hands all its gas, and insists on it.
HANDING_ON = bytes.fromhex("60006000620186a0600060006002" + "5af1601657" + "5f5ffd" + "5b5f5ff3")


@define
class Time:
    now: float = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def chain(time: Time) -> Chain:
    return Chain(time, accounts=[ALICE, BOB], funds=FUNDS)


def raw(
    account: Account = ALICE, nonce: int = 0, value: int = 0, gas: int = 21_000, fee: int = 3 * GWEI,
    tip: int = GWEI, chain_id: int = 31337, to: bytes | None = BOB.address, data: bytes = b"",
) -> bytes:  # fmt: skip
    message = Message(account.address, to, data, value=value, gas=gas, nonce=nonce)
    return sign(account, chain_id=chain_id, message=message, max_fee=fee, max_tip=tip).raw


# Sending.


def test_what_is_sent_is_mined_at_once(chain: Chain) -> None:
    hash = chain.send(raw(value=5))
    assert chain.latest.number == 1
    receipt = chain.ledger.receipt(hash)
    assert receipt is not None
    assert chain.transaction(hash) is receipt.transaction
    assert chain.ledger.balance(BOB.address) == FUNDS + 5


def test_without_that_it_waits_for_a_block(chain: Chain) -> None:
    chain.automine = False
    hashes = [chain.send(raw(nonce=nonce)) for nonce in (1, 0)]
    assert chain.latest.number == 0
    assert [chain.transaction(hash) is not None for hash in hashes] == [True, True]
    assert chain.pending_nonce(ALICE.address) == 2
    (block,) = chain.mine()
    assert [receipt.transaction.nonce for receipt in block.receipts] == [0, 1]
    assert chain.pending_nonce(ALICE.address) == 2


def test_what_follows_a_gap_is_mined_with_what_closes_it(chain: Chain) -> None:
    chain.send(raw(nonce=1))
    assert chain.latest.number == 0
    chain.send(raw(nonce=0))
    assert [receipt.transaction.nonce for receipt in chain.latest.receipts] == [0, 1]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: raw(chain_id=1), "invalid chain id for signer: have 1 want 31337"),
        (lambda: raw(gas=GAS_LIMIT + 1), "exceeds block gas limit"),
        (lambda: raw(gas=20_999), "intrinsic gas too low"),
        (lambda: raw(data=b"\1", gas=21_015), "intrinsic gas too low"),
        (lambda: raw(STRANGER), "insufficient funds for gas * price + value: balance 0"),
        (lambda: raw(value=FUNDS), "insufficient funds"),
    ],
)
def test_what_can_be_in_no_block_is_refused(chain: Chain, make: Callable[[], bytes], why: str) -> None:
    with pytest.raises(Refused) as refused:
        chain.send(make())
    assert refused.value.message.startswith(why)
    assert len(chain.pool) == 0


def test_a_nonce_is_used_once(chain: Chain) -> None:
    transaction = raw()
    chain.send(transaction)
    with pytest.raises(Refused, match="already known"):
        chain.send(transaction)
    with pytest.raises(Refused, match="nonce too low: next nonce 1, tx nonce 0"):
        chain.send(raw(value=1))


def test_what_pays_too_little_waits_until_another_takes_its_place(chain: Chain) -> None:
    stuck = chain.send(raw(fee=GWEI // 2, tip=GWEI // 2))
    assert chain.ledger.receipt(stuck) is None
    better = chain.send(raw(fee=2 * GWEI, tip=GWEI, value=1))
    assert chain.ledger.receipt(better) is not None
    assert chain.transaction(stuck) is None


def test_the_chain_signs_for_its_own_accounts(chain: Chain) -> None:
    message = Message(ALICE.address, BOB.address, value=2, gas=21_000)
    for nonce in range(3):
        hash = chain.send(chain.sign(message))
        transaction = chain.transaction(hash)
        assert transaction is not None
        assert (transaction.sender, transaction.nonce) == (ALICE.address, nonce)
    with pytest.raises(Refused, match="unknown account"):
        chain.sign(Message(STRANGER.address, BOB.address))


# Asking.


def test_a_creation_that_is_only_asked_about_takes_the_next_nonce(chain: Chain) -> None:
    chain.send(raw(to=None, data=SAYING, gas=100_000))
    asked = chain.call(Message(ALICE.address, None, SAYING))
    done = chain.ledger.receipt(chain.send(raw(nonce=1, to=None, data=SAYING, gas=100_000)))
    assert done is not None
    assert asked.created == done.outcome.created


def test_what_is_asked_runs_in_the_next_block_or_in_the_one_that_is_named(chain: Chain, time: Time) -> None:
    for _ in range(3):
        chain.mine()
    time.now += 1000

    def seen(opcode: str, at: int | None) -> int:
        outcome = chain.call(Message(ALICE.address, None, bytes.fromhex(opcode + "5f5260205ffd")), at)
        return int.from_bytes(outcome.output, "big")

    assert [seen("43", at) for at in (None, 3, 1)] == [4, 3, 1]
    assert seen("42", None) == START + 1000
    assert seen("42", 1) == chain.ledger.block(1).timestamp


def test_with_less_gas_than_estimated_it_fails(chain: Chain) -> None:
    message = Message(ALICE.address, None, SAYING)
    gas = chain.estimate(message)
    used = chain.call(message).gas_used
    assert used <= gas < used * 1.05
    enough = chain.ledger.receipt(chain.send(raw(to=None, data=SAYING, gas=gas)))
    less = chain.ledger.receipt(chain.send(raw(nonce=1, to=None, data=SAYING, gas=gas - 1)))
    assert enough is not None
    assert less is not None
    assert (enough.outcome.failure, less.outcome.failure[:8]) == ("", "OutOfGas")


@pytest.mark.parametrize(("data", "tries"), [(SAYING, 2), (HANDING_ON, 16)])
def test_an_estimate_is_the_least_that_will_do_and_takes_few_tries(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, data: bytes, tries: int
) -> None:
    asked: list[int] = []
    call = chain.call

    def counted(message: Message, at: int | None = None) -> Outcome:
        asked.append(message.gas)
        return call(message, at)

    monkeypatch.setattr(chain, "call", counted)
    message = Message(ALICE.address, None, data)
    gas = chain.estimate(message)
    assert len(asked) <= tries
    used = call(message).gas_used
    assert (gas > used) == (data is HANDING_ON)
    for given, failure in ((gas - 1, True), (gas, False)):
        assert bool(call(Message(ALICE.address, None, data, gas=given)).failure) is failure


def test_an_estimate_is_never_more_than_what_is_given(chain: Chain) -> None:
    gas = chain.estimate(Message(ALICE.address, None, HANDING_ON))
    assert chain.estimate(Message(ALICE.address, None, HANDING_ON, gas=gas)) == gas
    with pytest.raises(Refused):
        chain.estimate(Message(ALICE.address, None, HANDING_ON, gas=gas - 1))


def test_what_fails_has_no_estimate(chain: Chain) -> None:
    with pytest.raises(Refused) as refused:
        chain.estimate(Message(ALICE.address, None, bytes.fromhex("602a5f5260205ffd")))
    assert refused.value.code == REVERTED
    assert refused.value.data == (42).to_bytes(32, "big")
    with pytest.raises(Refused, match="execution failed: InvalidFEOpcode"):
        chain.estimate(Message(ALICE.address, None, b"\xfe"))


def test_success_is_no_failure() -> None:
    raise_failure(Outcome(1, b""))


# Time.


def test_time_is_the_clocks_and_goes_on_by_a_second_at_least(chain: Chain, time: Time) -> None:
    assert chain.latest.timestamp == START
    assert [chain.mine()[0].timestamp for _ in range(2)] == [START + 1, START + 2]
    time.now += 10.9
    assert chain.mine()[0].timestamp == START + 10
    assert chain.mine()[0].timestamp == START + 11


def test_many_transactions_at_once_do_not_take_time_away_for_good(chain: Chain, time: Time) -> None:
    for nonce in range(20):
        chain.send(raw(nonce=nonce))
    assert chain.latest.timestamp == START + 20
    time.now += 100
    assert chain.next_timestamp() == START + 100


def test_time_can_be_put_ahead(chain: Chain, time: Time) -> None:
    chain.increase_time(1000)
    assert chain.mine()[0].timestamp == START + 1000
    chain.set_next_timestamp(START + 5000)
    assert chain.next_timestamp() == START + 5000
    assert chain.mine()[0].timestamp == START + 5000
    time.now += 7
    assert chain.mine()[0].timestamp == START + 5007
    chain.follow_clock()
    time.now += 10_000
    assert chain.mine()[0].timestamp == START + 10_007


def test_blocks_can_be_far_apart_and_time_goes_on_from_there(chain: Chain, time: Time) -> None:
    mined = chain.mine(3, 600)
    assert [block.timestamp for block in mined] == [START + 1, START + 601, START + 1201]
    time.now += 5
    assert chain.next_timestamp() == START + 1206


def test_time_does_not_go_back(chain: Chain) -> None:
    with pytest.raises(Refused, match="is not later"):
        chain.set_next_timestamp(START)


def test_a_chain_may_begin_behind_the_clock(time: Time) -> None:
    chain = Chain(time, behind=100)
    assert chain.latest.timestamp == START - 100
    chain.mine(99)
    chain.follow_clock()
    assert chain.next_timestamp() == START
    time.now = 5
    assert Chain(time, behind=100).latest.timestamp == 0


# News.


def test_listeners_are_told_of_every_block(chain: Chain) -> None:
    told: list[News] = []
    chain.listeners.append(told.append)
    chain.send(raw())
    chain.mine(2)
    assert [item.number for item in told if isinstance(item, Block)] == [1, 2, 3]


# Other branches.


def test_a_reorganisation_brings_everything_a_block_later(chain: Chain) -> None:
    told: list[News] = []
    chain.mine()
    hashes = [chain.send(raw(nonce=nonce, to=None, data=SAYING, gas=100_000)) for nonce in range(3)]
    old = [chain.ledger.block(number) for number in range(1, 5)]
    chain.listeners.append(told.append)
    news = chain.reorganise(3)
    assert told == [news]
    assert news.removed == tuple(old[1:])
    assert [block.number for block in news.added] == [2, 3, 4, 5]
    assert chain.latest == news.added[-1]
    assert [len(block.receipts) for block in news.added] == [0, 1, 1, 1]
    for number, hash in enumerate(hashes):
        receipt = chain.ledger.receipt(hash)
        assert receipt is not None
        assert receipt.block_number == 3 + number
    assert {block.hash for block in old[1:]}.isdisjoint(block.hash for block in news.added)
    assert chain.ledger.block(2).parent == old[0].hash
    timestamps = [chain.ledger.block(number).timestamp for number in range(6)]
    assert timestamps == sorted(set(timestamps))


def test_a_reorganisation_may_lose_a_transaction_and_hold_up_what_hangs_on_it(chain: Chain) -> None:
    hashes = [chain.send(raw(nonce=nonce, value=1)) for nonce in range(3)]
    news = chain.reorganise(2, without=[hashes[1]])
    assert [len(block.receipts) for block in news.added] == [0, 0, 0]
    assert chain.transaction(hashes[1]) is None
    assert chain.ledger.receipt(hashes[2]) is None
    assert chain.transaction(hashes[2]) is not None
    assert chain.ledger.balance(BOB.address) == FUNDS + 1
    chain.send(raw(nonce=1, value=5))
    assert chain.ledger.receipt(hashes[2]) is not None
    assert chain.ledger.balance(BOB.address) == FUNDS + 7


@pytest.mark.parametrize("depth", [-1, 0, 3])
def test_there_have_to_be_blocks_to_replace(chain: Chain, depth: int) -> None:
    chain.mine(2)
    with pytest.raises(Refused):
        chain.reorganise(depth)


def test_a_snapshot_is_gone_back_to_once(chain: Chain, time: Time) -> None:
    told: list[News] = []
    chain.send(raw(value=1))
    snapshot, block = chain.snapshot(), chain.latest
    chain.increase_time(500)
    chain.send(raw(nonce=1, value=1))
    chain.automine = False
    chain.send(raw(nonce=2, value=1))
    later = chain.snapshot()
    chain.listeners.append(told.append)
    assert chain.revert(snapshot)
    (news,) = told
    assert isinstance(news, Reorganised)
    assert (len(news.removed), news.added) == (1, ())
    assert chain.latest is block
    assert chain.pending_nonce(ALICE.address) == 1
    assert chain.ledger.balance(BOB.address) == FUNDS + 1
    assert chain.next_timestamp() == START + 2
    for unknown in (snapshot, later, 0, -1, 99):
        assert not chain.revert(unknown)


def test_a_snapshot_of_a_block_that_is_gone_is_of_no_use(chain: Chain) -> None:
    chain.mine(2)
    snapshot = chain.snapshot()
    chain.reorganise(1)
    assert not chain.revert(snapshot)


def test_the_same_calls_lead_to_the_same_chain() -> None:
    def made() -> list[Any]:
        chain = Chain(Time(), accounts=[ALICE, BOB], funds=FUNDS)
        for nonce in range(4):
            chain.send(raw(nonce=nonce, to=None, data=SAYING, gas=100_000))
        chain.reorganise(2)
        chain.mine(3, 60)
        return [chain.ledger.block(number) for number in range(chain.latest.number + 1)]

    assert made() == made()
