"""The two records that a node signs about itself, and how they change.

One names it in the DHT: where packets for discovery reach it, and behind that where connections do, so that
whoever finds the node by its name can connect to it. The other one is handed out to those who look for
content that the node has: only where connections reach it. Both have the same number, which begins at the
unix time and grows by one with each change.
"""

from collections.abc import Sequence

from codex.codec import Multiaddr
from codex.p2p import Identity, SignedPeerRecord


class OwnRecords:
    """What a node says of itself. `now` is unix seconds."""

    def __init__(self, identity: Identity, now: float) -> None:
        self._identity = identity
        self._tcp: tuple[Multiaddr, ...] = ()
        self._udp: tuple[Multiaddr, ...] = ()
        self._sign(int(now))

    @property
    def announced(self) -> bool:
        """Whether there is an address for packets."""
        return bool(self._udp)

    def announce(self, tcp: Sequence[Multiaddr], udp: Multiaddr | None) -> bool:
        """Sign both records anew, with a higher number; False when they say so already."""
        addresses = tuple(tcp), () if udp is None else (udp,)
        if addresses == (self._tcp, self._udp):
            return False
        self._tcp, self._udp = addresses
        self._sign(self.node.record.seq + 1)
        return True

    def _sign(self, seq: int) -> None:
        self.node = SignedPeerRecord.sign(self._identity, seq, (*self._udp, *self._tcp))
        self.provider = SignedPeerRecord.sign(self._identity, seq, self._tcp)
