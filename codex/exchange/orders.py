"""What is on order from whom: the one place where orders are given, taken back and paid for with strikes.

Plain state, shared by the book of wants and by the planner; what is to be said to peers is written down in
`actions`.
"""

from collections.abc import Sequence
from typing import TypeAlias

from attrs import define, field, frozen

from codex.data import BlockAddress
from codex.exchange.sources import Fetch, Source, Want
from codex.p2p import PeerId

STRIKES = 8
"""Strikes after which a peer is sent away."""
LIE, STALL, UNASKED = 4, 3, 1
"""What each counts. Stalls are forgotten when it delivers."""


def _how_many(items: Sequence[object]) -> str:
    return f"<{len(items)}>"


@frozen(slots=True)
class AskHave:
    """Ask a peer whether it has these, `full` when it is the beginning of all that is wanted."""

    peer: PeerId
    addresses: Sequence[BlockAddress] = field(repr=_how_many)
    full: bool


@frozen(slots=True)
class Order:
    """Ask a peer to send these."""

    peer: PeerId
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen(slots=True)
class Withdraw:
    """Tell a peer that these are no longer wanted from it."""

    peer: PeerId
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen(slots=True)
class SendAway:
    """Disconnect a peer, which did wrong too often."""

    peer: PeerId
    why: str


Action: TypeAlias = AskHave | Order | Withdraw | SendAway


@define(eq=False)
class Orders:
    """All connected peers and open fetches, and the orders between them."""

    sources: dict[PeerId, Source] = field(factory=dict)
    fetches: dict[Fetch, None] = field(factory=dict)
    actions: list[Action] = field(factory=list)

    def strike(self, source: Source, weight: int, why: str) -> None:
        """Count what a peer did wrong; with enough of it, the peer loses everything and is sent away."""
        before, source.strikes = source.strikes, source.strikes + weight
        if before < STRIKES <= source.strikes:
            source.shunned = True
            self.take_back_all(source)
            for fetch in self.fetches:
                fetch.forget(source.peer)
            self.actions.append(SendAway(source.peer, why))

    def give(self, source: Source, want: Want, now: float) -> None:
        """Order a want, which is not on order, of a peer."""
        if not source.asked:
            source.heard = source.since = now
            source.pace.asked(now)
        want.asked = source
        want.tries += 1
        source.asked[want] = None
        source.asked_bytes += want.size
        want.fetch.held += want.size
        want.fetch.on_order += 1

    def take_back(self, want: Want, *, come: bool = False, now: float = 0.0) -> None:
        """End the order of a want, which is on order; `come` when it came from the peer that had it."""
        source = want.asked
        assert source is not None
        want.asked = None
        want.fetch.held -= want.size
        want.fetch.on_order -= 1
        del source.asked[want]
        source.asked_bytes -= want.size
        if not come:
            want.asked_before |= {source.peer}
            source.excuse(want)
        elif not source.asked:
            source.pace.delivered(0, now, last=True)

    def take_back_all(self, source: Source, *, withdraw: bool = False) -> None:
        """End all orders of a peer, and offer what was ordered to whoever has it."""
        wants = list(source.asked)
        for want in wants:
            self.take_back(want)
        for want in reversed(wants):
            want.fetch.offer(want, first=True)
        if withdraw and wants:
            self.actions.append(Withdraw(source.peer, tuple(want.address for want in wants)))
        source.pace.stalled()
