import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from codex.devnet.chain import Chain
from codex.devnet.deploying import BLOCKS_BEFORE, CONFIG, contract, deploy
from codex.devnet.errors import Refused
from codex.devnet.transactions import Account
from codex.devnet.values import keccak256

INTERFACE = json.loads((Path(__file__).parents[1] / "vectors" / "contracts_abi.json").read_text("utf-8"))

# Names of arguments that the language keeps for itself. Selectors and topics do not have them in them.
RENAMED = {
    ("transferFrom", "from"): "owner",
    ("Transfer", "from"): "sender",
    ("Transfer", "to"): "receiver",
    ("approve", "value"): "amount",
    ("transfer", "value"): "amount",
    ("transferFrom", "value"): "amount",
}


def shape(entry: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """One argument or result of `entry`, with all that is in it."""
    return {
        "name": RENAMED.get((entry.get("name", ""), part["name"]), part["name"]),
        "type": part["type"],
        "indexed": part.get("indexed", False),
        "components": [shape({}, inner) for inner in part.get("components", [])],
    }


def shapes(entries: Any) -> dict[Any, Any]:
    """An interface, by what is unique of each entry. Errors have no names for what is in them."""
    shown: dict[Any, Any] = {}
    for entry in entries:
        inputs = [shape(entry, part) for part in entry.get("inputs", [])]
        if entry["type"] == "error":
            inputs = [{"type": part["type"]} for part in inputs]
        key = (entry["type"], entry.get("name"), len(inputs))
        assert key not in shown
        shown[key] = {
            "inputs": inputs,
            # A getter's result has no name.
            "outputs": [{**shape(entry, part), "name": ""} for part in entry.get("outputs", [])],
            "mutability": entry.get("stateMutability"),
        }
    return shown


@pytest.mark.parametrize("name", ["token", "marketplace"])
def test_the_interface_is_the_networks_entry_by_entry(name: str) -> None:
    ours, theirs = shapes(contract(name).abi), shapes(INTERFACE[name])
    ours.pop(("constructor", None, 0), None)
    theirs.pop(("constructor", None, 0), None)
    if name == "token":
        # Getters of public variables leave their arguments unnamed.
        for shown in (ours, theirs):
            for function in ("balanceOf", "allowance"):
                for part in shown["function", function, 1 + (function == "allowance")]["inputs"]:
                    part["name"] = ""
    for key, entry in theirs.items():
        assert ours[key] == entry, key
    assert ours.keys() == theirs.keys()


def test_the_verifier_is_asked_as_the_real_one_is() -> None:
    # The real one is made with a verifying key, which this one does without.
    theirs = shapes(INTERFACE["verifier"])
    ours = shapes(contract("verifier").abi)
    name = ("function", "verify", 2)
    theirs[name]["outputs"][0]["name"] = ""
    assert ours[name] == theirs[name]


@pytest.mark.parametrize("name", ["token", "marketplace", "verifier"])
def test_selectors_topics_and_errors_are_the_networks(tools: Any, name: str) -> None:
    selectors = INTERFACE["selectors"][name]
    ours: dict[str, dict[str, str]] = {"functions": {}, "events": {}, "errors": {}}
    for entry in contract(name).abi:
        if entry["type"] != "constructor":
            text = tools.signature(entry)
            hash = keccak256(text.encode())
            ours[entry["type"] + "s"][text] = "0x" + (hash if entry["type"] == "event" else hash[:4]).hex()
    assert ours == selectors


def test_every_selector_is_in_the_code() -> None:
    for name in ("token", "marketplace", "verifier"):
        code = contract(name).bytecode
        for selector in INTERFACE["selectors"][name]["functions"].values():
            # A selector may begin with zeros, which are not written.
            assert bytes.fromhex(selector[2:]).lstrip(b"\0") in code, (name, selector)


@pytest.mark.parametrize("vector", INTERFACE["ids"]["vectors"], ids=lambda vector: vector["name"])
def test_ids_are_the_networks(tools: Any, vector: dict[str, Any]) -> None:
    given = vector["request"]
    ask = tuple(int(given["ask"][part["name"]]) for part in INTERFACE["structs"]["Ask"])
    content = (
        bytes.fromhex(given["content"]["cid_hex"]),
        bytes.fromhex(given["content"]["merkle_root_hex"]),
    )
    request = (given["client"], ask, content, given["expiry"], bytes.fromhex(given["nonce_hex"]))
    assert tools.request_id(request).hex() == vector["request_id_hex"]


def chain() -> Chain:
    accounts = [Account.of(keccak256(name)) for name in (b"alice", b"bob")]
    return Chain(lambda: 1_700_000_000.0, accounts=accounts, funds=10**24)


def test_a_chain_gets_its_contracts_and_everybody_tokens(tools: Any) -> None:
    made = chain()
    deployed = deploy(made, tokens=1000)
    assert made.latest.number == BLOCKS_BEFORE + 3 + 2
    people = dict(zip(("alice", "bob"), made.accounts, strict=True))
    token = tools.Caller(made, deployed.token, contract("token"), people)
    assert [token.ask("balanceOf", person, by="alice") for person in people.values()] == [1000, 1000]
    market = tools.Caller(made, deployed.marketplace, contract("marketplace"), people)
    assert market.ask("token", by="alice") == "0x" + deployed.token.hex()
    assert market.ask("configuration", by="alice") == ((10, 2, 20, 20), (90, 30, 96, 97, ""), (3,), 2592000)


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (evolve(CONFIG, proofs=evolve(CONFIG.proofs, period=0)), "Periods_InvalidSecondsPerPeriod"),
        (
            evolve(CONFIG, collateral=evolve(CONFIG.collateral, repair_reward=101)),
            "Marketplace_RepairRewardPercentageTooHigh",
        ),
        (
            evolve(CONFIG, collateral=evolve(CONFIG.collateral, slash=101, max_slashes=0)),
            "Marketplace_SlashPercentageTooHigh",
        ),
        (
            evolve(CONFIG, collateral=evolve(CONFIG.collateral, slash=51)),
            "Marketplace_MaximumSlashingTooHigh",
        ),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(tools: Any, config: Any, error: str) -> None:
    with pytest.raises(Refused) as refused:
        deploy(chain(), config)
    assert tools.named(refused.value.data) == error


def test_a_marketplace_needs_blocks_to_make_challenges_of(tools: Any) -> None:
    made = chain()
    from codex.devnet.deploying import creation
    from codex.devnet.values import Message

    code = creation(CONFIG, bytes(20), bytes(20))
    sender = next(iter(made.accounts))
    made.mine(255)
    with pytest.raises(Refused) as refused:
        made.estimate(Message(sender, None, code))
    assert tools.named(refused.value.data) == "Proofs_InsufficientBlockHeight"
    made.mine()
    assert made.estimate(Message(sender, None, code)) > 1_000_000
