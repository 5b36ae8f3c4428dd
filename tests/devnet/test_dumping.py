from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.devnet.deploying import contract
from codex.devnet.dumping import dump, restore
from codex.devnet.errors import WrongDump


def lived(worlds: Any) -> Any:
    """A chain with a contract on it, one that was reorganised and given to from outside."""
    world = worlds()
    request = world.requested(slots=1, loss=0)
    world.filled(request, 0, "carol")
    world.chain.reorganise(2)
    world.chain.ledger.set_balance(world.people["bob"], 5)
    world.chain.increase_time(1000)
    world.chain.mine(3)
    return world


def test_a_chain_goes_on_as_it_was(worlds: Any, tools: Any) -> None:
    world = lived(worlds)
    accounts = list(world.chain.accounts.values())
    chain, deployed = restore(dump(world.chain, world.deployed), lambda: world.now, accounts)
    assert deployed == world.deployed
    assert chain.latest == world.chain.latest
    assert chain.chain_id == world.chain.chain_id
    assert chain.next_timestamp() == world.chain.next_timestamp()
    for person in world.people.values():
        assert chain.ledger.balance(person) == world.chain.ledger.balance(person)
        assert chain.pending_nonce(person) == world.chain.pending_nonce(person)
        assert chain.ledger.balance(person, 250) == world.chain.ledger.balance(person, 250)
    market = tools.Caller(chain, deployed.marketplace, contract("marketplace"), world.people)
    assert market.ask("mySlots", by="carol") == world.market.ask("mySlots", by="carol")
    # What is done from here on leads to the same on both.
    world.market.do("reserveSlot", bytes(32), 0, by="dave")
    market.do("reserveSlot", bytes(32), 0, by="dave")
    assert chain.latest == world.chain.latest
    chain.reorganise(4)
    assert market.ask("mySlots", by="carol") == world.market.ask("mySlots", by="carol")
    # And a dump of it is good again.
    again, _ = restore(dump(chain, deployed), lambda: world.now, accounts)
    assert again.latest == chain.latest


def changes(told: dict[str, Any]) -> list[dict[str, Any]]:
    """A dump in which one thing is wrong."""
    blocks = told["blocks"]
    timestamp, branch, transactions, gifts = next(block for block in blocks if block[2])
    at = blocks.index([timestamp, branch, transactions, gifts])

    def other(block: list[Any]) -> dict[str, Any]:
        return told | {"blocks": [*blocks[:at], block, *blocks[at + 1 :]]}

    return [
        told | {"format": "codex devnet 2"},
        {name: value for name, value in told.items() if name != "lead"},
        told | {"chain": "x"},
        told | {"chain": 5},
        told | {"chain": -1},
        told | {"lead": None},
        told | {"contracts": []},
        told | {"contracts": [5, 5, 5]},
        told | {"last": bytes(32)},
        told | {"blocks": []},
        told | {"blocks": blocks[:-1]},
        told | {"blocks": [*blocks, 5]},
        other([timestamp + 1, branch, transactions, gifts]),
        other([timestamp, branch + 1, transactions, gifts]),
        other([timestamp, branch, [], gifts]),
        other([timestamp, branch, [b"\1"], gifts]),
        other([2**300, branch, transactions, gifts]),
        other(["x", branch, transactions, gifts]),
        other([timestamp, branch, transactions, [[1]]]),
    ]


def test_what_is_no_dump_is_refused(worlds: Any) -> None:
    world = lived(worlds)
    for wrong in changes(cbor2.loads(dump(world.chain, world.deployed))):
        with pytest.raises(WrongDump) as refused:
            restore(cbor2.dumps(wrong), lambda: world.now, [])
        assert refused.value.remedy


@given(st.binary(max_size=60))
def test_bytes_that_come_from_elsewhere_are_refused(data: bytes) -> None:
    with pytest.raises(WrongDump):
        restore(data, lambda: 0.0, [])
