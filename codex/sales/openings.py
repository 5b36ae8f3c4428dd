"""Which slots can be filled, gathered from what the marketplace tells, in order. Pure.

A host that has been away reads what happened meanwhile as fast as it can be read; only what is still open at
the end of it is worth a look.
"""

from collections.abc import Callable, Sequence

from attrs import frozen

from codex.market import (
    MarketEvent,
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    SlotFilled,
    SlotFreed,
    SlotReservationsFull,
    StorageRequested,
)
from codex.sales.queue import Item, Rank, rank_of

MOST = 256
"""Slots of one request that are looked at: as many as a proof can address. A request may claim any number."""


@frozen
class Opening:
    """A request whose slots can be filled, but those in `without`."""

    told: StorageRequested
    without: frozenset[int]

    def rank(self, *, seen: bool) -> Rank:
        """What its slots are worth in the queue."""
        told = self.told
        return rank_of(told.ask, told.ask.collateral_per_slot, told.expiry, seen=seen)

    def items(self, token: Callable[[int], bytes]) -> list[Item]:
        """Its slots for the queue. `token` gives so many random bytes."""
        told, ask = self.told, self.told.ask
        if ask.slots <= MOST:
            indices: Sequence[int] = range(ask.slots)
        else:
            # Nobody can fill them all: some, drawn so that other hosts have drawn others.
            indices = [int.from_bytes(token(8), "big") % ask.slots for _ in range(MOST)]
        return [
            Item(
                told.request,
                index,
                ask,
                deadline=told.expiry,
                collateral=ask.collateral_per_slot,
                lot=token(8),
            )
            for index in indices
            if index not in self.without
        ]


class Openings:
    """What has opened since it was last taken, and has not closed again."""

    def __init__(self) -> None:
        self._requests: dict[RequestId, tuple[StorageRequested, set[int]]] = {}
        self._freed: dict[tuple[RequestId, int], None] = {}

    def hear(self, event: MarketEvent) -> None:
        """The marketplace has told this."""
        match event:
            case StorageRequested(request):
                self._requests[request] = (event, set())
            case SlotFilled(request, index) | SlotReservationsFull(request, index):
                self._freed.pop((request, index), None)
                if request in self._requests:
                    self._requests[request][1].add(index)
            case SlotFreed(request, index):
                self._freed[request, index] = None
            case RequestFulfilled(request):
                self._requests.pop(request, None)
            case RequestFailed(request) | RequestCancelled(request):
                self._requests.pop(request, None)
                self._freed = {slot: None for slot in self._freed if slot[0] != request}

    def take(self, now: int) -> tuple[list[Opening], list[tuple[RequestId, int]]]:
        """The requests that can be filled at this moment, and slots that others have lost; forgets them."""
        requests = [
            Opening(told, frozenset(without))
            for told, without in self._requests.values()
            if told.expiry >= now
        ]
        freed = list(self._freed)
        self._requests, self._freed = {}, {}
        return requests, freed
