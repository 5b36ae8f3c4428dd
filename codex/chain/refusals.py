"""What a chain says when it refuses: the reason is found, decoded, and told as an error that says what to do.

Chains put the data of a refusal in different places: as plain text of the error's `data`, in an object inside
it, or under the hash of the transaction; one that puts it nowhere may still have the selector or the name in
its message.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from attrs import frozen

from codex.chain import abi
from codex.chain.jsonrpc import RpcError, shown
from codex.errors import (
    ChainFailed,
    ChainRefused,
    CodexError,
    DecodeError,
    InsufficientFunds,
    ProofInvalid,
    SlotReservationNotAllowed,
    SlotStateMismatch,
    UnknownRequest,
)

_REASON = abi.Refusal("Error", ("string",))
_PANIC = abi.Refusal("Panic", ("uint256",))
_DEPTH = 6  # how deep the data of a refusal is looked for


@frozen
class Row:
    """How a refusal is told."""

    message: str
    remedy: str = ""
    kind: type[ChainRefused] = ChainRefused


_AGAIN = "Read its state again: this was decided on an older one."
_OTHER = "Check that --marketplace-address is a marketplace of this network."

ROWS: dict[str, Row] = {
    "Marketplace_AlreadyPaid": Row("the slot has been paid out already"),
    "Marketplace_DurationExceedsLimit": Row(
        "the duration is longer than this marketplace allows", "Ask for a shorter duration."
    ),
    "Marketplace_InsufficientCollateral": Row(
        "the collateral per byte is zero", "Ask for a collateral of 1 or more."
    ),
    "Marketplace_InsufficientDuration": Row("the duration is zero", "Ask for a duration of 1 s or more."),
    "Marketplace_InsufficientProofProbability": Row(
        "the proof probability is zero", "Give a proof probability of 1 or more."
    ),
    "Marketplace_InsufficientReward": Row("the price is zero", "Offer a price of 1 or more."),
    "Marketplace_InsufficientSlots": Row("the request has no slots", "Ask for one slot or more."),
    "Marketplace_InvalidCid": Row("the request names no content", "Give the CID of a dataset."),
    "Marketplace_InvalidClientAddress": Row(
        "the request is in another account's name, or is not this account's",
        "Use the account that the request was made with.",
    ),
    "Marketplace_InvalidExpiry": Row(
        "the expiry is not within the duration", "Give an expiry above zero and below the duration."
    ),
    "Marketplace_InvalidMaxSlotLoss": Row(
        "more slots may be lost than there are", "Tolerate the loss of fewer slots."
    ),
    "Marketplace_InvalidSlot": Row("the request has no slot of that index"),
    "Marketplace_InvalidSlotHost": Row(
        "the slot is another host's", "Use the account that the slot was filled with."
    ),
    "Marketplace_InvalidState": Row("the request is in a state that does not allow this", _AGAIN),
    "Marketplace_MaximumSlashingTooHigh": Row("a host could be slashed for more than its collateral"),
    "Marketplace_NothingToWithdraw": Row("there is nothing left to take out of this request"),
    "Marketplace_ProofNotSubmittedByHost": Row(
        "only the host of a slot can prove it", "Use the account that the slot was filled with."
    ),
    "Marketplace_RepairRewardPercentageTooHigh": Row("the reward for a repair is over 100 per cent"),
    "Marketplace_RequestAlreadyExists": Row(
        "there is a request with exactly these values already", "Send it with another nonce."
    ),
    "Marketplace_ReservationRequired": Row(
        "the slot can be filled only by who reserved it", "Reserve the slot first."
    ),
    "Marketplace_SlashPercentageTooHigh": Row("a single slash is over 100 per cent"),
    "Marketplace_SlotIsFree": Row("the slot has no host", _AGAIN, SlotStateMismatch),
    "Marketplace_SlotNotAcceptingProofs": Row("the slot takes no proofs in its state", _AGAIN),
    "Marketplace_SlotNotFree": Row(
        "another host has filled the slot", "Take another slot.", SlotStateMismatch
    ),
    "Marketplace_StartNotBeforeExpiry": Row("the request is over, or its expiry has passed", _AGAIN),
    "Marketplace_TransferFailed": Row("the token refused to move the tokens", "Check balance and allowance."),
    "Marketplace_UnknownRequest": Row(
        "the marketplace knows no request of this name", _OTHER, UnknownRequest
    ),
    "Proofs_InsufficientBlockHeight": Row(
        "the chain is too young for proofs", "Wait until it has more than 256 blocks."
    ),
    "Proofs_InvalidProof": Row(
        "the proof is not accepted", "Make it anew for the challenge of now.", ProofInvalid
    ),
    "Proofs_PeriodNotEnded": Row("the period is not over yet", "Wait until its end has passed."),
    "Proofs_ProofAlreadyMarkedMissing": Row("the proof was marked as missing already"),
    "Proofs_ProofAlreadySubmitted": Row("there is a proof for this period already"),
    "Proofs_ProofNotMissing": Row("the proof is not missing: it was submitted"),
    "Proofs_ProofNotRequired": Row("no proof was asked for in that period"),
    "Proofs_ValidationTimedOut": Row("it is too late to mark a proof of that period as missing"),
    "Periods_InvalidSecondsPerPeriod": Row("a period cannot have no seconds"),
    "SlotReservations_ReservationNotAllowed": Row(
        "the slot is reserved by as many hosts as may, or by this one already",
        "Take another slot.",
        SlotReservationNotAllowed,
    ),
    "ERC20InvalidApprover": Row("the token allows nothing in the name of {0}"),
    "ERC20InvalidReceiver": Row("the token gives nothing to {0}"),
    "ERC20InvalidSender": Row("the token takes nothing from {0}"),
    "ERC20InvalidSpender": Row("the token lets {0} spend nothing"),
}

_FUNDS = {
    "ERC20InsufficientAllowance": (
        "{0} may take {1} tokens of this account, and {2} are needed",
        "Try again: the allowance is raised before.",
    ),
    "ERC20InsufficientBalance": (
        "{0} has {1} tokens, and {2} are needed",
        "Send the missing tokens to that account, or ask for less.",
    ),
}

_NO_GAS = re.compile(
    r"insufficient funds|doesn't have enough funds|gas required exceeds allowance|funds for gas", re.I
)
_REVERT = re.compile(r"revert|VM Exception|execution (failed|error)|invalid opcode|out of gas", re.I)
_NAMED = re.compile(r"\b(?:Marketplace|Proofs|Periods|SlotReservations)_\w+|\bERC20[A-Z]\w+")


def refusal_data(data: Any, message: str = "") -> bytes | None:
    """The bytes of a refusal in the data, or in the message, of a chain's error; None when there are none."""
    for text in (*_texts(data, _DEPTH), message):
        for digits in re.findall(r"0x((?:[0-9a-fA-F]{2})+)", text):
            raw = bytes.fromhex(digits)
            # A selector and whole words: an address, a hash or a number in the text is none.
            if len(raw) % 32 == 4:
                return raw
    return None


