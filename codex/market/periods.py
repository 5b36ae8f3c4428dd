"""Periods of proofs: when one begins and ends, in which a proof is due, and over what.

The chain cuts time into periods of equal length, counted from the unix epoch. Which block's hash a slot is
challenged with depends on a pointer into the last 256 blocks. The pointer moves on with every block by one,
as does the block that it is counted from: within a period the challenge therefore stays, until the pointer
passes 255 and begins again at 0.
"""

from attrs import frozen

from codex.market.ids import SlotId, keccak256

BLOCKS = 256
"""Blocks that a pointer goes round: those whose hashes a contract can still see."""


@frozen(slots=True, order=True)
class Period:
    """One period: `number` counts from the unix epoch, each `seconds` long."""

    number: int
    seconds: int

    @classmethod
    def at(cls, moment: int, seconds: int) -> "Period":
        """The period of `seconds` that a moment is in."""
        return cls(moment // seconds, seconds)

    @property
    def start(self) -> int:
        """Its first second."""
        return self.number * self.seconds

    @property
    def end(self) -> int:
        """The first second of the next one. At this very second the contract still counts its end as not
        passed."""
        return self.start + self.seconds

    @property
    def next(self) -> "Period":
        return Period(self.number + 1, self.seconds)

    @property
    def previous(self) -> "Period":
        return Period(self.number - 1, self.seconds)

    def markable(self, moment: int, timeout: int) -> bool:
        """Whether a proof that was missed in it can be marked as missing in a block of this moment."""
        return self.end < moment < self.end + timeout


def pointer_of(slot: SlotId, period: int, block: int, product: int) -> int:
    """The pointer of a slot, 0 to 255, in the block of number `block`; `product` is the configured one."""
    return (block + period * product + slot.raw[-1]) % BLOCKS


def challenge_of(block_hash: bytes) -> bytes:
    """The challenge, 32 bytes, that a block's hash makes."""
    return keccak256(block_hash)


def in_downtime(pointer: int, downtime: int) -> bool:
    """Whether no proof is asked for while the pointer is here, though one may be in a later block."""
    return pointer < downtime


def probability(asked: int, downtime: int) -> int:
    """Out of how many periods one brings a proof, given that none is asked for in downtime. 0 is each."""
    return asked * (BLOCKS - downtime) // BLOCKS


def is_proof_due(challenge: bytes, asked: int, downtime: int) -> bool:
    """Whether a challenge asks for a proof, downtime aside, of a request with proof probability `asked`."""
    odds = probability(asked, downtime)
    return odds == 0 or int.from_bytes(challenge, "big") % odds == 0
