from typing import Any

from attrs import evolve

from codex.devnet.values import Message

NOBODY = bytes(20)
UNLIMITED = 2**256 - 1


def test_tokens_go_from_one_to_another(world: Any) -> None:
    bob = world.people["bob"]
    before, his = world.balance("alice"), world.balance("bob")
    receipt = world.token.do("transfer", bob, 5, by="alice")
    assert (world.balance("alice"), world.balance("bob")) == (before - 5, his + 5)
    (log,) = receipt.logs
    assert log.event.topics[1:] == (bytes(12) + world.people["alice"], bytes(12) + bob)
    assert int.from_bytes(log.event.data, "big") == 5


def test_the_gas_for_giving_everything_away_is_known(world: Any) -> None:
    """Some of it is given back in the end, so that less is used than a transaction takes to begin with."""
    data = world.token.data("transfer", world.people["bob"], world.balance("alice"))
    message = Message(world.people["alice"], world.token.address, data)
    gas = world.chain.estimate(message)
    assert gas > world.chain.call(message).gas_used
    assert not world.chain.call(evolve(message, gas=gas)).failure


def test_nobody_gives_what_he_has_not_or_to_nobody(world: Any) -> None:
    bob = world.people["bob"]
    assert (
        world.token.refused("transfer", bob, world.balance("alice") + 1, by="alice")
        == "ERC20InsufficientBalance"
    )
    assert world.token.refused("transfer", NOBODY, 1, by="alice") == "ERC20InvalidReceiver"
    assert world.token.refused("mint", NOBODY, 1, by="alice") == "ERC20InvalidReceiver"
    assert world.token.refused("approve", NOBODY, 1, by="alice") == "ERC20InvalidSpender"


def test_an_allowance_is_used_up_unless_it_is_without_limit(world: Any) -> None:
    alice, bob, carol = (world.people[name] for name in ("alice", "bob", "carol"))
    world.token.do("approve", bob, 10, by="alice")
    world.token.do("transferFrom", alice, carol, 4, by="bob")
    assert world.token.ask("allowance", alice, bob) == 6
    assert world.token.refused("transferFrom", alice, carol, 7, by="bob") == "ERC20InsufficientAllowance"
    world.token.do("approve", bob, UNLIMITED, by="alice")
    world.token.do("transferFrom", alice, carol, 4, by="bob")
    assert world.token.ask("allowance", alice, bob) == UNLIMITED


def test_for_nobody_nobody_may_spend(world: Any) -> None:
    bob = world.people["bob"]
    assert world.token.refused("transferFrom", NOBODY, bob, 0, by="bob") == "ERC20InvalidApprover"
    assert world.token.refused("transferFrom", NOBODY, bob, 1, by="bob") == "ERC20InsufficientAllowance"


def test_what_is_minted_is_counted(world: Any) -> None:
    supply = world.token.ask("totalSupply")
    world.token.do("mint", world.people["bob"], 7, by="carol")
    assert world.token.ask("totalSupply") == supply + 7
    assert world.token.refused("mint", world.people["bob"], UNLIMITED, by="alice") == ""


def test_the_token_says_what_it_is(world: Any) -> None:
    assert world.token.ask("name") == "Codex Test Token"
    assert world.token.ask("symbol") == "TST"
    assert world.token.ask("decimals") == 18
