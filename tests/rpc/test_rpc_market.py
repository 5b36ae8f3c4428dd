"""The methods and events of the marketplace on nodes that take part: one contract as it is seen over the
WebSocket, and each result in the form that the table says.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from codex.api.rpc.events import EVENTS
from codex.api.rpc.shapes import structure
from codex.api.rpc.table import METHODS
from codex.data import BLOCK_SIZE
from codex.devnet.town import open_town
from codex.testing.content import noise

pytestmark = pytest.mark.embedded_chain

OFFER = {
    "totalSize": 3 * BLOCK_SIZE,
    "duration": 10_000,
    "minPricePerBytePerSecond": "1",
    "totalCollateral": str(3 * BLOCK_SIZE),
}
TERMS = {
    "duration": 300,
    "proofProbability": "1",
    "pricePerBytePerSecond": "1",
    "collateralPerByte": "1",
    "expiry": 200,
}


async def test_a_contract_as_it_is_seen(
    tmp_path: Path,
    open_session: Callable[..., AbstractAsyncContextManager[Any]],
    autojump_clock: MockClock,
) -> None:
    async with (
        open_town(tmp_path, "alice", "bob") as town,
        open_session(town["alice"]) as alice,
        open_session(town["bob"]) as bob,
    ):

        async def asked(peer: Any, name: str, params: Any = None) -> Any:
            result = await peer.call(name, params or {})
            kind = METHODS[name].gives
            assert result is None if kind is None else structure(kind, result) is not None
            return result

        async def heard(peer: Any, name: str, **wanted: Any) -> Any:
            [event] = [event for event in EVENTS.values() if event.name == name]
            told: dict[str, Any] = {}
            with trio.fail_after(1000):
                while not told or not wanted.items() <= told.items():
                    told = await peer.told(name)
                    assert structure(event.carries, told)
            return told

        made = await asked(bob, "addAvailability", OFFER)
        changed = await asked(bob, "changeAvailability", {"id": made["id"], "duration": 20_000})
        assert changed == {**made, "duration": 20_000}
        assert (await asked(bob, "availabilities"))["availabilities"] == [changed]
        other = await asked(bob, "addAvailability", {**OFFER, "totalSize": 5})
        await asked(bob, "deleteAvailability", {"id": other["id"]})
        error = await bob.fails("deleteAvailability", {"id": other["id"]})
        assert error["data"]["code"] == "availability-not-found"
        assert (await bob.fails("changeAvailability", {"id": "1"}))["code"] == -32602

        await asked(alice, "subscribe", {"topics": ["purchases", "jobs"]})
        await asked(bob, "subscribe", {"topics": ["slots"]})
        cid = await town["alice"].store(noise(2 * BLOCK_SIZE))
        job = await asked(alice, "requestStorage", {"cid": str(cid), **TERMS})
        assert job["kind"] == "request"
        id = (await heard(alice, "purchaseMoved", state="started"))["purchase"]
        [purchase] = (await asked(alice, "purchases"))["purchases"]
        assert (purchase["requestId"], purchase["state"]) == (id, "started")
        assert (await asked(alice, "job", {"id": job["id"]}))["result"]["purchaseId"] == id
        slots = (await asked(bob, "slots"))["slots"]
        assert sorted(slot["slotIndex"] for slot in slots) == [0, 1, 2]
        sales = (await asked(bob, "sales"))["sales"]
        assert {sale["id"] for sale in sales} == {slot["id"] for slot in slots}
        assert all(sale["requestId"] == id for sale in sales)
        sent = await heard(bob, "proofSent")
        assert 0 <= sent["spare"] <= 60
        paid = await heard(bob, "slotPaid")
        assert paid["collateral"] == str(BLOCK_SIZE)
        assert 0 < int(paid["reward"]) < 300 * BLOCK_SIZE
        await heard(bob, "slotMoved", state="SaleFinished")
        await heard(alice, "purchaseMoved", state="finished", error=None)
        told = (await asked(bob, "decisions", {"slot": slots[0]["id"]}))["decisions"]
        assert told[-1]["verdict"] in ("taken", "unwanted")
        assert "filled" in {decision["verdict"] for decision in told}
        balances = await asked(bob, "balances")
        assert balances["marketplace"] == town.devnet.marketplace
        assert int(balances["tokens"]) > 10**24


async def test_amounts_are_decimal_texts(
    peer: Any,
) -> None:
    for amount in (5, "0x5", "-1", "", "1" * 79, "1.5", None):
        error = await peer.fails("addAvailability", {**OFFER, "totalCollateral": amount})
        assert error["code"] == -32602
        assert "totalCollateral" in error["message"]
