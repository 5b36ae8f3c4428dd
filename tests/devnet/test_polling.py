from typing import Any

import pytest

from codex.devnet import polling as polling_module
from codex.devnet.chain import Chain
from codex.devnet.errors import Refused
from codex.devnet.polling import Polling
from codex.devnet.transactions import Account
from codex.devnet.values import Filter, Message, keccak256

ALICE = Account.of(keccak256(b"alice"))
SAYING = bytes.fromhex("60ff60005260aa60206000a15f5ff3")
WANTED = Filter(topics=(frozenset([(0xAA).to_bytes(32, "big")]),))


@pytest.fixture
def chain() -> Chain:
    return Chain(lambda: 1_700_000_000.0, accounts=[ALICE], funds=10**24)


def say(chain: Chain) -> None:
    """A transaction that leaves a log."""
    chain.send(chain.sign(Message(ALICE.address, None, SAYING, gas=200_000)))


def blocks(logs: list[Any]) -> list[tuple[int, bool]]:
    return [(int(log["blockNumber"], 16), log["removed"]) for log in logs]


def test_a_filter_holds_what_is_new(chain: Chain) -> None:
    polling = Polling(chain)
    say(chain)
    logs, heads, others = polling.for_logs(WANTED, 0), polling.for_blocks(), polling.for_logs(Filter(), 9)
    assert polling.changes(logs) == []
    say(chain)
    assert blocks(polling.changes(logs)) == blocks(polling.changes(others)) == [(2, False)]
    assert polling.changes(heads) == ["0x" + chain.latest.hash.hex()]
    assert polling.changes(logs) == polling.changes(heads) == []
    assert blocks(polling.all(logs)) == [(1, False), (2, False)]
    assert polling.all(others) == []


def test_what_no_longer_counts_is_taken_back(chain: Chain) -> None:
    polling = Polling(chain)
    say(chain)
    logs, heads = polling.for_logs(WANTED, 0), polling.for_blocks()
    chain.reorganise(1)
    assert blocks(polling.changes(logs)) == [(1, True), (2, False)]
    assert len(polling.changes(heads)) == 2


def test_a_filter_ends_once(chain: Chain) -> None:
    polling = Polling(chain)
    logs, heads = polling.for_logs(WANTED, 0), polling.for_blocks()
    assert polling.end(logs) is True
    assert polling.end(logs) is False
    for ask in (polling.changes, polling.all):
        with pytest.raises(Refused, match="filter not found"):
            ask(logs)
    with pytest.raises(Refused, match="filter not found"):
        polling.all(heads)


def test_filters_are_bounded_in_number_and_in_what_they_hold(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling_module, "FILTERS", 2)
    monkeypatch.setattr(polling_module, "HELD", 5)
    polling = Polling(chain)
    one, other = polling.for_blocks(), polling.for_blocks()
    with pytest.raises(Refused, match="are not kept"):
        polling.for_blocks()
    chain.mine(5)
    assert len(polling.changes(one)) == 5
    chain.mine()
    with pytest.raises(Refused, match="filter not found"):
        polling.changes(other)
    assert len(polling.changes(one)) == 1
    assert polling.for_blocks() not in (one, other)
