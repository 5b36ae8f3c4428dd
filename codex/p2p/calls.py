"""Everything that the switch can be asked. What each call does and raises stands at the handle's method of
its name.
"""

from attrs import frozen

from codex.codec import Multiaddr
from codex.p2p.identity import PeerId
from codex.p2p.streams import Stream
from codex.runtime import Call


@frozen
class Connect(Call[None]):
    peer: PeerId
    addresses: tuple[Multiaddr, ...]


@frozen
class Disconnect(Call[None]):
    peer: PeerId
    why: str


@frozen
class OpenStream(Call[Stream]):
    peer: PeerId
    protocols: tuple[str, ...]


@frozen
class Ping(Call[float]):
    peer: PeerId
