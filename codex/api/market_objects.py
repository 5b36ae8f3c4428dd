"""The JSON objects of the marketplace, each made from a value of the node.

Pure. Those that the network's nodes show have exactly their keys, in their order. Sizes, times and indices
are numbers; amounts are decimal texts, for they do not fit JSON's numbers; ids are 0x and 64 digits.
"""

from typing import TYPE_CHECKING

from codex.api.objects import Object
from codex.codec import Cid
from codex.errors import DecodeError
from codex.market import Slot, StorageRequest
from codex.store import Availability, SlotReservation

if TYPE_CHECKING:
    from codex.node.desk import Balances
    from codex.purchasing import Purchase
    from codex.sales import Decision, Held, SaleView

_LARGEST = 2**63 - 1


def availability_json(there: Availability) -> Object:
    """Room for sale."""
    return {
        "id": _id(there.id),
        "totalSize": there.total,
        "freeSize": there.free,
        "duration": _number(there.duration),
        "minPricePerBytePerSecond": str(there.price),
        "totalCollateral": str(there.collateral),
        "totalRemainingCollateral": str(there.remaining),
        "enabled": there.enabled,
        "until": there.until,
    }


def reservation_json(there: SlotReservation) -> Object:
    """What a slot has taken of an availability; `size` is what of it is not filled yet."""
    return {
        "id": _id(there.id),
        "availabilityId": _id(there.availability),
        "size": there.left,
        "requestId": _id(there.request),
        "slotIndex": there.slot,
        "validUntil": there.until,
    }


def request_json(request: StorageRequest) -> Object:
    """A storage request as it stands on the chain. A CID that is none is shown as its bytes."""
    ask, content = request.ask, request.content.cid
    try:
        cid = str(Cid.from_bytes(content))
    except DecodeError:
        cid = "0x" + content.hex()
    return {
        "client": str(request.client),
        "ask": {
            "proofProbability": str(ask.proof_probability),
            "pricePerBytePerSecond": str(ask.price_per_byte_per_second),
            "collateralPerByte": str(ask.collateral_per_byte),
            "slots": _number(ask.slots),
            "slotSize": _number(ask.slot_size),
            "duration": _number(ask.duration),
            "maxSlotLoss": _number(ask.max_slot_loss),
        },
        "content": {"cid": cid},
        "expiry": _number(request.expiry),
        "nonce": _id(request.nonce),
        "id": str(request.id),
    }


def slot_json(slot: Slot) -> Object:
    """A slot that this node holds."""
    return {"request": request_json(slot.request), "slotIndex": slot.index, "id": str(slot.id)}


def sale_json(sale: "SaleView") -> Object:
    """A slot that this node works on."""
    return {
        "state": sale.state.value,
        "requestId": str(sale.request_id),
        "slotIndex": sale.index,
        "request": None if sale.request is None else request_json(sale.request),
        "reservation": None if sale.reservation is None else reservation_json(sale.reservation),
    }


def purchase_json(purchase: "Purchase") -> Object:
    """A purchase, as the network's nodes show it."""
    return {
        "requestId": str(purchase.id),
        "request": None if purchase.request is None else request_json(purchase.request),
        "state": purchase.state.value,
        "error": purchase.error,
    }


def remembered_json(purchase: "Purchase") -> Object:
    """A purchase with what this node remembers of it: when it was made and changed, in unix seconds, and
    whether what was left of its price has come back.
    """
    when: Object = {"made": purchase.made, "changed": purchase.changed, "withdrawn": purchase.withdrawn}
    return {**purchase_json(purchase), **when}


def decision_json(decision: "Decision") -> Object:
    """What was decided about a slot at one moment, and why: each check with what was wanted and offered."""
    return {
        "slot": str(decision.slot),
        "requestId": str(decision.request),
        "slotIndex": decision.index,
        "at": decision.at,
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "checks": [
            {
                "name": check.name,
                "passed": check.passed,
                "wanted": check.wanted,
                "offered": check.offered,
            }
            for check in decision.checks
        ],
        "availabilityId": None if decision.availability is None else _id(decision.availability),
    }


def held_json(held: "Held") -> Object:
    """A slot that this node has held, and what came of what was at stake; null is what is not known (yet)."""
    return {
        "slot": str(held.slot),
        "requestId": str(held.request),
        "slotIndex": held.index,
        "filled": held.filled,
        "at": held.at,
        "verdict": held.verdict.value,
        "reason": held.reason,
        "collateral": str(held.collateral),
        "returned": _amount(held.returned),
        "lost": _amount(held.lost),
        "reward": _amount(held.reward),
        "availabilityId": None if held.availability is None else _id(held.availability),
    }


def balances_json(balances: "Balances") -> Object:
    """What this node's account has."""
    return {
        "account": str(balances.account),
        "marketplace": str(balances.marketplace),
        "token": str(balances.token),
        "wei": str(balances.wei),
        "tokens": str(balances.tokens),
        "allowance": str(balances.allowance),
    }


def _id(raw: bytes) -> str:
    return "0x" + raw.hex()


def _amount(amount: int | None) -> str | None:
    return None if amount is None else str(amount)


def _number(number: int) -> int | str:
    """A number of 64 bits; the largest ones are texts, as they are elsewhere."""
    return number if number <= _LARGEST else str(number)
