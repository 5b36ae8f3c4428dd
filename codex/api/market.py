"""The calls about the marketplace: room for sale, slots, purchases, decisions, and what the account has.

On a node that was started without a marketplace each says so before it looks at its input.
"""

import trio
from quart import request

from codex.api import bodies, numbers
from codex.api.cors import PREFIX
from codex.api.market_objects import (
    availability_json,
    balances_json,
    decision_json,
    held_json,
    purchase_json,
    remembered_json,
    reservation_json,
    sale_json,
    slot_json,
)
from codex.api.objects import job_json
from codex.api.problems import Refusal
from codex.api.routes import Reply, Route, as_json, as_text, nothing, parse_cid
from codex.api.uploads import unfit_types
from codex.errors import (
    AvailabilityNotFound,
    InsufficientFunds,
    InvalidInput,
    QuotaExceeded,
)
from codex.market import AvailabilityId, RequestId, SlotId
from codex.node import Node, Terms
from codex.node.terms import NODES, TOLERANCE
from codex.store import Availability

PAGE = 100
"""Decisions that are told when the caller does not say how many."""
MOST = 1000
STEP = 25
"""Requests made into JSON in one step of the loop: naming one takes a tenth of a millisecond."""

_NO_SIZE = "Total size must be larger then zero"
_NO_QUOTA = "Not enough storage quota"
_NEGATIVE = "Cannot set until to a negative value"


def routes(node: Node) -> list[Route]:
    """The rows of this page, on `node`."""

    async def slots() -> Reply:
        return as_json([slot_json(slot) for slot in await node.market.slots()])

    async def slot(id: str) -> Reply | Refusal:
        market = node.market
        sale = await market.sale(SlotId.parse(id))
        if sale is None:
            return Refusal(404, "Provider not filling slot", code="no-such-slot")
        return as_json(sale_json(sale))

    async def availabilities() -> Reply:
        return as_json([availability_json(there) for there in await node.market.availabilities()])

    async def offer() -> Reply | Refusal:
        market = node.market
        body = await _body()
        if isinstance(body, Refusal):
            return body
        total, duration = numbers.uint64(body, "totalSize"), numbers.uint64(body, "duration")
        price = numbers.uint256(body, "minPricePerBytePerSecond")
        collateral = numbers.uint256(body, "totalCollateral")
        enabled, until = numbers.optional_bool(body, "enabled"), numbers.optional_moment(body, "until")
        for number, what in (
            (total, _NO_SIZE),
            (duration, "duration must be larger then zero"),
            (price, "minPricePerBytePerSecond must be larger then zero"),
            (collateral, "totalCollateral must be larger then zero"),
        ):
            if not number:
                return _refused(what)
        space = await node.space()
        if total >= space.quota_max - space.quota_used - space.quota_reserved:
            return _refused(_NO_QUOTA, "offer less, or start the node with a larger --storage-quota")
        if until is not None and until < 0:
            return _refused(_NEGATIVE)
        try:
            made = await market.add_availability(
                total=total,
                duration=duration,
                price=price,
                collateral=collateral,
                enabled=enabled is not False,
                until=until or 0,
            )
        except QuotaExceeded as error:
            return _refused(_NO_QUOTA, error.remedy)
        return as_json(availability_json(made), 201)

    async def change(id: str) -> Reply | Refusal:
        market = node.market
        name = _availability_id(id)
        body = await _body()
        if isinstance(body, Refusal):
            return body
        total, duration = (
            numbers.optional_uint64(body, "totalSize"),
            numbers.optional_uint64(body, "duration"),
        )
        price = numbers.optional_uint256(body, "minPricePerBytePerSecond")
        collateral = numbers.optional_uint256(body, "totalCollateral")
        free = numbers.optional_uint64(body, "freeSize")
        enabled, until = numbers.optional_bool(body, "enabled"), numbers.optional_moment(body, "until")
        there = next((one for one in await market.availabilities() if one.id == name), None)
        if there is None:
            return _NOT_FOUND
        latest = max([slot.until for slot in await market.reservations(name)], default=0)
        room = (await node.space()).available
        said = _unfit(there, free=free, total=total, until=until, latest=latest, room=room)
        if said is not None:
            return said
        try:
            await market.change_availability(
                name,
                total=total,
                duration=duration,
                price=price,
                collateral=collateral,
                enabled=enabled,
                until=until,
            )
        except AvailabilityNotFound:
            return _NOT_FOUND
        except QuotaExceeded as error:
            return _refused(_NO_QUOTA, error.remedy)
        return nothing()

    async def withdraw(id: str) -> Reply | Refusal:
        market = node.market
        try:
            await market.delete_availability(_availability_id(id))
        except AvailabilityNotFound:
            return _NOT_FOUND
        return nothing()

    async def reservations(id: str) -> Reply | Refusal:
        market = node.market
        try:
            found = await market.reservations(_availability_id(id))
        except AvailabilityNotFound:
            return _NOT_FOUND
        return as_json([reservation_json(there) for there in found])

    async def decisions() -> Reply:
        market = node.market
        asked = request.args.get("slot")
        found = await market.decisions(None if asked is None else SlotId.parse(asked), limit=_limit())
        return as_json({"decisions": [decision_json(there) for there in found]})

    async def history() -> Reply:
        found = await node.market.sale_history(limit=_limit())
        return as_json({"slots": [held_json(there) for there in found]})

    async def buy(cid: str) -> Reply | Refusal:
        market = node.market
        parsed = parse_cid(cid)
        body = await _body()
        if isinstance(body, Refusal):
            return body
        nodes, tolerance = (numbers.optional_uint64(body, key) for key in ("nodes", "tolerance"))
        terms = Terms(
            duration=numbers.uint64(body, "duration"),
            proof_probability=numbers.uint256(body, "proofProbability"),
            price_per_byte_per_second=numbers.uint256(body, "pricePerBytePerSecond"),
            collateral_per_byte=numbers.uint256(body, "collateralPerByte"),
            expiry=numbers.uint64(body, "expiry"),
            nodes=NODES if nodes is None else nodes,
            tolerance=TOLERANCE if tolerance is None else tolerance,
        )
        try:
            if request.args.get("async", "0") in ("1", "true"):
                job = await market.request_storage(parsed, terms)
                where = {"Location": f"{PREFIX}/jobs/{job.id}"}
                return as_json(job_json(job.snapshot()), 202, headers=where)
            return as_text((await market.buy_storage(parsed, terms)).hex)
        except InsufficientFunds as error:
            return Refusal(422, error.message, error.code, error.remedy)

    async def purchases() -> Reply:
        return as_json([str(id) for id in await node.market.purchase_ids()])

    async def purchase(id: str) -> Reply | Refusal:
        market = node.market
        found = await market.purchase(RequestId.parse(id))
        if found is None:
            return Refusal(404, "", code="no-such-purchase", detail="this node has made no such purchase")
        return as_json(purchase_json(found))

    async def remembered() -> Reply:
        shown = []
        for number, there in enumerate(await node.market.purchases(_limit())):
            if number % STEP == 0:
                await trio.lowlevel.checkpoint()
            shown.append(remembered_json(there))
        return as_json({"purchases": shown})

    async def balances() -> Reply:
        return as_json(balances_json(await node.market.balances()))

    return [
        Route("GET", "/sales/slots", slots),
        Route("GET", "/sales/slots/<id>", slot),
        Route("GET", "/sales/availability", availabilities),
        Route("POST", "/sales/availability", offer, own_pages=True),
        Route("PATCH", "/sales/availability/<id>", change),
        Route("DELETE", "/sales/availability/<id>", withdraw),
        Route("GET", "/sales/availability/<id>/reservations", reservations),
        Route("GET", "/sales/decisions", decisions),
        Route("GET", "/sales/history", history),
        Route("POST", "/storage/request/<cid>", buy, own_pages=True),
        Route("GET", "/storage/purchases", purchases),
        Route("GET", "/storage/purchases/<id>", purchase),
        Route("GET", "/storage/history", remembered),
        Route("GET", "/market/balances", balances),
    ]


