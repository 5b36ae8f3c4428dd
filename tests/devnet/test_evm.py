import sys

import pytest
from attrs import evolve

from codex.devnet.compiling import compiled
from codex.devnet.errors import NoEmbeddedChain, Refused
from codex.devnet.evm import Evm
from codex.devnet.values import Message, Surroundings, keccak256

ALICE, BOB = bytes([0xA] * 20), bytes([0xB] * 20)
AROUND = Surroundings(300, 1_700_000_000, 10**9, 30_000_000, bytes([0xC] * 20))

# Keeps a word, says it, and gives back the word that it kept before.
KEEPING = compiled(
    """
# pragma version 0.4.3
event Kept:
    word: uint256
kept: uint256
@external
def keep(word: uint256) -> uint256:
    before: uint256 = self.kept
    if word == 0:
        raw_revert(abi_encode(convert(7, uint256)))
    self.kept = word
    log Kept(word=word)
    return before
"""
)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def evm() -> Evm:
    made = Evm(31337)
    made.grant(ALICE, 10**20)
    return made


CODE = bytes.fromhex(KEEPING["bytecode"][2:])
KEEP = keccak256(b"keep(uint256)")[:4]


TOPIC = keccak256(b"Kept(uint256)")


def keep(number: int) -> bytes:
    return KEEP + word(number)


def created(evm: Evm, nonce: int = 0) -> bytes:
    outcome = evm.run(Message(ALICE, None, CODE, nonce=nonce), AROUND)
    assert outcome.created is not None
    return outcome.created


@pytest.mark.parametrize("library", ["pyrevm", "eth_abi", "rlp"])
def test_without_its_libraries_it_says_what_to_install_no_evm(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(NoEmbeddedChain) as missing:
        Evm(1)
    assert "codex-node[market,devnet]" in missing.value.remedy


def test_a_contract_keeps_says_and_gives_back(evm: Evm) -> None:
    contract = created(evm)
    assert evm.code(contract)
    outcome = evm.run(Message(ALICE, contract, keep(5)), AROUND)
    assert outcome.output == word(0)
    (event,) = outcome.events
    assert (event.address, event.topics, event.data) == (contract, (TOPIC,), word(5))
    assert evm.storage(contract, 0) == 5
    assert evm.run(Message(ALICE, contract, keep(6)), AROUND).output == word(5)


def test_what_is_only_asked_changes_nothing(evm: Evm) -> None:
    contract = created(evm)
    before = evm.ask(Message(ALICE, contract, keep(5)), AROUND)
    assert evm.ask(Message(ALICE, contract, keep(5)), AROUND) == before
    assert evm.storage(contract, 0) == 0


def test_what_a_contract_says_when_it_refuses(evm: Evm) -> None:
    outcome = evm.run(Message(ALICE, created(evm), keep(0)), AROUND)
    assert (outcome.failure, outcome.output, outcome.created) == ("Revert", word(7), None)
    assert outcome.gas_used > 21_000


def test_what_fails_is_told_in_the_machines_words(evm: Evm) -> None:
    contract = created(evm)
    outcome = evm.run(Message(ALICE, contract, keep(5), gas=22_000), AROUND)
    assert (outcome.failure, outcome.gas_used) == ("OutOfGas(Basic)", 22_000)
    assert evm.storage(contract, 0) == 0
    assert evm.run(Message(ALICE, None, b"\xfe", gas=100_000, nonce=1), AROUND).failure == "InvalidFEOpcode"


def test_what_cannot_begin_is_refused(evm: Evm) -> None:
    contract = created(evm)
    with pytest.raises(Refused, match="insufficient funds"):
        evm.ask(Message(BOB, contract, value=1), AROUND)
    with pytest.raises(Refused, match="the message cannot run"):
        evm.ask(Message(ALICE, contract, gas=100), AROUND)
    with pytest.raises(Refused, match="sender not an eoa"):
        evm.ask(Message(contract, None, CODE), AROUND)
    assert evm.code(contract)


def test_where_a_contract_comes_to_be_follows_from_sender_and_nonce(evm: Evm) -> None:
    import rlp

    for nonce in (0, 3, 200):
        assert created(evm, nonce) == keccak256(rlp.encode([ALICE, nonce]))[-20:]
    assert evm.balance(ALICE) == 10**20


def test_wei_goes_from_one_to_another(evm: Evm) -> None:
    evm.move(ALICE, BOB, 7)
    assert (evm.balance(ALICE), evm.balance(BOB)) == (10**20 - 7, 7)
    evm.run(Message(BOB, ALICE, value=3), AROUND)
    assert evm.balance(BOB) == 4


def test_states_can_be_gone_back_to_in_any_number(evm: Evm) -> None:
    """Calls have a depth that the library keeps in the same count as states to go back to."""
    contract = created(evm)
    marks = []
    for number in range(3000):
        marks.append(evm.mark())
        evm.run(Message(ALICE, contract, keep(number + 1)), AROUND)
    evm.move(ALICE, BOB, 1)
    for number in (2500, 1200, 1100, 3, 0):
        evm.back(marks[number])
        assert evm.storage(contract, 0) == number
        assert evm.balance(BOB) == 0
        assert not evm.run(Message(ALICE, contract, keep(9)), AROUND).failure


def test_after_going_back_all_is_as_it_was_gas_included(evm: Evm) -> None:
    contract = created(evm)
    mark = evm.mark()
    first = evm.run(Message(ALICE, contract, keep(5)), AROUND)
    evm.back(mark)
    assert evm.run(Message(ALICE, contract, keep(5)), AROUND) == first


def test_what_was_looked_at_costs_no_less_gas(evm: Evm) -> None:
    """Else the gas of a transaction would hang on what was asked before it, and a replay would differ."""
    contract = created(evm)
    mark = evm.mark()
    message = Message(ALICE, contract, keep(5))
    first = evm.run(message, AROUND)
    evm.back(mark)
    evm.code(contract)
    evm.balance(contract)
    evm.storage(contract, 0)
    assert evm.run(message, AROUND) == first


def test_contracts_see_the_block_that_they_are_in(evm: Evm) -> None:
    # NUMBER, TIMESTAMP and GASLIMIT, each given back by code that has little else in it.
    seen = {"43": 300, "42": 1_700_000_000, "45": 30_000_000}
    for opcode, wanted in seen.items():
        outcome = evm.ask(Message(ALICE, None, bytes.fromhex(opcode + "60005260206000fd")), AROUND)
        assert outcome.output == word(wanted)
    later = evolve(AROUND, number=301)
    outcome = evm.ask(Message(ALICE, None, bytes.fromhex("4360005260206000fd")), later)
    assert outcome.output == word(301)


def test_the_rules_know_what_contracts_are_compiled_to(evm: Evm) -> None:
    # PUSH0 and MCOPY came with the last forks.
    assert evm.ask(Message(ALICE, None, bytes.fromhex("5f5f5f5e5f5ffd")), AROUND).failure == "Revert"
