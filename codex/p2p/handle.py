"""The door of the switch: peers to connect to, and streams to them.

Any method that waits may raise ServiceUnavailable. A handle survives restarts of the service behind it;
connections do not, and everybody who had joined is then told to have left.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from codex.codec import Multiaddr
from codex.p2p import calls
from codex.p2p.board import PeerEvent, Switchboard
from codex.p2p.counts import SwitchStats
from codex.p2p.identity import PeerId
from codex.p2p.peers import PeerInfo
from codex.p2p.streams import Stream
from codex.runtime import Mailbox
from codex.runtime.broadcast import Subscription


class Switch:
    """This node's connections to other nodes."""

    def __init__(self, mailbox: Mailbox, board: Switchboard) -> None:
        self._mailbox = mailbox
        self._board = board

    @property
    def peer_id(self) -> PeerId:
        """This node's own name."""
        return self._board.peer_id

    async def connect(self, peer: PeerId, addresses: Sequence[Multiaddr] = ()) -> None:
        """Return when `peer` has joined; at once when it is here.

        Its addresses are tried one shortly after the other, the most promising first, and with them those
        that it was reached at before. A dial to it that is under way is joined. An address that failed is
        left in peace for 2 s, and longer with each further failure, up to 2 min. Raises PeerUnreachable,
        which names each address and what happened there, within about a minute.
        """
        await self._mailbox.ask(calls.Connect(peer, tuple(addresses)))

    async def disconnect(self, peer: PeerId, why: str = "") -> None:
        """End every connection to `peer`, after what was handed over has been sent; nothing to do when there
        is none. Returns when it has left.
        """
        await self._mailbox.ask(calls.Disconnect(peer, why))

    def is_connected(self, peer: PeerId) -> bool:
        """Whether the peer has joined and is not about to leave."""
        present = self._board.present
        return present is not None and present.is_connected(peer)

    def peers(self) -> list[PeerInfo]:
        """Everybody who is here, in the order in which they came."""
        present = self._board.present
        return present.infos() if present is not None else []

    def stats(self) -> SwitchStats:
        """How many are here, and what was moved, dialled and dropped since the node started."""
        return self._board.stats()

    async def open_stream(self, peer: PeerId, *protocols: str) -> Stream:
        """A stream to a peer that is here, for the first of `protocols` that it speaks.

        Raises PeerGone when it is not, or does not answer, and ProtocolRefused.
        """
        return await self._mailbox.ask(calls.OpenStream(peer, protocols))

    def events(self, size: int) -> AbstractAsyncContextManager[Subscription[PeerEvent]]:
        """Who joins and leaves from now on, for the length of a block.

        At most `size` events wait to be taken; of more the oldest are dropped, and `Lagged` says so: then
        `peers()` tells how things stand. For each PeerJoined there is exactly one PeerLeft in the end.
        """
        return self._board.subscribe(size)

    def listening(self) -> tuple[Multiaddr, ...]:
        """Where connections are taken, with the real ports."""
        return self._board.listening

    def announced(self) -> tuple[Multiaddr, ...]:
        """Where others are told to find this node."""
        return self._board.announced

    async def ping(self, peer: PeerId) -> float:
        """Seconds to a peer that is here and back. Raises PeerGone."""
        return await self._mailbox.ask(calls.Ping(peer))
