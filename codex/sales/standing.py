"""How far back one has to read to know everything that can be filled now: to the oldest request, or slot that
another host has lost, that is still open. Pure.

Whoever begins there anew, after a restart, an outage or a reorganisation, misses nothing, and reads little
more than that. What has closed counts as open for some blocks more: a reorganisation may undo the closing.
"""

from collections.abc import Hashable

from attrs import evolve, frozen

from codex.market import (
    MarketEvent,
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    SlotFilled,
    SlotFreed,
    StorageRequested,
)

DEPTH = 64
"""Blocks that a reorganisation may replace without anything being missed."""


@frozen
class _Opened:
    """`until` when it may be of use (unix seconds), and `closed` in which block it was closed."""

    block: int
    until: int
    closed: int | None = None


class Standing:
    """What has opened, and in which block."""

    def __init__(self, lasting: int) -> None:
        """`lasting` is for how many seconds a request may run."""
        self._lasting = lasting
        self._opened: dict[Hashable, _Opened] = {}
        self._lost: dict[RequestId, set[int]] = {}

    def hear(self, event: MarketEvent, block: int, now: int) -> None:
        """The marketplace has told this in a block; `now` is not before that (unix seconds)."""
        match event:
            case StorageRequested(request, _, expiry):
                self._opened[request] = _Opened(block, expiry)
            case SlotFreed(request, index):
                self._opened[request, index] = _Opened(block, now + self._lasting)
                self._lost.setdefault(request, set()).add(index)
            case SlotFilled(request, index):
                self._close((request, index), block)
            case RequestFulfilled(request):
                self._close(request, block)
            case RequestFailed(request) | RequestCancelled(request):
                self._close(request, block)
                for index in self._lost.pop(request, ()):
                    self._close((request, index), block)

    def past_filling(self, request: RequestId, index: int, block: int) -> None:
        """A slot that was lost cannot be filled any more, as of a block."""
        self._close((request, index), block)

    def since(self, heard: int, now: int) -> int:
        """The block to begin anew at, when all blocks before `heard` were heard and it is `now`. Forgets what
        is of no use any more.
        """
        safe = max(0, heard - DEPTH)
        self._opened = {
            key: there
            for key, there in self._opened.items()
            if there.until >= now and (there.closed is None or there.closed >= safe)
        }
        self._lost = {
            request: left
            for request, indices in self._lost.items()
            if (left := {index for index in indices if (request, index) in self._opened})
        }
        return min([safe, *[there.block for there in self._opened.values()]])

    def _close(self, key: Hashable, block: int) -> None:
        there = self._opened.get(key)
        if there is not None:
            self._opened[key] = evolve(there, closed=block)
