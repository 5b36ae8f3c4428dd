"""Everything that discovery and the advertiser can be asked. What each call does and raises stands at the
handle's method of its name.
"""

from collections.abc import Sequence

from attrs import frozen

from codex.codec import Cid, Multiaddr
from codex.discovery.board import Advertising
from codex.p2p import PeerId, SignedPeerRecord
from codex.runtime import Call


@frozen
class FindProviders(Call[list[SignedPeerRecord]]):
    cid: Cid


@frozen
class Provide(Call[int]):
    cid: Cid
    again: bool


@frozen
class FindPeer(Call[SignedPeerRecord | None]):
    peer: PeerId


@frozen
class AnnounceAddresses(Call[None]):
    tcp: Sequence[Multiaddr]
    udp: Multiaddr | None


@frozen
class ForgetProvider(Call[None]):
    peer: PeerId


@frozen
class AddNode(Call[bool]):
    record: SignedPeerRecord


@frozen
class Announce(Call[None]):
    cids: Sequence[Cid]


@frozen
class Withdraw(Call[None]):
    cids: Sequence[Cid]


@frozen
class GetAdvertising(Call[Advertising]):
    pass
