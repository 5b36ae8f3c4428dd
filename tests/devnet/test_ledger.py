import pytest

from codex.devnet import ledger as ledger_module
from codex.devnet.errors import Refused
from codex.devnet.ledger import FEE_RECIPIENT, LOWEST_BASE_FEE, Ledger
from codex.devnet.transactions import Account, sign
from codex.devnet.values import GAS_LIMIT, Block, Filter, Message, Transaction, keccak256

START = 1_700_000_000
ALICE, BOB = (Account.of(keccak256(name)) for name in (b"alice", b"bob"))
FUNDS = 10**24
GWEI = 10**9

# Code of contracts as it is sent: one that says what it was created with, and stays empty; one that fails.
SAYING = bytes.fromhex("60ff60005260aa60206000a1" + "5f5ff3")
FAILING = bytes.fromhex("5f5ffd")


def made() -> Ledger:
    ledger = Ledger(1, START)
    for account in (ALICE, BOB):
        ledger.set_balance(account.address, FUNDS)
    return ledger


@pytest.fixture
def ledger() -> Ledger:
    return made()


def sent(
    account: Account = ALICE, nonce: int = 0, to: bytes | None = BOB.address, value: int = 0,
    data: bytes = b"", gas: int = 100_000, fee: int = 3 * GWEI, tip: int = GWEI,
) -> Transaction:  # fmt: skip
    message = Message(account.address, to, data, value=value, gas=gas, nonce=nonce)
    return sign(account, chain_id=1, message=message, max_fee=fee, max_tip=tip)


def add(ledger: Ledger, *transactions: Transaction) -> Block:
    return ledger.add(ledger.latest.timestamp + 1, iter(transactions), lambda _: None)


def test_a_ledger_begins_with_an_empty_block(ledger: Ledger) -> None:
    assert (ledger.latest.number, ledger.latest.timestamp, ledger.latest.receipts) == (0, START, ())
    assert ledger.block(0) is ledger.latest
    assert ledger.number_of(ledger.latest.hash) == 0


def test_what_a_transaction_leads_to_is_in_its_receipt(ledger: Ledger) -> None:
    first, second = sent(to=None, data=SAYING), sent(BOB, to=None, data=FAILING)
    block = add(ledger, first, second)
    said, failed = block.receipts
    assert ledger.receipt(first.hash) is said
    assert (said.index, failed.index) == (0, 1)
    assert said.block_hash == block.hash
    assert block.parent == ledger.block(0).hash
    assert (said.outcome.failure, failed.outcome.failure) == ("", "Revert")
    assert said.outcome.created is not None
    assert block.gas_used == failed.cumulative_gas == said.outcome.gas_used + failed.outcome.gas_used
    (log,) = block.logs
    assert (log.block_hash, log.transaction_hash, log.index) == (block.hash, first.hash, 0)
    assert log.event.address == said.outcome.created


def test_fees_are_paid_by_senders_whether_it_succeeds_or_not(ledger: Ledger) -> None:
    block = add(ledger, sent(value=7), sent(BOB, to=None, data=FAILING))
    moved, failed = block.receipts
    price = LOWEST_BASE_FEE + GWEI
    assert moved.price == failed.price == price
    assert ledger.balance(ALICE.address) == FUNDS - 7 - 21_000 * price
    assert ledger.balance(BOB.address) == FUNDS + 7 - failed.outcome.gas_used * price
    assert ledger.balance(FEE_RECIPIENT) == block.gas_used * price
    assert (ledger.nonce(ALICE.address), ledger.nonce(BOB.address)) == (1, 1)


def test_what_cannot_be_paid_any_more_is_in_no_block(ledger: Ledger) -> None:
    all_of_it, too_much = sent(value=FUNDS - 300_000 * GWEI), sent(nonce=1, value=1)
    assert ledger.can_pay(too_much)
    block = add(ledger, all_of_it, too_much)
    assert [receipt.transaction for receipt in block.receipts] == [all_of_it]
    assert not ledger.can_pay(too_much)
    assert ledger.nonce(ALICE.address) == 1


def test_what_the_machine_does_not_begin_is_in_no_block_and_costs_nothing(ledger: Ledger) -> None:
    too_long = sent(to=None, data=bytes(49153), gas=10_000_000)
    assert add(ledger, too_long).receipts == ()
    assert ledger.balance(ALICE.address) == FUNDS
    assert ledger.nonce(ALICE.address) == 0


def test_a_block_has_so_much_room(ledger: Ledger) -> None:
    half = GAS_LIMIT // 2 + 1
    first, second = sent(gas=half), sent(nonce=1, gas=GAS_LIMIT)
    seen: list[Transaction] = []
    block = ledger.add(START + 1, iter([first, second]), seen.append)
    # A limit that is not used leaves room; what may need all of it is left for another block.
    assert [receipt.transaction for receipt in block.receipts] == [first] == seen
    assert len(add(ledger, second).receipts) == 1


