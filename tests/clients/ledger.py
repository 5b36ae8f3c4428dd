"""Whether everybody in a market was paid to the unit: computed from what the chain tells, by the contract's
rule that a slot is paid by the second from its filling to the request's end.

The published clients have no call for balances; they are asked for by plain HTTP.
"""

import json
import time
import urllib.request
from typing import Any

from processes import PREFIX, Market

from codex.chain import Log
from codex.chain.abi import event_of, events_by_topic
from codex.market import SlotFilled, StorageRequested

PATIENCE = 60.0  # seconds until all must have what is theirs

Tokens = dict[str, int]


def tokens(market: Market) -> Tokens:
    """What each node's account has, by address."""
    found = {}
    for url in (market.alice, market.bob, market.carol):
        with urllib.request.urlopen(f"{url}/{PREFIX}/market/balances", timeout=10) as reply:
            told = json.load(reply)
        found[told["account"]] = int(told["tokens"])
    return found


def paid_to_the_unit(market: Market, before: Tokens) -> bool:
    """Whether all accounts come to what they must have; says it."""
    expected = _changes(market, before)
    end = time.monotonic() + PATIENCE
    while (changes := _since(before, tokens(market))) != expected and time.monotonic() < end:
        time.sleep(0.2)  # hosts fetch their pay when the request is over, and nobody is told
    right = changes == expected
    how = "by plain HTTP: no published client has a call for them"
    print(f"{'passed' if right else 'failed'}  balances right to the unit ({how})")
    for name, account in zip(("alice", "bob", "carol"), before, strict=True):
        wanted = "" if right else f", and must be {expected[account]:+,}"
        print(f"        {name:<5} {changes[account]:>+20,}{wanted}")
    return right


def _since(before: Tokens, after: Tokens) -> Tokens:
    return {account: after[account] - had for account, had in before.items()}


def _changes(market: Market, before: Tokens) -> Tokens:
    """By how much each account must have grown, all requests being over and nothing slashed."""
    logs = _rpc(
        market,
        "eth_getLogs",
        {
            "address": market.marketplace,
            "fromBlock": "0x0",
            "toBlock": "latest",
            "topics": [["0x" + topic.hex() for topic in events_by_topic()]],
        },
    )
    grown = dict.fromkeys(before, 0)
    ends: dict[object, tuple[StorageRequested, int, str]] = {}
    for raw in logs:
        log = Log.from_json(raw)
        event = event_of(log)
        sender = str(_rpc(market, "eth_getTransactionByHash", raw["transactionHash"])["from"])
        at = int(_rpc(market, "eth_getBlockByNumber", hex(log.block), False)["timestamp"], 16)
        if isinstance(event, StorageRequested):
            ends[event.request] = (event, at + event.ask.duration, sender)
        elif isinstance(event, SlotFilled):
            asked, over, client = ends[event.request]
            pay = (over - at) * asked.ask.price_per_byte_per_second * asked.ask.slot_size
            grown[sender] += pay
            grown[client] -= pay
    return grown


def _rpc(market: Market, method: str, *params: Any) -> Any:
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    asked = urllib.request.Request(market.chain, json.dumps(call).encode())
    with urllib.request.urlopen(asked, timeout=10) as reply:
        return json.load(reply)["result"]
