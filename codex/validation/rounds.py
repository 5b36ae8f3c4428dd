"""Which slots a validator watches. Pure.

Validators may share the slots among them: each takes those of one group, and no more than it was told to. A
slot comes when it is filled and goes when it is free, over, or somebody else's to watch.
"""

from attrs import frozen

from codex.market import MarketEvent, SlotFilled, SlotFreed, SlotId


@frozen
class Share:
    """What part of all slots is watched: those of group `index` of `groups`, at most `most`, 0 for all."""

    most: int = 1000
    groups: int | None = None
    index: int = 0

    def has(self, slot: SlotId) -> bool:
        """Whether a slot is in the group."""
        return self.groups is None or slot.group(self.groups) == self.index


class Rounds:
    """The slots that are watched, the longest watched first."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._watched: dict[SlotId, None] = {}
        self._waiting: dict[SlotId, None] = {}
        self._fresh: dict[SlotId, None] = {}

    @property
    def watched(self) -> tuple[SlotId, ...]:
        return tuple(self._watched)

    @property
    def waiting(self) -> int:
        """Filled slots of the group that are too many to be watched."""
        return len(self._waiting)

    def take_fresh(self) -> tuple[SlotId, ...]:
        """The slots that came to be watched since this was asked last: what was told of them may be long ago,
        and they over by now.
        """
        fresh = tuple(self._fresh)
        self._fresh.clear()
        return fresh

    def hear(self, event: MarketEvent) -> None:
        """The marketplace has told this."""
        match event:
            case SlotFilled(request, index):
                slot = SlotId.of(request, index)
                if self._share.has(slot) and slot not in self._watched:
                    self._waiting[slot] = None
                    self._fill_up()
            case SlotFreed(request, index):
                self.drop(SlotId.of(request, index))

    def drop(self, slot: SlotId) -> None:
        """A slot is not filled any more. One that waits takes its place."""
        self._waiting.pop(slot, None)
        self._fresh.pop(slot, None)
        if slot in self._watched:
            del self._watched[slot]
            self._fill_up()

    def _fill_up(self) -> None:
        most = self._share.most
        while self._waiting and (not most or len(self._watched) < most):
            slot = next(iter(self._waiting))
            del self._waiting[slot]
            self._watched[slot] = None
            self._fresh[slot] = None
