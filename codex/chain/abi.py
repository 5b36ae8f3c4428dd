"""The interface of the contracts as one table: from it calls are written, and answers, events and refusals
read.

The libraries for it are loaded when the table is first used: they cost a quarter of a second, which only
nodes with a marketplace spend.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

from attrs import frozen

from codex.chain.values import Log
from codex.errors import DecodeError
from codex.market import (
    MarketEvent,
    ProofSubmitted,
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    SlotFilled,
    SlotFreed,
    SlotId,
    SlotReservationsFull,
    StorageAsk,
    StorageRequested,
)
from codex.market.ids import keccak256
from codex.market.request import ABI as REQUEST
from codex.market.request import ASK_ABI as ASK

PROOF = "((uint256,uint256),((uint256,uint256),(uint256,uint256)),(uint256,uint256))"
CONFIG = "((uint8,uint8,uint8,uint8),(uint64,uint64,uint8,uint8,string),(uint8),uint64)"


def encode(types: tuple[str, ...], values: tuple[Any, ...]) -> bytes:
    """Values as contracts take them."""
    from eth_abi.abi import encode as by_library

    return by_library(types, values)


def decode(types: tuple[str, ...], data: bytes) -> tuple[Any, ...]:
    """The reverse of `encode`. Raises DecodeError."""
    from eth_abi.abi import decode as by_library
    from eth_abi.exceptions import DecodingError

    try:
        return by_library(types, data)
    except (DecodingError, ValueError, OverflowError) as error:
        raise DecodeError(
            f"{len(data)} bytes from a contract are not {','.join(types) or 'nothing'}: {error}",
            remedy="Check that --marketplace-address is a marketplace of this network.",
        ) from error


@frozen
class Function:
    """A function of a contract: its name and types."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] = ()

    @property
    def signature(self) -> str:
        return f"{self.name}({','.join(self.inputs)})"

    @cached_property
    def selector(self) -> bytes:
        """The four bytes that name it in a call."""
        return keccak256(self.signature.encode())[:4]

    def call(self, *values: Any) -> bytes:
        """A call of it with these values."""
        return self.selector + encode(self.inputs, values)

    def answer(self, data: bytes) -> Any:
        """What it returned: a value, None, or a tuple of several. Raises DecodeError."""
        values = decode(self.outputs, data)
        return values[0] if len(values) == 1 else values or None


@frozen
class Event:
    """An event of a contract: its name and types, those of the indexed parameters first."""

    name: str
    indexed: tuple[str, ...]
    plain: tuple[str, ...]
    make: Callable[..., MarketEvent]

    @property
    def signature(self) -> str:
        return f"{self.name}({','.join((*self.indexed, *self.plain))})"

    @cached_property
    def topic(self) -> bytes:
        """What its logs are found by."""
        return keccak256(self.signature.encode())

    def read(self, log: Log) -> MarketEvent:
        """The event in a log of this topic. Raises DecodeError."""
        if len(log.topics) != 1 + len(self.indexed):
            raise DecodeError(f"a log of {self.name} has {len(log.topics) - 1} indexed values")
        indexed = decode(self.indexed, b"".join(log.topics[1:]))
        return self.make(*indexed, *decode(self.plain, log.data))


@frozen
class Refusal:
    """A custom error of a contract: its name and types."""

    name: str
    inputs: tuple[str, ...] = ()

    @cached_property
    def selector(self) -> bytes:
        return keccak256(f"{self.name}({','.join(self.inputs)})".encode())[:4]


def _functions(*rows: Function) -> Mapping[str, Function]:
    return {row.name: row for row in rows}


MARKETPLACE = _functions(
    Function("configuration", (), (CONFIG,)),
    Function("token", (), ("address",)),
    Function("currentCollateral", ("bytes32",), ("uint256",)),
    Function("requestStorage", (REQUEST,)),
    Function("reserveSlot", ("bytes32", "uint64")),
    Function("canReserveSlot", ("bytes32", "uint64"), ("bool",)),
    Function("fillSlot", ("bytes32", "uint64", PROOF)),
    Function("freeSlot", ("bytes32",)),
    Function("withdrawFunds", ("bytes32",)),
    Function("submitProof", ("bytes32", PROOF)),
    Function("canMarkProofAsMissing", ("bytes32", "uint64")),
    Function("markProofAsMissing", ("bytes32", "uint64")),
    Function("getActiveSlot", ("bytes32",), (f"({REQUEST},uint64)",)),
    Function("getRequest", ("bytes32",), (REQUEST,)),
    Function("getHost", ("bytes32",), ("address",)),
    Function("myRequests", (), ("bytes32[]",)),
    Function("mySlots", (), ("bytes32[]",)),
    Function("requestState", ("bytes32",), ("uint8",)),
    Function("slotState", ("bytes32",), ("uint8",)),
    Function("requestEnd", ("bytes32",), ("uint64",)),
    Function("requestExpiry", ("bytes32",), ("uint64",)),
    Function("missingProofs", ("bytes32",), ("uint64",)),
    Function("isProofRequired", ("bytes32",), ("bool",)),
    Function("willProofBeRequired", ("bytes32",), ("bool",)),
    Function("getChallenge", ("bytes32",), ("bytes32",)),
    Function("getPointer", ("bytes32",), ("uint8",)),
    Function("slotProbability", ("bytes32",), ("uint256",)),
)
FREE_SLOT_TO = Function("freeSlot", ("bytes32", "address", "address"))
WITHDRAW_FUNDS_TO = Function("withdrawFunds", ("bytes32", "address"))
"""The same names again, with where to pay."""

