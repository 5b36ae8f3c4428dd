"""The methods of the marketplace: buying, selling, and what both came to.

As `methods`: the text under each is its documentation. On a node that was started without a marketplace each
fails with `not-enabled`.
"""

import trio

from codex.api.market_objects import (
    availability_json,
    balances_json,
    decision_json,
    remembered_json,
    request_json,
    reservation_json,
    slot_json,
)
from codex.api.objects import Object, job_json
from codex.api.rpc.methods import Call
from codex.api.rpc.params import (
    AvailabilityChange,
    Decided,
    Latest,
    Nothing,
    Offer,
    OneAvailability,
    StorageRequest,
)
from codex.market import AvailabilityId, SlotId
from codex.node import Terms

STEP = 25  # requests made into JSON in one step of the loop: naming one takes a tenth of a millisecond


async def request_storage(call: Call, params: StorageRequest) -> Object:
    """Buy storage for a dataset in the background. The job of it, once the manifest is here and it is known
    that the terms, the room and the account's tokens are right; its result has the `purchaseId`.
    """
    terms = Terms(
        duration=params.duration,
        proof_probability=params.proof_probability,
        price_per_byte_per_second=params.price_per_byte_per_second,
        collateral_per_byte=params.collateral_per_byte,
        expiry=params.expiry,
        nodes=params.nodes,
        tolerance=params.tolerance,
    )
    return job_json((await call.node.request_storage(params.cid, terms)).snapshot())


async def purchases(call: Call, params: Latest) -> Object:
    """The purchases of this node, those of former lives too, the newest first."""
    shown = []
    for number, purchase in enumerate(await call.node.market.purchases(params.limit)):
        if number % STEP == 0:
            await trio.lowlevel.checkpoint()
        shown.append(remembered_json(purchase))
    return {"purchases": shown}


async def availabilities(call: Call, params: Nothing) -> Object:
    """The room that is for sale, the oldest first."""
    return {"availabilities": [availability_json(one) for one in await call.node.market.availabilities()]}


async def add_availability(call: Call, params: Offer) -> Object:
    """Offer room. Slots that nothing was offered for are looked at again."""
    made = await call.node.market.add_availability(
        total=params.total_size,
        duration=params.duration,
        price=params.min_price_per_byte_per_second,
        collateral=params.total_collateral,
        enabled=params.enabled,
        until=params.until,
    )
    return availability_json(made)


async def change_availability(call: Call, params: AvailabilityChange) -> Object:
    """Change what is given. A new collateral begins with nothing lost."""
    changed = await call.node.market.change_availability(
        AvailabilityId.parse(params.id).raw,
        total=params.total_size,
        duration=params.duration,
        price=params.min_price_per_byte_per_second,
        collateral=params.total_collateral,
        enabled=params.enabled,
        until=params.until,
    )
    return availability_json(changed)


async def delete_availability(call: Call, params: OneAvailability) -> None:
    """Offer it no more. Refused while slots are in it."""
    await call.node.market.delete_availability(AvailabilityId.parse(params.id).raw)


async def slots(call: Call, params: Nothing) -> Object:
    """The slots that the chain says are this node's."""
    return {"slots": [slot_json(slot) for slot in await call.node.market.slots()]}


async def sales(call: Call, params: Nothing) -> Object:
    """Every slot that this node works on or holds."""
    return {
        "sales": [
            {
                "id": str(sale.slot),
                "state": sale.state.value,
                "requestId": str(sale.request_id),
                "slotIndex": sale.index,
                "request": None if sale.request is None else request_json(sale.request),
                "reservation": None if sale.reservation is None else reservation_json(sale.reservation),
                "reason": sale.reason,
            }
            for sale in await call.node.market.sales()
        ]
    }


async def decisions(call: Call, params: Decided) -> Object:
    """What was decided about slots, and why, the newest first."""
    slot = None if params.slot is None else SlotId.parse(params.slot)
    found = await call.node.market.decisions(slot, limit=params.limit)
    return {"decisions": [decision_json(decision) for decision in found]}


async def balances(call: Call, params: Nothing) -> Object:
    """What this node's account has."""
    return balances_json(await call.node.market.balances())
