"""Everything that validation can be asked. What each call does stands at the handle's method of its name."""

from attrs import frozen

from codex.market import SlotId
from codex.runtime import Call


@frozen
class Validated:
    """How validation stands: the slots that are watched, how many more there would be, and how many proofs
    were marked as missing since the start.
    """

    watched: tuple[SlotId, ...]
    waiting: int
    marked: int


@frozen
class GetValidated(Call[Validated]):
    pass
