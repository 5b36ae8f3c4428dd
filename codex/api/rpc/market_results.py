"""What the methods of the marketplace give: one attrs class for each form of JSON, with its documentation.

Pure, and a description, as `results`. Ids are 0x and 64 digits, amounts decimal texts in the token's smallest
unit, sizes bytes, moments unix seconds, durations seconds.
"""

from typing import Annotated

from attrs import frozen


@frozen
class Availability:
    """Room for sale."""

    id: Annotated[str, "its id"]
    total_size: Annotated[int, "how much is offered"]
    free_size: Annotated[int, "what of it no slot has taken"]
    duration: Annotated[int, "the longest request that is taken; a decimal text from 2**63 on"]
    min_price_per_byte_per_second: Annotated[str, "the least that is taken"]
    total_collateral: Annotated[str, "the most that may be at stake at a time"]
    total_remaining_collateral: Annotated[str, "what of that is neither at stake nor lost"]
    enabled: Annotated[bool, "whether slots are taken into it"]
    until: Annotated[int, "no slot ends later; 0 for any"]


@frozen
class Availabilities:
    """All room for sale, the oldest first."""

    availabilities: Annotated[tuple[Availability, ...], "the room"]


@frozen
class Reservation:
    """What a slot has taken of an availability."""

    id: Annotated[str, "its id"]
    availability_id: Annotated[str, "of what it is taken"]
    size: Annotated[int, "what of it is not filled yet"]
    request_id: Annotated[str, "the slot's request"]
    slot_index: Annotated[int, "the slot's number there"]
    valid_until: Annotated[int, "when the request ends"]


@frozen
class Ask:
    """What a request asks of hosts, for each slot alike."""

    proof_probability: Annotated[str, "a proof in one of so many periods"]
    price_per_byte_per_second: Annotated[str, "what is paid"]
    collateral_per_byte: Annotated[str, "what is put at stake"]
    slots: Annotated[int, "how many slots there are"]
    slot_size: Annotated[int, "bytes of one, what fills it up included"]
    duration: Annotated[int, "from the request on"]
    max_slot_loss: Annotated[int, "how many may be lost at the same time"]


@frozen
class RequestContent:
    """What is to be stored."""

    cid: Annotated[str, "the CID of the verifiable manifest"]


@frozen
class Request:
    """A request as it stands on the chain."""

    client: Annotated[str, "the account that pays"]
    ask: Annotated[Ask, "what is asked"]
    content: Annotated[RequestContent, "for what"]
    expiry: Annotated[int, "seconds within which all slots must be filled"]
    nonce: Annotated[str, "what makes it one of its own"]
    id: Annotated[str, "its id"]


@frozen
class Slot:
    """A slot that this node holds."""

    request: Annotated[Request, "of what"]
    slot_index: Annotated[int, "its number there"]
    id: Annotated[str, "its id"]


@frozen
class Slots:
    """The slots that the chain says are this node's."""

    slots: Annotated[tuple[Slot, ...], "the slots"]


@frozen
class Sale:
    """A slot that this node works on."""

    id: Annotated[str, "the slot's id"]
    state: Annotated[str, "SalePreparing, SaleProving and so on"]
    request_id: Annotated[str, "its request"]
    slot_index: Annotated[int, "its number there"]
    request: Annotated[Request | None, "null until it was read from the chain"]
    reservation: Annotated[Reservation | None, "null until something is set aside"]
    reason: Annotated[str, "what went wrong last; may be empty"]


@frozen
class Sales:
    """Every slot that this node works on or holds, the oldest first."""

    sales: Annotated[tuple[Sale, ...], "the slots"]


@frozen
class Check:
    """One thing that was looked at."""

    name: Annotated[str, "what"]
    passed: Annotated[bool, "whether it was right"]
    wanted: Annotated[str, "the request's side, in words"]
    offered: Annotated[str, "this node's side, in words"]


@frozen
class Decision:
    """What was decided about a slot at one moment, and why."""

    slot: Annotated[str, "its id"]
    request_id: Annotated[str, "its request"]
    slot_index: Annotated[int, "its number there"]
    at: Annotated[int, "when"]
    verdict: Annotated[str, "taken, unwanted, filled, finished, lost and so on"]
    reason: Annotated[str, "in a sentence"]
    checks: Annotated[tuple[Check, ...], "what was looked at, in order"]
    availability_id: Annotated[str | None, "which room the last checks are about"]


@frozen
class Decisions:
    """What was decided, the newest first."""

    decisions: Annotated[tuple[Decision, ...], "the decisions"]


@frozen
class Purchase:
    """A purchase, and what this node remembers of it."""

    request_id: Annotated[str, "its id, which is the request's"]
    request: Annotated[Request | None, "null only where the chain has lost what this node never knew"]
    state: Annotated[str, "pending, submitted, started, finished, cancelled, failed, errored or unknown"]
    error: Annotated[str | None, "what went wrong; null when nothing did"]
    made: Annotated[int, "when it was made"]
    changed: Annotated[int, "when its state changed last"]
    withdrawn: Annotated[bool, "whether what was left of its price has come back"]


@frozen
class Purchases:
    """The purchases, those of former lives too, the newest first."""

    purchases: Annotated[tuple[Purchase, ...], "the purchases"]


@frozen
class Balances:
    """What this node's account has."""

    account: Annotated[str, "its address"]
    marketplace: Annotated[str, "the contract's address"]
    token: Annotated[str, "the token's address"]
    wei: Annotated[str, "what pays for transactions"]
    tokens: Annotated[str, "what pays for storage"]
    allowance: Annotated[str, "what of the tokens the marketplace may take now"]
