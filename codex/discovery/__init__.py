"""Finding nodes and content: a distributed hash table over UDP, and the neighbours on the local network.

`Discovery` is its door; `DiscoveryService` (in service.py) the task behind it, and `Board` what both share.
`Advertiser` is the door of a second task, which tells the others what is here.
Nodes and contents have places in one space (distance.py), each node knows some others (table.py), and whoever
looks for a place asks those who are closer (lookup.py). The protocol is the reference network's own.
"""

from codex.discovery.board import Advertising, Board, Stats, TableNode
from codex.discovery.datagrams import DatagramSocket, open_udp
from codex.discovery.handle import Advertiser, Discovery
from codex.discovery.lan import MulticastSocket
from codex.discovery.multicast import open_multicast

__all__ = [
    "Advertiser",
    "Advertising",
    "Board",
    "DatagramSocket",
    "Discovery",
    "MulticastSocket",
    "Stats",
    "TableNode",
    "open_multicast",
    "open_udp",
]
