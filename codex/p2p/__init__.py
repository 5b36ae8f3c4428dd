"""This node among others: its key and name, and the signed record that says where it is reached.

`load_or_create` reads the key file, `Identity` signs, `PeerId` names a node; `SignedPeerRecord` is what nodes
tell each other about where they listen.
"""

from codex.p2p.identity import Identity, PeerId, PublicKey
from codex.p2p.keyfile import load_or_create
from codex.p2p.record import Envelope, PeerRecord, SignedPeerRecord, self_record

__all__ = [
    "Envelope",
    "Identity",
    "PeerId",
    "PeerRecord",
    "PublicKey",
    "SignedPeerRecord",
    "load_or_create",
    "self_record",
]