TOKEN = _functions(
    Function("approve", ("address", "uint256"), ("bool",)),
    Function("allowance", ("address", "address"), ("uint256",)),
    Function("balanceOf", ("address",), ("uint256",)),
    Function("transfer", ("address", "uint256"), ("bool",)),
    Function("symbol", (), ("string",)),
    Function("decimals", (), ("uint8",)),
)

TRANSFER = keccak256(b"Transfer(address,address,uint256)")
"""The topic by which the token tells that it has moved an amount from the first to the second."""

EVENTS = (
    Event(
        "StorageRequested",
        (),
        ("bytes32", ASK, "uint64"),
        lambda id, ask, expiry: StorageRequested(RequestId(id), StorageAsk.from_tuple(ask), expiry),
    ),
    Event("RequestFulfilled", ("bytes32",), (), lambda id: RequestFulfilled(RequestId(id))),
    Event("RequestFailed", ("bytes32",), (), lambda id: RequestFailed(RequestId(id))),
    Event("RequestCancelled", ("bytes32",), (), lambda id: RequestCancelled(RequestId(id))),
    Event("SlotFilled", ("bytes32",), ("uint64",), lambda id, index: SlotFilled(RequestId(id), index)),
    Event("SlotFreed", ("bytes32",), ("uint64",), lambda id, index: SlotFreed(RequestId(id), index)),
    Event(
        "SlotReservationsFull",
        ("bytes32",),
        ("uint64",),
        lambda id, index: SlotReservationsFull(RequestId(id), index),
    ),
    Event("ProofSubmitted", (), ("bytes32",), lambda id: ProofSubmitted(SlotId(id))),
)

_NAMES_OF_REFUSALS = """
Marketplace_AlreadyPaid Marketplace_DurationExceedsLimit Marketplace_InsufficientCollateral
Marketplace_InsufficientDuration Marketplace_InsufficientProofProbability Marketplace_InsufficientReward
Marketplace_InsufficientSlots Marketplace_InvalidCid Marketplace_InvalidClientAddress
Marketplace_InvalidExpiry Marketplace_InvalidMaxSlotLoss Marketplace_InvalidSlot Marketplace_InvalidSlotHost
Marketplace_InvalidState Marketplace_MaximumSlashingTooHigh Marketplace_NothingToWithdraw
Marketplace_ProofNotSubmittedByHost Marketplace_RepairRewardPercentageTooHigh
Marketplace_RequestAlreadyExists Marketplace_ReservationRequired Marketplace_SlashPercentageTooHigh
Marketplace_SlotIsFree Marketplace_SlotNotAcceptingProofs Marketplace_SlotNotFree
Marketplace_StartNotBeforeExpiry Marketplace_TransferFailed Marketplace_UnknownRequest
Proofs_InsufficientBlockHeight Proofs_InvalidProof Proofs_PeriodNotEnded Proofs_ProofAlreadyMarkedMissing
Proofs_ProofAlreadySubmitted Proofs_ProofNotMissing Proofs_ProofNotRequired Proofs_ValidationTimedOut
Periods_InvalidSecondsPerPeriod SlotReservations_ReservationNotAllowed
ERC20InsufficientAllowance(address,uint256,uint256) ERC20InsufficientBalance(address,uint256,uint256)
ERC20InvalidApprover(address) ERC20InvalidReceiver(address) ERC20InvalidSender(address)
ERC20InvalidSpender(address)
"""


def _refusal(text: str) -> Refusal:
    name, *inputs = re.findall(r"\w+", text)
    return Refusal(name, tuple(inputs))


REFUSALS = tuple(map(_refusal, _NAMES_OF_REFUSALS.split()))


@cache
def refusals_by_selector() -> Mapping[bytes, Refusal]:
    return {refusal.selector: refusal for refusal in REFUSALS}


@cache
def events_by_topic() -> Mapping[bytes, Event]:
    return {event.topic: event for event in EVENTS}


def event_of(log: Log) -> MarketEvent | None:
    """The event that a log of the marketplace is; None for one that this table does not have.

    Raises DecodeError for one that is in the table, and is not made as the table says.
    """
    event = events_by_topic().get(log.topics[0]) if log.topics else None
    return None if event is None else event.read(log)
