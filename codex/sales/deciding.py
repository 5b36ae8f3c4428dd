"""Whether a slot is taken, and the record of why: each check in order, wanted against offered. Pure."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import cbor2
from attrs import field, frozen

from codex.errors import DecodeError
from codex.market import RequestId, SlotId, StorageAsk
from codex.store import Availability


class Verdict(StrEnum):
    """What became of a slot that was seen."""

    TAKEN = "taken"  # room and collateral were set aside for it
    UNWANTED = "unwanted"  # no availability takes it; it is looked at again when one changes
    DROPPED = "dropped"  # there were too many better ones
    CLOSED = "closed"  # it could not be filled any more
    REFUSED = "refused"  # as many hosts as may had reserved it
    OUTDONE = "outdone"  # another host was faster
    FAILED = "failed"  # something went wrong on the way
    FILLED = "filled"
    FINISHED = "finished"  # held to the end, and paid
    CANCELLED = "cancelled"  # the request was not filled in time
    LOST = "lost"  # filled, and taken from us


@frozen
class Check:
    """One thing that was looked at. `wanted` is the request's side and `offered` ours, in words."""

    name: str
    passed: bool
    wanted: str
    offered: str


@frozen
class Decision:
    """What was decided about a slot at one moment (unix seconds), and why."""

    slot: SlotId
    request: RequestId
    index: int
    at: int
    verdict: Verdict
    reason: str
    """A sentence."""
    checks: tuple[Check, ...] = field(default=(), repr=lambda checks: f"<{len(checks)}>")
    availability: bytes | None = None
    """Of the checks the last ones, or all, are about this one."""

    def to_bytes(self) -> bytes:
        """As it is kept."""
        checks = [[check.name, check.passed, check.wanted, check.offered] for check in self.checks]
        head = [self.slot.raw, self.request.raw, self.index, self.at, self.verdict.value, self.reason]
        return cbor2.dumps([*head, checks, self.availability])

    @classmethod
    def from_bytes(cls, data: bytes) -> "Decision":
        """The reverse. Raises DecodeError."""
        try:
            slot, request, index, at, verdict, reason, checks, availability = cbor2.loads(data)
            return cls(
                SlotId(slot),
                RequestId(request),
                index,
                at,
                Verdict(verdict),
                reason,
                tuple([Check(*check) for check in checks]),
                availability,
            )
        except (ValueError, TypeError, cbor2.CBORDecodeError) as error:
            raise DecodeError(f"this is no decision: {error}") from error


@frozen
class Judgement:
    """What the checks came to: the availability that takes the slot, or None, and every check made."""

    availability: Availability | None
    checks: tuple[Check, ...]
    reason: str


def judge(
    ask: StorageAsk,
    *,
    collateral: int,
    end: int,
    availabilities: Sequence[Availability],
    balance: int | None = None,
    promised: int = 0,
) -> Judgement:
    """Find the first availability that takes a slot.

    `collateral` is what filling the slot costs, `end` when the request ends at the latest (unix seconds), and
    `balance` the tokens of the account, None for not asked; so much of them is `promised` to slots that are
    not filled yet. An availability stands for a rate of collateral a byte: what it has left for what it has
    free, or for the whole of it when that is more, so that one greedy slot does not leave the rest without,
    and a loss does not close the rest.
    """
    checks: list[Check] = []
    if not availabilities:
        return Judgement(None, (), "nothing is offered: there is no availability")
    if balance is not None:
        has = f"{balance} tokens"
        if promised:
            has += f", {promised} of them for slots that are being filled"
        enough = Check("balance", collateral + promised <= balance, f"{collateral} of collateral", has)
        checks.append(enough)
        if not enough.passed:
            return Judgement(None, tuple(checks), f"the account has {has}, the collateral is {collateral}")
    failed: list[Check] = []
    for there in availabilities:
        made = list(_checks(ask, end, there))
        checks += made
        wrong = next((check for check in made if not check.passed), None)
        if wrong is None:
            return Judgement(there, tuple(made), "an availability takes it")
        failed.append(wrong)
    # Of one availability the first thing in the way is the whole story; of several, each has its own.
    reasons = dict.fromkeys(
        f"{wrong.name}: wanted {wrong.wanted}, offered {wrong.offered}" for wrong in failed
    )
    return Judgement(None, tuple(checks), "; ".join(reasons))


def _checks(ask: StorageAsk, end: int, there: Availability) -> Iterator[Check]:
    """The checks of one availability in order, up to and with the first that fails."""
    full = ask.collateral_per_slot
    rate = max(there.remaining // there.free if there.free else 0, there.collateral // there.total)
    name = f"0x{there.id.hex()[:8]}"
    for check in (
        Check("enabled", there.enabled, "an availability that is on", f"{name} is {_on(there.enabled)}"),
        Check("size", ask.slot_size <= there.free, f"{ask.slot_size} bytes", f"{there.free} bytes free"),
        Check("duration", ask.duration <= there.duration, f"{ask.duration} s", f"at most {there.duration} s"),
        Check(
            "price",
            ask.price_per_byte_per_second >= there.price,
            f"{ask.price_per_byte_per_second} a byte and second are paid",
            f"at least {there.price}",
        ),
        Check(
            "collateral per byte",
            ask.collateral_per_byte <= rate,
            f"{ask.collateral_per_byte} a byte",
            f"at most {rate}",
        ),
        Check("collateral", full <= there.remaining, f"{full}", f"{there.remaining} remain{_lost(there)}"),
        Check(
            "until",
            not there.until or end <= there.until,
            f"until {end}",
            f"until {there.until}" if there.until else "no limit",
        ),
    ):
        yield check
        if not check.passed:
            return


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"


def _lost(there: Availability) -> str:
    return f", {there.lost} were lost" if there.lost else ""
