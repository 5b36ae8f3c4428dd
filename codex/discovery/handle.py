"""The doors of discovery and of the advertiser: typed methods over their mailboxes, and what can be read
without asking.

Any method that waits may raise ServiceUnavailable. What is not found is an answer, never an error: a node
that knows nobody finds nobody.
"""

from collections.abc import Sequence

from codex.codec import Cid, Multiaddr
from codex.discovery import calls
from codex.discovery.board import Advertising, Board, Stats, TableNode
from codex.discovery.nodes import is_plausible
from codex.p2p import PeerId, SignedPeerRecord
from codex.runtime import Mailbox


class Discovery:
    """Who is on the network, and who has what."""

    def __init__(self, mailbox: Mailbox, board: Board) -> None:
        self._mailbox = mailbox
        self._board = board

    async def find_providers(self, cid: Cid) -> list[SignedPeerRecord]:
        """Those who say that they have a content, ourselves left out; at most 200, within 10 s.

        It is what others say. Where they take connections stands in their records.
        """
        return await self._mailbox.ask(calls.FindProviders(cid))

    async def provide(self, cid: Cid, *, again: bool = False) -> int:
        """Tell the nodes in charge of a content that we have it; how many were told.

        They believe it for a day. `again` is for saying what was said before: a lookup of the last minutes is
        then good enough. With 0 nobody was there to be told.
        """
        return await self._mailbox.ask(calls.Provide(cid, again))

    async def find_peer(self, peer: PeerId) -> SignedPeerRecord | None:
        """The newest record of a node that can be had, within 10 s; None when nobody knows it."""
        return await self._mailbox.ask(calls.FindPeer(peer))

    async def announce_addresses(self, tcp: Sequence[Multiaddr], udp: Multiaddr | None) -> None:
        """Say from now on that connections are taken at `tcp`, and packets for discovery at `udp`.

        Both are without `/p2p`; `udp` is `/ip4/…/udp/…`, or None for a node that cannot be asked. Others
        learn of it as they talk with us.
        """
        await self._mailbox.ask(calls.AnnounceAddresses(tuple(tcp), udp))

    async def forget_provider(self, peer: PeerId) -> None:
        """Drop what a node is said to have, for it was not there when it was called."""
        await self._mailbox.ask(calls.ForgetProvider(peer))

    async def add_node(self, record: SignedPeerRecord) -> bool:
        """Make the acquaintance of a node that was heard of otherwise; whether it answers."""
        return await self._mailbox.ask(calls.AddNode(record))

    async def meet(self, record: SignedPeerRecord, host: str) -> bool:
        """Make the acquaintance of a node that is connected from `host`, an IP address or a name, by the
        record it shows of itself; whether it answers. One whose record does not say where discovery reaches
        it, or names a place nearer to us than `host`, is left alone.
        """
        return is_plausible(record, host) and await self.add_node(record)

    async def wait_for_peers(self) -> None:
        """Wait until there is a node that answers."""
        while not self._board.stats().peers:
            await self._board.arrivals.park()

    def record(self) -> SignedPeerRecord:
        """Our own record, as others are told it; its text is what they take as a bootstrap node."""
        return self._board.records.node

    def table(self) -> list[TableNode]:
        """The nodes in the routing table, around the ring; empty while the service is down."""
        return self._board.table()

    def stats(self) -> Stats:
        """How discovery stands; all zero while the service is down."""
        return self._board.stats()


class Advertiser:
    """What this node tells the network that it has."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def announce(self, cids: Sequence[Cid]) -> None:
        """Announce contents that are new here, before all others; returns when that is noted.

        For a dataset, these are its manifest and its tree.
        """
        await self._mailbox.ask(calls.Announce(tuple(cids)))

    async def withdraw(self, cids: Sequence[Cid]) -> None:
        """Announce contents no more that are gone from here. Others forget them within a day."""
        await self._mailbox.ask(calls.Withdraw(tuple(cids)))

    async def stats(self) -> Advertising:
        """How the announcements stand."""
        return await self._mailbox.ask(calls.GetAdvertising())
