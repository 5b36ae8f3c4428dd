"""This node among others: its key and name, the connections to its peers, and streams on them.

`load_or_create` reads the key file, `Identity` signs, `PeerId` names a node; `SignedPeerRecord` is what nodes
tell each other about where they listen. `Switch` is the door of the service that connects to peers: it opens
a `Stream` for a protocol, and whoever serves a protocol is given to `Handlers` before the service starts.
"""

from codex.p2p.board import PeerEvent, PeerJoined, PeerLeft, Switchboard
from codex.p2p.counts import SwitchStats
from codex.p2p.framing import MessageReader, write_message
from codex.p2p.handle import Switch
from codex.p2p.handlers import Handlers
from codex.p2p.identity import Identity, PeerId, PublicKey
from codex.p2p.keyfile import load_or_create
from codex.p2p.limits import Limits
from codex.p2p.peers import PeerInfo
from codex.p2p.record import Envelope, PeerRecord, SignedPeerRecord, self_record
from codex.p2p.streams import Stream
from codex.p2p.tally import Tally
from codex.p2p.transport import Listener, TcpTransport, Transport

__all__ = [
    "Envelope",
    "Handlers",
    "Identity",
    "Limits",
    "Listener",
    "MessageReader",
    "PeerEvent",
    "PeerId",
    "PeerInfo",
    "PeerJoined",
    "PeerLeft",
    "PeerRecord",
    "PublicKey",
    "SignedPeerRecord",
    "Stream",
    "Switch",
    "SwitchStats",
    "Switchboard",
    "Tally",
    "TcpTransport",
    "Transport",
    "load_or_create",
    "self_record",
    "write_message",
]
