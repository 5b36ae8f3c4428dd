"""The marketplace's calls on a node that takes part: statuses, texts and forms, on the embedded chain.

One node serves all of these, for what is asked here leaves nothing behind that the others would see.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from codex.api.market_objects import request_json
from codex.data import BLOCK_SIZE
from codex.devnet.town import Town, open_town
from codex.node import SlotMoved, Terms
from codex.testing.content import noise
from codex.testing.http import Client, Reply

pytestmark = pytest.mark.embedded_chain

ID = "12" * 32
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
OFFER = {
    "totalSize": 1_000_000,
    "duration": "86400",
    "minPricePerBytePerSecond": "1000",
    "totalCollateral": "0x10",
}
TERMS = {
    "duration": 600,
    "proofProbability": "3",
    "pricePerBytePerSecond": "1",
    "collateralPerByte": 1,
    "expiry": 300,
}

BOUGHT = {
    "duration": 900,
    "proof_probability": 1,
    "price_per_byte_per_second": 1,
    "collateral_per_byte": 1,
    "expiry": 300,
}


@pytest.fixture
def patient_clock() -> MockClock:
    """Virtual time that passes only when nothing is on its way through a socket, either."""
    return MockClock(autojump_threshold=0.01)


@asynccontextmanager
async def open_alice(directory: Path) -> AsyncIterator[tuple[Town, Client]]:
    async with open_town(directory, "alice") as town:
        yield town, (await town.neighbourhood.serve("alice")).client


async def ask(
    client: Client, method: str, path: str, body: Any = None, types: Sequence[str] = ("text/plain",)
) -> Reply:
    data = b"" if body is None else json.dumps(body).encode()
    return await client.ask(method, path, body=data, headers=[("Content-Type", one) for one in types])


async def test_room_for_sale(tmp_path: Path) -> None:
    async with open_alice(tmp_path) as (_, client):
        assert (await ask(client, "GET", "/sales/availability")).json() == []
        for change, text in (
            ({"totalSize": 0}, "Total size must be larger then zero"),
            ({"duration": ""}, "duration must be larger then zero"),
            ({"minPricePerBytePerSecond": "0"}, "minPricePerBytePerSecond must be larger then zero"),
            ({"totalCollateral": 0}, "totalCollateral must be larger then zero"),
            ({"totalSize": 2**63 - 1}, "Not enough storage quota"),
            ({"totalSize": 20 * 2**30}, "Not enough storage quota"),
            ({"totalSize": 2**64 - 1}, "Not enough storage quota"),
            ({"until": -1}, "Cannot set until to a negative value"),
            # What is looked at first is told first.
            ({"until": -1, "totalSize": 0}, "Total size must be larger then zero"),
        ):
            reply = await ask(client, "POST", "/sales/availability", {**OFFER, **change})
            assert (reply.status, reply.text) == (422, text)
        refused: list[tuple[Any, str]] = [
            ({**OFFER, "totalSize": -1}, "Parsed integer outside of valid range"),
            ({**OFFER, "duration": "abc"}, "invalid unsigned integer: abc"),
            ([], "the body must be a JSON object, and not a list"),
        ]
        for body, text in refused:
            reply = await ask(client, "POST", "/sales/availability", body)
            assert (reply.status, reply.text) == (400, text)
        reply = await ask(client, "POST", "/sales/availability", OFFER)
        made = reply.json()
        assert reply.status == 201
        assert made == {
            "id": made["id"],
            "totalSize": 1_000_000,
            "freeSize": 1_000_000,
            "duration": 86400,
            "minPricePerBytePerSecond": "1000",
            "totalCollateral": "16",
            "totalRemainingCollateral": "16",
            "enabled": True,
            "until": 0,
        }
        assert next(iter(made)) == "id"
        assert (await ask(client, "GET", "/sales/availability")).json() == [made]
        assert (await ask(client, "GET", "/space")).json()["quotaReservedBytes"] == 1_000_000

        path = f"/sales/availability/{made['id']}"
        for change, text in (
            ({"freeSize": 1}, "Updating freeSize is not allowed"),
            ({"totalSize": 0}, "Total size must be larger then zero"),
            ({"totalSize": 20 * 2**30 + 1}, "Not enough storage quota"),
            ({"until": -1}, "Cannot set until to a negative value"),
            # What is looked at first is told first.
            ({"until": -1, "totalSize": 20 * 2**30 + 1}, "Not enough storage quota"),
            ({"until": -1, "totalSize": 0}, "Total size must be larger then zero"),
        ):
            reply = await ask(client, "PATCH", path, change)
            assert (reply.status, reply.text) == (422, text)
        reply = await ask(client, "PATCH", path, {"totalSize": 2_000_000, "enabled": False, "until": 1})
        assert (reply.status, reply.body) == (204, b"")
        [changed] = (await ask(client, "GET", "/sales/availability")).json()
        assert changed == {
            **made,
            "totalSize": 2_000_000,
            "freeSize": 2_000_000,
            "enabled": False,
            "until": 1,
        }
        assert (await ask(client, "GET", f"{path}/reservations")).json() == []
        for method, tail in (("PATCH", ""), ("DELETE", ""), ("GET", "/reservations")):
            reply = await ask(client, method, f"/sales/availability/{ID}{tail}", {} if tail == "" else None)
            assert (reply.status, reply.text) == (404, "Availability not found")
            reply = await ask(client, method, f"/sales/availability/12{tail}", {} if tail == "" else None)
            assert (reply.status, reply.text) == (400, "this is not an availability id: '12'")
        # The upper half of 64 bits is text, as its numbers are elsewhere in the network.
        for duration, shown in ((2**63 - 1, 2**63 - 1), (2**63, str(2**63)), (2**64 - 1, str(2**64 - 1))):
            assert (await ask(client, "PATCH", path, {"duration": duration})).status == 204
            [changed] = (await ask(client, "GET", "/sales/availability")).json()
            assert changed["duration"] == shown
        reply = await ask(client, "DELETE", path)
        assert (reply.status, reply.body) == (204, b"")
        assert (await ask(client, "GET", "/space")).json()["quotaReservedBytes"] == 0


async def test_room_may_be_offered_and_not_sold_yet(tmp_path: Path) -> None:
    async with open_alice(tmp_path) as (_, client):
        for given, enabled in ((False, False), (True, True), (None, True)):
            reply = await ask(client, "POST", "/sales/availability", {**OFFER, "enabled": given})
            assert reply.status == 201
            made = reply.json()
            assert made["enabled"] is enabled
            assert made in (await ask(client, "GET", "/sales/availability")).json()


async def test_the_body_has_a_media_type_or_none(tmp_path: Path) -> None:
    async with open_alice(tmp_path) as (_, client):
        for method, path in (
            ("POST", "/sales/availability"),
            ("PATCH", f"/sales/availability/{ID}"),
            ("POST", f"/storage/request/{CID}"),
        ):
            for kind in ("", "garbage", "text/"):
                reply = await ask(client, method, path, OFFER, types=[kind])
                assert (reply.status, reply.body) == (415, b"")
            reply = await ask(client, method, path, OFFER, types=["text/plain", "text/plain"])
            assert reply.status == 400
            assert "Content-Type" in reply.text
        assert (await ask(client, "GET", "/sales/availability")).json() == []
        for types in ([], ["application/x-www-form-urlencoded"], ["application/json; charset=utf-8"]):
            assert (await ask(client, "POST", "/sales/availability", OFFER, types=types)).status == 201


async def test_what_a_request_is_refused_for(tmp_path: Path) -> None:
    async with open_alice(tmp_path) as (town, client):
        cid = await town["alice"].store(noise(2 * BLOCK_SIZE))
        path = f"/storage/request/{cid}"
        changes: list[tuple[dict[str, Any], str]] = [
            ({"expiry": 0}, "Expiry must be greater than zero and less than the request's duration"),
            ({"expiry": 600}, "Expiry must be greater than zero and less than the request's duration"),
            ({"proofProbability": "0"}, "Proof probability must be greater than zero"),
            ({"collateralPerByte": 0}, "Collateral per byte must be greater than zero"),
            ({"pricePerBytePerSecond": ""}, "Price per byte per second must be greater than zero"),
            ({"duration": 2592001}, "Duration exceeds limit of 2592000 seconds"),
            ({"tolerance": 0}, "Tolerance needs to be bigger then zero"),
            (
                {"nodes": 1, "tolerance": 2},
                "Invalid parameters: `tolerance` cannot be greater than `nodes`",
            ),
            *(
                (
                    {"nodes": nodes, "tolerance": tolerance},
                    "Invalid parameters: parameters must satify `1 < (nodes - tolerance) ≥ tolerance`",
                )
                for nodes, tolerance in ((1, 1), (2, 1), (3, 2), (3, 3))
            ),
            (
                {"nodes": 4, "tolerance": 1},
                "Dataset too small for erasure parameters, need at least 196608 bytes",
            ),
        ]
        for change, text in changes:
            reply = await ask(client, "POST", path, {**TERMS, **change})
            assert (reply.status, reply.text) == (422, text)
        for target, body, text in (
            ("/storage/request/garbage", TERMS, "Incorrect Cid"),
            (path, {**TERMS, "nodes": -1}, "Parsed integer outside of valid range"),
            (path, "text", "the body must be a JSON object, and not text"),
        ):
            reply = await ask(client, "POST", target, body)
            assert (reply.status, reply.text) == (400, text)
        reply = await ask(client, "POST", path, {**TERMS, "pricePerBytePerSecond": str(10**30)})
        assert reply.status == 422
        assert "tokens" in reply.text
        assert (await ask(client, "GET", "/storage/purchases")).json() == []
        assert len((await ask(client, "GET", "/data")).json()["content"]) == 1


async def test_a_purchase_and_what_is_known_of_it(tmp_path: Path) -> None:
    async with open_alice(tmp_path) as (town, client):
        cid = await town["alice"].store(noise(2 * BLOCK_SIZE))
        before = (await ask(client, "GET", "/market/balances")).json()
        assert before["account"] == town.devnet.accounts[1].address
        assert (before["marketplace"], before["token"]) == (town.devnet.marketplace, town.devnet.token)
        assert before["tokens"] == str(10**24)
        assert before["wei"] == str(10**22)

        reply = await ask(client, "POST", f"/storage/request/{cid}", TERMS)
        assert reply.status == 200, reply.text
        assert reply.header("content-type") == "text/plain"
        assert len(reply.text) == 64
        id = "0x" + reply.text
        assert (await ask(client, "GET", "/storage/purchases")).json() == [id]
        async with town["alice"].events(16) as events:
            shown = (await ask(client, "GET", f"/storage/purchases/{reply.text}")).json()
            while shown["state"] == "pending":
                await anext(events)
                shown = (await ask(client, "GET", f"/storage/purchases/{id}")).json()
        [encoded] = [
            one["cid"]
            for one in (await ask(client, "GET", "/data")).json()["content"]
            if one["manifest"].get("verifiable")
        ]
        request = shown["request"]
        assert shown == {"requestId": id, "request": request, "state": "submitted", "error": None}
        assert request == {
            "client": before["account"],
            "ask": {
                "proofProbability": "3",
                "pricePerBytePerSecond": "1",
                "collateralPerByte": "1",
                "slots": 3,
                "slotSize": BLOCK_SIZE,
                "duration": 600,
                "maxSlotLoss": 1,
            },
            "content": {"cid": encoded},
            "expiry": 300,
            "nonce": request["nonce"],
            "id": id,
        }
        [remembered] = (await ask(client, "GET", "/storage/history")).json()["purchases"]
        assert remembered == {
            **shown,
            "made": remembered["made"],
            "changed": remembered["changed"],
            "withdrawn": False,
        }
        after = (await ask(client, "GET", "/market/balances")).json()
        assert int(before["tokens"]) - int(after["tokens"]) == 600 * 3 * BLOCK_SIZE

        # At once, with a job; and of what is encoded already the original is used.
        reply = await ask(client, "POST", f"/storage/request/{encoded}?async=1", TERMS)
        job = reply.json()
        assert (reply.status, job["kind"]) == (202, "request")
        assert reply.header("location") == f"/api/codex/v1/jobs/{job['id']}"
        ended = await town["alice"].jobs.get(job["id"]).wait()
        assert isinstance(ended.result, dict)
        assert ended.result["verifiableCid"] == encoded
        assert set((await ask(client, "GET", "/storage/purchases")).json()) == {
            id,
            ended.result["purchaseId"],
        }


async def test_slots_that_are_held_and_what_they_have_taken(tmp_path: Path, patient_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice", "bob") as town:
        client = (await town.neighbourhood.serve("bob")).client
        offer = {
            "totalSize": 4 * BLOCK_SIZE,
            "duration": 10_000,
            "minPricePerBytePerSecond": "1",
            "totalCollateral": str(4 * BLOCK_SIZE),
        }
        made = (await ask(client, "POST", "/sales/availability", offer)).json()
        path = f"/sales/availability/{made['id']}/reservations"
        cid = await town["alice"].store(noise(2 * BLOCK_SIZE))
        async with town["bob"].events(1000) as events:
            id = await town["alice"].market.buy_storage(cid, Terms(**BOUGHT))
            moved: dict[str, str] = {}
            while list(moved.values()) != ["SaleProving"] * 3:
                event = await anext(events)
                if not isinstance(event, SlotMoved):
                    continue
                moved[event.slot] = event.state
                if event.state == "SaleSlotReserving":  # shown before anything is on the chain
                    shown = (await ask(client, "GET", f"/sales/slots/{event.slot}")).json()
                    assert shown["state"].startswith("Sale")
                    assert shown["requestId"] == str(id)
                    assert shown["reservation"]["availabilityId"] == made["id"]
        slots = (await ask(client, "GET", "/sales/slots")).json()
        purchase = await town["alice"].market.purchase(id)
        assert purchase is not None
        assert purchase.request is not None
        request = request_json(purchase.request)
        assert sorted(slots, key=lambda slot: slot["slotIndex"]) == [
            {"request": request, "slotIndex": index, "id": str(purchase.request.slot(index).id)}
            for index in range(3)
        ]
        end = await town["bob"].market.parts.marketplace.request_end(id)
        reserved = {there["slotIndex"]: there for there in (await ask(client, "GET", path)).json()}
        assert len(reserved) == 3
        for slot in slots:
            index = slot["slotIndex"]
            assert reserved[index] == {
                "id": reserved[index]["id"],
                "availabilityId": made["id"],
                "size": 0,  # all of it is filled
                "requestId": str(id),
                "slotIndex": index,
                "validUntil": end,
            }
            assert list(reserved[index])[:3] == ["id", "availabilityId", "size"]
            for name in (slot["id"], slot["id"].removeprefix("0x")):
                assert (await ask(client, "GET", f"/sales/slots/{name}")).json() == {
                    "state": "SaleProving",
                    "requestId": str(id),
                    "slotIndex": index,
                    "request": request,
                    "reservation": reserved[index],
                }
        [there] = (await ask(client, "GET", "/sales/availability")).json()
        assert (there["freeSize"], there["totalRemainingCollateral"]) == (BLOCK_SIZE, str(BLOCK_SIZE))
        change = {"totalSize": BLOCK_SIZE, "until": end - 1}
        reply = await ask(client, "PATCH", f"/sales/availability/{made['id']}", change)
        assert (reply.status, reply.text) == (
            422,
            "New totalSize must be larger then current totalSize - freeSize, which is currently: "
            f"{3 * BLOCK_SIZE}",
        )
        reply = await ask(client, "PATCH", f"/sales/availability/{made['id']}", {"until": end - 1})
        assert (reply.status, reply.text) == (
            422,
            "Until parameter must be greater or equal to the longest currently hosted slot",
        )
        assert (await ask(client, "DELETE", f"/sales/availability/{made['id']}")).status == 422
        # Just as much as is held, and for just as long.
        change = {"totalSize": 3 * BLOCK_SIZE, "until": end}
        assert (await ask(client, "PATCH", f"/sales/availability/{made['id']}", change)).status == 204
        [there] = (await ask(client, "GET", "/sales/availability")).json()
        assert (there["totalSize"], there["freeSize"], there["until"]) == (3 * BLOCK_SIZE, 0, end)


async def test_what_is_not_there(tmp_path: Path) -> None:
    async with open_alice(tmp_path) as (_, client):
        reply = await ask(client, "GET", f"/storage/purchases/{ID}")
        assert (reply.status, reply.body) == (404, b"")
        reply = await ask(client, "GET", f"/sales/slots/0x{ID}")
        assert (reply.status, reply.text) == (404, "Provider not filling slot")
        for path in ("/storage/purchases/1", "/sales/slots/zz", "/sales/decisions?slot=1"):
            assert (await ask(client, "GET", path)).status == 400
        assert (await ask(client, "GET", "/sales/slots")).json() == []
        assert (await ask(client, "GET", f"/sales/decisions?slot={ID}")).json() == {"decisions": []}
        assert (await ask(client, "GET", "/sales/history?limit=5")).json() == {"slots": []}
        assert (await ask(client, "GET", "/sales/history?limit=0")).status == 422
