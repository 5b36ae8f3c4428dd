"""Which slots are filled, as the marketplace tells: now, and as of a block that is out of reach of
reorganisations. Pure.

What was told of the last blocks is kept apart, block by block, so that it can be taken back; what is older is
settled, and is what a later life may begin with.
"""

from collections.abc import Mapping

from codex.market import SlotId

DEPTH = 64
"""Blocks that a reorganisation may replace without anything being missed."""


class Filled:
    """Slots, each with the moment (unix seconds) at which its request is over at the latest."""

    def __init__(self) -> None:
        self._settled: Mapping[SlotId, int] = {}
        self._recent: list[tuple[int, SlotId, int | None]] = []
        """Block, slot, and until when it is filled at the latest; None when it is filled no more."""
        self._block = 0
        self._newest = 0

    @property
    def block(self) -> int:
        """The first block that is not settled."""
        return self._block

    @property
    def settled(self) -> Mapping[SlotId, int]:
        """What was filled before `block`, the longest first. Stays as it is."""
        return self._settled

    def begin(self, block: int, slots: Mapping[SlotId, int]) -> None:
        """Nothing is known, but what was filled before `block`."""
        self._settled = dict(slots)
        self._recent.clear()
        self._block = self._newest = block

    def fill(self, slot: SlotId, block: int, until: int) -> None:
        """A slot was filled in a block, which is not before the last one that was told of."""
        self._note(block, slot, until)

    def free(self, slot: SlotId, block: int | None = None) -> None:
        """A slot was freed in a block; without one, it was over in the newest that was told of."""
        self._note(self._newest if block is None else block, slot, None)

    def is_settled(self, slot: SlotId) -> bool:
        """Whether it was filled so long ago that everybody must know."""
        return slot in self._settled and all(there != slot for _, there, _ in self._recent)

    def now(self) -> dict[SlotId, int]:
        """What is filled now."""
        return _told(self._settled, self._recent)

    def rewind(self, first: int) -> None:
        """What was told of block `first` and later counts for nothing any more."""
        self._recent = [told for told in self._recent if told[0] < first]
        self._block, self._newest = min(self._block, first), min(self._newest, first)

    def settle(self, heard: int, now: int) -> None:
        """All blocks before `heard` were heard, and it is `now`: what is old enough is settled, and what is
        over by then forgotten.
        """
        self._block = max(self._block, heard - DEPTH)
        old = [told for told in self._recent if told[0] < self._block]
        self._recent = [told for told in self._recent if told[0] >= self._block]
        self._settled = _told(self._settled, old)
        self._settled = {slot: until for slot, until in self._settled.items() if until >= now}

    def _note(self, block: int, slot: SlotId, until: int | None) -> None:
        self._newest = max(self._newest, block)
        self._recent.append((block, slot, until))


def _told(before: Mapping[SlotId, int], told: list[tuple[int, SlotId, int | None]]) -> dict[SlotId, int]:
    """What is filled after that was told."""
    filled = dict(before)
    for _, slot, until in told:
        if until is None:
            filled.pop(slot, None)
        else:
            filled.setdefault(slot, until)
    return filled