_NOT_FOUND = Refusal(
    404,
    "Availability not found",
    code=AvailabilityNotFound.code,
    remedy="GET /sales/availability lists those that there are",
)


def _refused(text: str, remedy: str = "") -> Refusal:
    return Refusal(422, text, InvalidInput.code, remedy)


def _unfit(
    there: Availability, *, free: int | None, total: int | None, until: int | None, latest: int, room: int
) -> Refusal | None:
    """What is wrong with a change, in the order and the words of the network's nodes; `latest` is when the
    last slot in it ends, `room` what is left of the quota.
    """
    if free is not None:
        return _refused("Updating freeSize is not allowed", "it follows from the slots that are in it")
    if total == 0:
        return _refused(_NO_SIZE)
    if total is not None and total < there.taken:
        return _refused(
            "New totalSize must be larger then current totalSize - freeSize, which is currently: "
            f"{there.taken}"
        )
    if total is not None and total - there.total > room:
        return _refused(_NO_QUOTA, f"{room} bytes are free beside what it has")
    if until is not None and until < 0:
        return _refused(_NEGATIVE)
    if until and until < latest:
        return _refused(
            "Until parameter must be greater or equal to the longest currently hosted slot",
            f"give {latest} or later, or disable it so that no slot is added",
        )
    return None


def _availability_id(text: str) -> bytes:
    """The 32 bytes of an id. Raises DecodeError."""
    return AvailabilityId.parse(text).raw


async def _body() -> bodies.Object | Refusal:
    """The object that the request has as its body. Raises DecodeError."""
    data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    refused = unfit_types(request.headers.getlist("Content-Type")) if data else None
    return bodies.read_object(data) if refused is None else refused


def _limit() -> int:
    """How many the caller wants. Raises InvalidInput."""
    text = request.args.get("limit", str(PAGE))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 0 < int(text) <= MOST):
        raise InvalidInput(f"limit is a number from 1 to {MOST}, and not {text[:40]!r}")
    return int(text)
