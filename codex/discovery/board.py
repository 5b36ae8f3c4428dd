"""What other parts read of discovery at once, without asking its task; it outlives the service's lives."""

from collections.abc import Callable

import trio
from attrs import Factory, define, frozen

from codex.discovery.events import Counts
from codex.discovery.records import OwnRecords
from codex.p2p import Identity, PeerId


@frozen
class TableNode:
    """A node of the routing table. `address` is `ip:port` for packets; `seen` whether it answers."""

    node_id: bytes
    peer_id: PeerId
    record: str
    address: str | None
    seen: bool


@frozen
class Stats:
    """How discovery stands.

    `peers` answer, of `nodes` in the table and `waiting` behind it; `seeds` are remembered. `searching`:
    there is nobody who answers, and those we know of are called. `seen_at` is where most others see us,
    `ip:port`. `hops` is the sum over all `lookups`. `contents`, `providers` and `said` (pairs of both) are
    what others have told us. `packets` counts datagrams since the service began.
    """

    peers: int = 0
    nodes: int = 0
    waiting: int = 0
    buckets: int = 0
    seeds: int = 0
    searching: bool = False
    seen_at: str | None = None
    lookups: int = 0
    hops: int = 0
    contents: int = 0
    providers: int = 0
    said: int = 0
    sessions: int = 0
    requests: int = 0
    packets: Counts = Factory(Counts)


@frozen
class Advertising:
    """How the announcements of our own contents stand.

    Of `contents`, `due` should have been announced and were not yet, the oldest of them for `lag` seconds.
    `announced` counts announcements since the service began; `last_error` is why one did not get out, or
    empty.
    """

    contents: int
    due: int
    lag: float
    announced: int
    last_error: str


def _nobody() -> list[TableNode]:
    return []


@define
class Board:
    """Made once, where services are wired together; the service in charge writes, handles read.

    `port` is the UDP port of the service's first life: later lives take the same one.
    """

    records: OwnRecords
    port: int | None = None
    arrivals: trio.lowlevel.ParkingLot = Factory(trio.lowlevel.ParkingLot)
    """Woken whenever a node has shown that it is there."""
    table: Callable[[], list[TableNode]] = _nobody
    stats: Callable[[], Stats] = Stats

    @classmethod
    def of(cls, identity: Identity, now: float) -> "Board":
        """The board of a node; `now` is unix seconds."""
        return cls(OwnRecords(identity, now))

    def clear(self) -> None:
        """Show nobody and nothing, as is true while no service runs."""
        self.table, self.stats = _nobody, Stats
