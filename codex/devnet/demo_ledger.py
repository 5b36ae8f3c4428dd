"""What a contract must have come to for everybody in it, to the unit: computed from what the chain tells, to
be compared with what the accounts have. Pure.

The rules are the marketplace's own: a slot that is held to the end is paid by the second, and what is left of
its collateral comes back; one that is lost gets nothing; whoever marks a missing proof gets a part of what it
costs; the rest of that stays in the contract.
"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from codex.errors import CodexError
from codex.market import (
    Address,
    CollateralConfig,
    StorageAsk,
    payout,
    repair_collateral,
    slashing,
    validator_reward,
)


class DemoFailed(CodexError):
    """A payout, a byte or a state is not what it must be."""

    code = "demo-failed"


@frozen
class Fill:
    """A slot was filled: by whom, at which moment (chain time), and whether another had lost it."""

    index: int
    host: Address
    at: int
    repair: bool


@frozen
class Course:
    """What happened to the slots of one request, as the chain tells it.

    `held` has for each index the filling that lasted to the end, and `missed` the proofs missed in it; `lost`
    the fillings that ended early. `end` is when the request ended (chain time).
    """

    held: Mapping[int, Fill]
    missed: Mapping[int, int]
    lost: Sequence[Fill]
    end: int


def changes(
    ask: StorageAsk,
    config: CollateralConfig,
    course: Course,
    *,
    client: Address,
    validator: Address,
    marketplace: Address,
) -> dict[Address, int]:
    """By how much each account must have grown from before the request to after everybody is paid, in the
    token's smallest unit; negative where it shrank. They add up to zero.
    """
    full = ask.collateral_per_slot
    grown: dict[Address, int] = {client: 0, validator: 0, marketplace: 0}

    def give(account: Address, amount: int) -> None:
        grown[account] = grown.get(account, 0) + amount

    for fill in [*course.held.values(), *course.lost]:
        give(fill.host, -(repair_collateral(ask, config) if fill.repair else full))
    for index, fill in course.held.items():
        paid = payout(ask, fill.at, course.end)
        give(client, -paid)
        give(fill.host, paid + full - course.missed[index] * slashing(ask, config))
    marks = sum(course.missed.values()) + config.max_slashes * len(course.lost)
    give(validator, marks * validator_reward(ask, config))
    grown[marketplace] = -sum(amount for account, amount in grown.items() if account != marketplace)
    return grown


@frozen
class Line:
    """One account of the ledger. Amounts are in the token's smallest unit."""

    name: str
    account: Address
    before: int
    after: int
    expected: int
    """By how much it must have grown."""

    @property
    def change(self) -> int:
        return self.after - self.before

    @property
    def right(self) -> bool:
        return self.change == self.expected

    def check(self) -> None:
        """Raise DemoFailed when the account has not what it must have."""
        if not self.right:
            raise DemoFailed(
                f"{self.name} was paid wrongly: {self.account} changed by {self.change:+} units and must have"
                f" changed by {self.expected:+}"
            )


def check_ledger(lines: Sequence[Line]) -> None:
    """Raise DemoFailed for the first account that is wrong, or when tokens came from nowhere."""
    for line in lines:
        line.check()
    left = sum(line.change for line in lines)
    if left:
        raise DemoFailed(f"the ledger does not add up: {left:+} units came from nowhere")


def check_content(stored: bytes, size: int, fetched: bytes, length: int) -> None:
    """Compare what was stored with what came back, by SHA-256 and bytes. Raises DemoFailed."""
    if length != size:
        raise DemoFailed(f"the file came back with {length} bytes, and {size} were stored")
    if stored != fetched:
        raise DemoFailed(
            f"the file came back with other content: SHA-256 {fetched.hex()}, and {stored.hex()} was stored"
        )


def check_same(what: str, found: object, wanted: object) -> None:
    """Raise DemoFailed when a state is not the one that it must be."""
    if found != wanted:
        raise DemoFailed(f"{what} is {found}, and must be {wanted}")
