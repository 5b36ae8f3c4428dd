"""The published Python client buys and sells: `python python_market.py ALICE BOB CAROL CHAIN`.

Alice buys from bob and carol; CHAIN is the JSON-RPC of the development chain that all three are on.

What the client has no call for is asked for by plain HTTP, and said to be. One check follows from the other:
the first that fails ends it with 1.
"""

import json
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any

import codex_api_client as client
from codex_api_client.exceptions import ApiException

DAY = 24 * 3600
ABSENT = "0x" + "ab" * 32
CONTENT = b"".join(number.to_bytes(4, "big") * 16_384 for number in range(16))  # 1 MiB
PRICE, COLLATERAL, DURATION = 3, 2, 3600
OFFER = {
    "totalSize": 1 << 20,  # for two of the three slots: each host has one at least
    "duration": DAY,
    "minPricePerBytePerSecond": "1",
    "totalCollateral": "100000000",
}
TERMS = {
    "duration": DURATION,
    "pricePerBytePerSecond": str(PRICE),
    "proofProbability": "3",
    "nodes": 3,
    "tolerance": 1,
    "collateralPerByte": str(COLLATERAL),
    "expiry": 900,
}
PATIENCE = 90.0  # seconds until the contract has come to where it is waited for
PREFIX = "api/codex/v1"
BY_HTTP = "by plain HTTP: the client has no call for it"


