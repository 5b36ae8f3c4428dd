"""Which slots a validator watches. Pure.

Validators may share the slots among them: each takes those of one group, and no more than it was told to. A
slot comes when it is filled and goes when it is free, over, or somebody else's to watch.
"""

from collections.abc import Mapping

from attrs import frozen

from codex.market import MarketEvent, SlotFilled, SlotFreed, SlotId
from codex.validation.filled import Filled


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
        self._filled = Filled()
        self._watched: dict[SlotId, int] = {}
        self._waiting: dict[SlotId, int] = {}
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

    def begin(self, block: int, slots: Mapping[SlotId, int]) -> None:
        """What is told from `block` on will be heard; before it these slots were filled, each until a moment
        (unix seconds) at most.
        """
        self._filled.begin(block, slots)
        self._catch_up()

    def hear(self, event: MarketEvent, block: int, until: int) -> None:
        """The marketplace has told this in a block. A slot that is filled in it is over by `until`."""
        match event:
            case SlotFilled(request, index):
                slot = SlotId.of(request, index)
                if self._share.has(slot):
                    self._filled.fill(slot, block, until)
                    if slot not in self._watched:
                        self._waiting.setdefault(slot, until)
                        self._fill_up()
            case SlotFreed(request, index):
                slot = SlotId.of(request, index)
                if self._share.has(slot):
                    self._filled.free(slot, block)
                    self._let_go(slot)

    def rewind(self, first: int) -> None:
        """What was told of block `first` and later counts for nothing any more, and is told anew where it is
        still so.
        """
        self._filled.rewind(first)
        self._catch_up()

    def settle(self, heard: int, now: int) -> tuple[int, Mapping[SlotId, int]]:
        """All blocks before `heard` were heard, and it is `now`: what `begin` is to be given by a later life.
        Lets go what is surely over.
        """
        self._filled.settle(heard, now)
        for slot in [slot for slot, until in (self._watched | self._waiting).items() if until < now]:
            self._let_go(slot)
        return self._filled.block, self._filled.settled

    def is_settled(self, slot: SlotId) -> bool:
        """Whether a slot was filled so long ago that everybody must know."""
        return self._filled.is_settled(slot)

    def drop(self, slot: SlotId) -> None:
        """A slot is not filled any more. One that waits takes its place."""
        if slot in self._watched or slot in self._waiting:
            self._filled.free(slot)
            self._let_go(slot)

    def _let_go(self, slot: SlotId) -> None:
        self._waiting.pop(slot, None)
        self._fresh.pop(slot, None)
        if slot in self._watched:
            del self._watched[slot]
            self._fill_up()

    def _catch_up(self) -> None:
        """Watch what is filled now, and nothing else."""
        filled = self._filled.now()
        for there in (self._watched, self._waiting):
            for slot in [slot for slot in there if slot not in filled]:
                del there[slot]
                self._fresh.pop(slot, None)
        self._waiting |= {slot: until for slot, until in filled.items() if slot not in self._watched}
        self._fill_up()

    def _fill_up(self) -> None:
        most = self._share.most
        while self._waiting and (not most or len(self._watched) < most):
            slot, until = next(iter(self._waiting.items()))
            del self._waiting[slot]
            self._watched[slot] = until
            self._fresh[slot] = None