def _texts(data: Any, depth: int) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif depth and isinstance(data, dict):
        # Where the known places are, they go before whatever else stands beside them.
        for key in sorted(data, key=lambda key: key not in ("data", "return", "result", "originalError")):
            yield from _texts(data[key], depth - 1)
    elif depth and isinstance(data, list):
        for item in data:
            yield from _texts(item, depth - 1)


def refused(raw: bytes) -> CodexError:
    """The error that the bytes of a refusal are."""
    selector = raw[:4]
    with suppress(DecodeError):  # one whose own form is broken is told by its selector
        if selector == _REASON.selector:
            (reason,) = abi.decode(_REASON.inputs, raw[4:])
            return ChainRefused(f"the contract refused: {shown(reason)}", reason=shown(reason))
        if selector == _PANIC.selector:
            (code,) = abi.decode(_PANIC.inputs, raw[4:])
            return ChainRefused(f"the contract failed (panic {code:#x})", remedy=_OTHER, reason="Panic")
        known = abi.refusals_by_selector().get(selector)
        if known is not None:
            return named(known.name, abi.decode(known.inputs, raw[4:]))
    return ChainRefused(
        f"the contract refused with an error that is not known here: 0x{selector.hex()}",
        remedy=_OTHER,
        reason=f"0x{selector.hex()}",
    )


def named(name: str, values: tuple[Any, ...] = ()) -> CodexError:
    """The error that a custom error of a contract is."""
    if name in _FUNDS:
        message, remedy = _FUNDS[name]
        return InsufficientFunds(
            message.format(*values) if values else "the tokens, or the allowance of them, do not suffice",
            remedy=remedy,
        )
    row = ROWS[name]
    return row.kind(row.message.format(*values or ("an account",)), remedy=row.remedy, reason=name)


def translated(error: RpcError) -> CodexError:
    """What a provider's error means. Everything that is no refusal by a contract is ChainFailed, but for an
    account that cannot pay for the gas.
    """
    raw = refusal_data(error.data, error.message)
    if raw is not None:
        return refused(raw)
    name = _NAMED.search(error.message)
    if name is not None and name[0] in {refusal.name for refusal in abi.REFUSALS}:
        return named(name[0])
    if _NO_GAS.search(error.message):
        return InsufficientFunds(
            f"the account cannot pay for the transaction: {shown(error.message)}",
            remedy="Send it some of the coin that this chain is paid with.",
        )
    if _REVERT.search(error.message):
        return ChainRefused(f"the contract refused: {shown(error.message)}", remedy=_OTHER)
    return ChainFailed(
        f"the provider answered {error.method} with an error: {shown(error.message)} ({error.code})",
        remedy="Try again in a moment, or name another provider with --eth-provider.",
    )
