"""What everybody may see of the switch at any moment, and hear of it: it outlives each life of the service.

Made once, beside the handlers; the service writes, handles read.
"""

from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from attrs import frozen

from codex.codec import Multiaddr
from codex.p2p.counts import Counts, SwitchStats
from codex.p2p.identity import PeerId
from codex.p2p.peers import PeerInfo
from codex.runtime import Broadcast
from codex.runtime.broadcast import Subscription


@frozen
class PeerJoined:
    """A peer is here: connected, proved to be who it is, and identified."""

    peer: PeerId
    address: Multiaddr


@frozen
class PeerLeft:
    """A peer that had joined is no longer here."""

    peer: PeerId
    why: str


PeerEvent: TypeAlias = PeerJoined | PeerLeft


class Present(Protocol):
    """Those who are here, by the life of the service that runs now."""

    def is_connected(self, peer: PeerId) -> bool: ...

    def infos(self) -> list[PeerInfo]: ...

    def moved(self) -> tuple[int, int]:
        """Bytes that came and went on every connection that is ready."""
        ...


class Switchboard:
    """The present state of one node's switch, and the news of it. `listening` and `announced` are without
    `/p2p`, and empty while no service runs.
    """

    def __init__(self, peer_id: PeerId) -> None:
        self.peer_id = peer_id
        self.present: Present | None = None
        self.listening: tuple[Multiaddr, ...] = ()
        self.announced: tuple[Multiaddr, ...] = ()
        self.counts = Counts()
        self.ports: dict[Multiaddr, Multiaddr] = {}
        """What came of each address that leaves the port open: the next life takes the same port, since
        others know it."""
        self._news = Broadcast[PeerEvent]()

    def publish(self, event: PeerEvent) -> None:
        """Tell everybody who listens."""
        self._news.publish(event)

    def stats(self) -> SwitchStats:
        """How things stand, and what was done up to now."""
        counts, present = self.counts, self.present
        infos = present.infos() if present is not None else []
        came_in, went_out = present.moved() if present is not None else (0, 0)
        dialled = sum(info.dialled for info in infos)
        return SwitchStats(
            dialled=dialled,
            came=len(infos) - dialled,
            streams=sum(info.streams for info in infos),
            bytes_in=counts.bytes_in + came_in,
            bytes_out=counts.bytes_out + went_out,
            reached=counts.reached,
            failed=counts.failed,
            dropped=dict(counts.dropped),
        )

    def subscribe(self, size: int) -> AbstractAsyncContextManager[Subscription[PeerEvent]]:
        """The news from now on, for the length of a block."""
        return self._news.subscribe(size)

    def clear(self) -> None:
        """No service runs now."""
        self.present = None
        self.listening = self.announced = ()

    def close(self) -> None:
        """No service will run any more: every subscription ends once its items are taken."""
        self.clear()
        self._news.close()