class Trade:
    """The life of one contract, step by step."""

    def __init__(self, alice: str, bob: str, carol: str, chain: str) -> None:
        self.urls = {"alice": alice, "bob": bob, "carol": carol}
        self.chain = chain
        self.data = client.DataApi(_connection(alice))
        self.buyer = client.MarketplaceApi(_connection(alice))
        self.hosts = {name: client.MarketplaceApi(_connection(self.urls[name])) for name in ("bob", "carol")}
        self.offers: dict[str, str] = {}
        self.purchase = ""
        self.held: dict[str, list[Any]] = {}

    def room_is_offered(self) -> None:
        for name, host in self.hosts.items():
            assert host.get_availabilities() == []
            made = host.offer_storage(client.SalesAvailability.from_dict(OFFER))
            assert made.free_size == made.total_size == OFFER["totalSize"]
            assert made.total_remaining_collateral == made.total_collateral == OFFER["totalCollateral"]
            assert (made.duration, made.min_price_per_byte_per_second) == (DAY, "1")
            assert (made.enabled, made.until) == (True, 0)
            assert host.get_availabilities() == [made]
            assert host.get_reservations(made.id) == []
            self.offers[name] = made.id

    def an_offer_is_changed(self) -> None:
        bob, id = self.hosts["bob"], self.offers["bob"]
        # The client sends every field, whatever is to change.
        wanted = OFFER | {"totalSize": 5 << 18, "minPricePerBytePerSecond": "2"}
        bob.update_offered_storage(id, client.SalesAvailability.from_dict(wanted))
        (changed,) = bob.get_availabilities()
        assert (changed.id, changed.total_size, changed.free_size) == (id, 5 << 18, 5 << 18)
        assert changed.min_price_per_byte_per_second == "2"

    def offers_that_are_none(self) -> None:
        bob = self.hosts["bob"]

        def offer(**other: Any) -> Callable[[], Any]:
            return lambda: bob.offer_storage(client.SalesAvailability.from_dict(OFFER | other))

        refused(422, offer(totalSize=0), "Total size must be larger then zero")
        refused(422, offer(duration=0), "duration must be larger then zero")
        refused(422, offer(minPricePerBytePerSecond="0"), "minPricePerBytePerSecond must be larger then zero")
        refused(422, offer(totalCollateral="0"), "totalCollateral must be larger then zero")
        refused(422, offer(totalSize=1 << 50), "Not enough storage quota")
        refused(422, offer(until=-1), "Cannot set until to a negative value")
        refused(400, offer(totalCollateral="much"), "invalid unsigned integer")
        whole = client.SalesAvailability.from_dict(OFFER)
        refused(404, lambda: bob.update_offered_storage(ABSENT, whole), "Availability not found")
        refused(404, lambda: bob.get_reservations(ABSENT), "Availability not found")

    def requests_that_are_none(self) -> None:
        cid = self.data.upload(body=CONTENT)

        def ask(cid: str, **other: Any) -> Callable[[], Any]:
            terms = client.StorageRequestCreation.from_dict(TERMS | other)
            return lambda: self.buyer.create_storage_request(cid, terms)

        refused(400, ask("no-cid"), "Incorrect Cid")
        refused(
            422, ask(cid, expiry=DURATION), "Expiry must be greater than zero and less than the request's"
        )
        refused(422, ask(cid, proofProbability="0"), "Proof probability must be greater than zero")
        refused(422, ask(cid, collateralPerByte="0"), "Collateral per byte must be greater than zero")
        refused(
            422, ask(cid, pricePerBytePerSecond="0"), "Price per byte per second must be greater than zero"
        )
        refused(422, ask(cid, duration=31 * DAY), "Duration exceeds limit of 2592000 seconds")
        refused(422, ask(cid, tolerance=4), "`tolerance` cannot be greater than `nodes`")
        refused(422, ask(cid, tolerance=2), "parameters must satify `1 < (nodes - tolerance) ≥ tolerance`")
        refused(422, ask(self.data.upload(body=b"little")), "Dataset too small for erasure parameters")
        assert self.buyer.get_purchases() == []
        refused(404, lambda: self.buyer.get_purchase(ABSENT), "")

    def storage_is_requested(self) -> None:
        cid = self.data.upload(body=CONTENT)
        terms = client.StorageRequestCreation.from_dict(TERMS)
        id = self.buyer.create_storage_request(cid, terms)
        assert len(bytes.fromhex(id)) == 32
        self.purchase = f"0x{id}"
        assert self.buyer.get_purchases() == [self.purchase]
        assert self.buyer.get_purchase(self.purchase).request_id == self.purchase
        made = self.buyer.get_purchase(id)
        request, ask = made.request, made.request.ask
        assert made.request_id == request.id == self.purchase
        assert made.state in ("pending", "submitted", "started")
        assert (ask.slots, ask.max_slot_loss, ask.duration, request.expiry) == (3, 1, DURATION, 900)
        assert ask.slot_size * 2 >= len(CONTENT)
        assert (ask.proof_probability, ask.price_per_byte_per_second) == ("3", str(PRICE))
        assert ask.collateral_per_byte == str(COLLATERAL)
        # What is stored is the protected form of what was uploaded.
        kept = {item.cid: item.manifest for item in self.data.list_data().content}
        assert kept[request.content.cid].protected

    def the_contract_starts(self) -> None:
        self._until("started")

    def slots_are_held(self) -> None:
        self.held = {name: host.get_active_slots() for name, host in self.hosts.items()}
        slots = [slot for held in self.held.values() for slot in held]
        assert sorted(slot.slot_index for slot in slots) == [0, 1, 2]
        assert {slot.request.id for slot in slots} == {self.purchase}
        for name, host in self.hosts.items():
            held = self.held[name]
            assert held
            # The chain may tell alice before a host, whose sale then has still to note it; and what a host
            # had set aside for a slot that the other was quicker to fill comes back a moment later.
            for slot in held:
                wait(lambda host=host, slot=slot: _proving(host, slot.id), "the slot is proved")
            wait(
                lambda host=host, name=name: len(self._reserved(name)) <= len(self.held[name]),
                "only what is held is set aside",
            )
            for slot in held:
                agent = host.get_active_slot_by_id(slot.id)
                assert (agent.request_id, agent.slot_index) == (self.purchase, slot.slot_index)
                assert agent.request == slot.request
                assert agent.reservation.availability_id == self.offers[name]
            assert self._reserved(name) == sorted(slot.slot_index for slot in held)
            (offer,) = host.get_availabilities()
            taken = sum(slot.request.ask.slot_size for slot in held)
            assert offer.free_size == offer.total_size - taken
            remaining = int(offer.total_collateral) - taken * COLLATERAL
            assert int(offer.total_remaining_collateral) == remaining
        assert self.buyer.get_active_slots() == []

    def decisions_and_balances(self) -> str:
        for name, held in self.held.items():
            for slot in held:
                told = plain("GET", f"{self.urls[name]}/{PREFIX}/sales/decisions?slot={slot.id}")["decisions"]
                assert {one["verdict"] for one in told} >= {"taken", "filled"}
        paid = plain("GET", f"{self.urls['alice']}/{PREFIX}/market/balances")
        size = self.buyer.get_purchase(self.purchase).request.ask.slot_size
        assert int(paid["tokens"]) == 10**24 - 3 * size * PRICE * DURATION
        return BY_HTTP

    def the_contract_finishes(self) -> None:
        # The chain is one for development: nobody has to wait.
        call = {"jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [DURATION]}
        plain("POST", self.chain, call)
        self._until("finished")
        assert self.buyer.get_purchase(self.purchase).error is None

    def what_was_set_aside_is_free_again(self) -> None:
        for name, host in self.hosts.items():
            wait(lambda host=host: not host.get_active_slots(), "slots are given back")
            for slot in self.held[name]:
                wait(lambda slot=slot, host=host: _gone(host, slot.id), "the sale is over")
            (offer,) = host.get_availabilities()
            assert offer.free_size == offer.total_size
            assert offer.total_remaining_collateral == offer.total_collateral
            assert host.get_reservations(offer.id) == []
            assert client.DataApi(_connection(self.urls[name])).list_data().content == []

    def what_is_remembered(self) -> str:
        assert self.buyer.get_purchases() == [self.purchase]
        history = f"{self.urls['alice']}/{PREFIX}/storage/history"
        wait(lambda: plain("GET", history)["purchases"][0]["withdrawn"], "what was left has come back")
        (bought,) = plain("GET", history)["purchases"]
        assert (bought["requestId"], bought["state"]) == (self.purchase, "finished")
        for name, host in self.hosts.items():
            sold = plain("GET", f"{self.urls[name]}/{PREFIX}/sales/history")["slots"]
            told = sorted((one["slotIndex"], one["verdict"]) for one in sold)
            assert told == sorted((slot.slot_index, "finished") for slot in self.held[name]), told
            plain("DELETE", f"{self.urls[name]}/{PREFIX}/sales/availability/{self.offers[name]}")
            assert host.get_availabilities() == []
        return BY_HTTP

    def _reserved(self, name: str) -> list[int]:
        """The indices of the slots that a host has set something aside for."""
        return sorted(one.slot_index for one in self.hosts[name].get_reservations(self.offers[name]))

    def _until(self, state: str) -> None:
        wait(lambda: self.buyer.get_purchase(self.purchase).state == state, f"the purchase is {state}")


def _connection(url: str) -> client.ApiClient:
    return client.ApiClient(client.Configuration(host=f"{url}/{PREFIX}"))


def _proving(host: client.MarketplaceApi, slot: str) -> bool:
    return host.get_active_slot_by_id(slot).state == "SaleProving"


def _gone(host: client.MarketplaceApi, slot: str) -> bool:
    try:
        host.get_active_slot_by_id(slot)
    except ApiException as error:
        return (error.status, error.body) == (404, "Provider not filling slot")
    return False


def wait(reached: Callable[[], bool], what: str) -> None:
    """Ask again and again: of other processes no event tells."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"after {PATIENCE:.0f} s it is not so that {what}"
        time.sleep(0.2)


def plain(method: str, url: str, body: object = None) -> Any:
    """What a call answers that the client does not have."""
    sent = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, sent, method=method), timeout=10) as reply:
        text = reply.read()
    return json.loads(text) if text else None


def refused(status: int, call: Callable[[], Any], text: str) -> None:
    """Check that the node refuses with that status and words."""
    try:
        answer = call()
    except ApiException as error:
        told = (error.status, error.body or "")
    else:
        raise AssertionError(f"answered {answer!r}, not {status}")
    assert told[0] == status, told
    assert text in told[1], told


def main(*urls: str) -> int:
    trade = Trade(*urls)
    for check in (
        trade.room_is_offered,
        trade.an_offer_is_changed,
        trade.offers_that_are_none,
        trade.requests_that_are_none,
        trade.storage_is_requested,
        trade.the_contract_starts,
        trade.slots_are_held,
        trade.decisions_and_balances,
        trade.the_contract_finishes,
        trade.what_was_set_aside_is_free_again,
        trade.what_is_remembered,
    ):
        try:
            how = check()
        except Exception:
            print(f"failed  {check.__qualname__}")
            traceback.print_exc()
            return 1
        print(f"passed  {check.__qualname__}" + (f" ({how})" if how else ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