def test_the_base_fee_follows_what_blocks_use(ledger: Ledger) -> None:
    burning = bytes.fromhex("5b5f56")  # round and round
    add(ledger, sent(to=None, data=burning, gas=GAS_LIMIT))
    assert ledger.latest.base_fee == LOWEST_BASE_FEE
    assert ledger.next_fee() == LOWEST_BASE_FEE * 9 // 8
    add(ledger)
    assert ledger.latest.base_fee == LOWEST_BASE_FEE * 9 // 8
    assert ledger.next_fee() == LOWEST_BASE_FEE


def test_an_earlier_state_can_be_looked_at_and_changes_nothing(ledger: Ledger) -> None:
    for nonce in range(6):
        add(ledger, sent(nonce=nonce, value=10**18))
        if nonce == 2:
            ledger.set_balance(BOB.address, 5)
    contract = add(ledger, sent(nonce=6, to=None, data=bytes.fromhex("602a5f55600a5f5f3960015ff3")))
    (receipt,) = contract.receipts
    assert receipt.outcome.created is not None
    before = [ledger.balance(account.address) for account in (ALICE, BOB)]
    has = [ledger.balance(BOB.address, number) for number in range(8)]
    given = [5 + number * 10**18 for number in (0, 1, 2, 3, 3)]
    assert has == [FUNDS, FUNDS + 10**18, FUNDS + 2 * 10**18, *given]
    assert [ledger.nonce(ALICE.address, number) for number in range(8)] == list(range(8))
    assert ledger.storage(receipt.outcome.created, 0) == 0x2A
    assert ledger.storage(receipt.outcome.created, 0, 6) == 0
    assert ledger.code(receipt.outcome.created) != b""
    assert ledger.code(receipt.outcome.created, 6) == b""
    assert [ledger.balance(account.address) for account in (ALICE, BOB)] == before
    assert ledger.nonce(ALICE.address) == 7


def test_a_question_about_an_earlier_block_sees_that_block(ledger: Ledger) -> None:
    for _ in range(5):
        add(ledger)
    number = Message(ALICE.address, None, bytes.fromhex("435f5260205ffd"))
    assert [int.from_bytes(ledger.ask_at(number, at).output, "big") for at in (0, 3, 5)] == [0, 3, 5]


def test_what_is_cut_off_never_happened(ledger: Ledger) -> None:
    add(ledger, sent(value=1))
    before = ledger.latest
    ledger.set_balance(BOB.address, 3)
    last = sent(nonce=1, value=1)
    cut = [add(ledger), add(ledger, last)]
    assert ledger.cut(2) == cut
    assert ledger.latest is before
    assert ledger.receipt(last.hash) is None
    assert ledger.number_of(cut[0].hash) is None
    assert ledger.nonce(ALICE.address) == 1
    # What was given while that block was the last stays given.
    assert ledger.balance(BOB.address) == 3


def test_the_same_block_on_another_branch_is_another(ledger: Ledger) -> None:
    first = add(ledger, sent())
    ledger.cut(1)
    second = add(ledger, sent())
    assert first.hash != second.hash
    assert first.receipts[0].outcome == second.receipts[0].outcome


def test_one_can_go_back_again_and_again(ledger: Ledger) -> None:
    blocks = [add(ledger, sent(nonce=nonce, value=1)) for nonce in range(20)]
    for kept in (18, 12, 12, 3):
        ledger.cut(ledger.latest.number - kept)
        assert ledger.balance(BOB.address) == FUNDS + kept
        assert ledger.balance(BOB.address, kept - 1) == FUNDS + kept - 1
        add(ledger, blocks[kept].receipts[0].transaction)
        assert ledger.balance(BOB.address) == FUNDS + kept + 1


def test_the_same_transactions_lead_to_the_same_chain() -> None:
    one, other = made(), made()
    for ledger in (one, other):
        add(ledger, sent(to=None, data=SAYING), sent(nonce=1, value=3))
    assert one.latest == other.latest


def test_logs_are_found_by_block_address_and_topic(ledger: Ledger) -> None:
    for nonce in range(4):
        add(ledger, sent(nonce=nonce, to=None, data=SAYING))
    topic = (0xAA).to_bytes(32, "big")
    assert [log.block_number for log in ledger.logs(Filter(), 2, 3)] == [2, 3]
    assert [log.block_number for log in ledger.logs(Filter(), -5, 99)] == [1, 2, 3, 4]
    assert ledger.logs(Filter(), 3, 2) == ledger.logs(Filter(), 0, -1) == []
    (created,) = ledger.block(2).receipts
    assert created.outcome.created is not None
    only = Filter(frozenset([created.outcome.created]), (frozenset([topic]),))
    assert [log.block_number for log in ledger.logs(only, 0, 4)] == [2]


def test_too_many_logs_are_refused(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "LOGS", 2)
    for nonce in range(3):
        add(ledger, sent(nonce=nonce, to=None, data=SAYING))
    assert len(ledger.logs(Filter(), 1, 2)) == 2
    with pytest.raises(Refused, match="query returned more than 2 results"):
        ledger.logs(Filter(), 1, 3)


def test_a_block_that_is_not_there_is_refused(ledger: Ledger) -> None:
    for number in (-1, 1):
        with pytest.raises(Refused, match="header not found"):
            ledger.block(number)
