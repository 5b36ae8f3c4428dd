"""What outlives each life of the exchange's service: the protocol's handler, and the accounts to look at.

Made once, beside the handlers; the service that runs sits behind it.
"""

from collections.abc import Mapping
from typing import Protocol

from codex.errors import PeerGone
from codex.exchange.ledger import Trade
from codex.exchange.messages import PROTOCOL
from codex.exchange.ports import Handlers, Stream
from codex.p2p import PeerId

STREAMS = 4
"""Streams of one peer that are listened to; one is usual, another while the first one ends."""


class Present(Protocol):
    """The life of the service that runs now."""

    async def attend(self, stream: Stream) -> None:
        """Listen to a stream that a peer has opened, until it ends."""

    def ledger(self) -> Mapping[PeerId, Trade]:
        """The accounts, by peer."""


class ExchangeBoard:
    """Serves the protocol of block exchange, as long as there is a service that does."""

    def __init__(self, handlers: Handlers) -> None:
        """Raises ValueError when `handlers` have one for the protocol already."""
        self.present: Present | None = None
        handlers.add(PROTOCOL, self._attend, limit=STREAMS)

    async def _attend(self, stream: Stream) -> None:
        if self.present is None:
            raise PeerGone("this node exchanges no blocks now")
        await self.present.attend(stream)

    def ledger(self) -> Mapping[PeerId, Trade]:
        """What each peer and this node have had of each other; empty while no service runs."""
        return self.present.ledger() if self.present is not None else {}
