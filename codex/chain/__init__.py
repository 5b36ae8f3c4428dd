"""The chain: its contracts, read and written through a provider, with this node's account.

`Chain` is its door, `Marketplace` and `Token` are the contracts behind it; `ChainService` (in service.py) is
the task. uplink.py keeps a connection, over a link of link.py and a wire of provider.py; sending.py sends
transactions; events.py follows what contracts tell. The contracts' interface is a table in abi.py.
"""

from codex.chain.board import ChainBoard
from codex.chain.contracts import Marketplace, Token
from codex.chain.events import Cursor, Follower, Reorganised, Told
from codex.chain.handle import Chain
from codex.chain.link import LinkLost, Wire
from codex.chain.provider import dial
from codex.chain.values import BlockTag, ChainState, Connected, Disconnected, Header, Log, Receipt, Spending

__all__ = [
    "BlockTag",
    "Chain",
    "ChainBoard",
    "ChainState",
    "Connected",
    "Cursor",
    "Disconnected",
    "Follower",
    "Header",
    "LinkLost",
    "Log",
    "Marketplace",
    "Receipt",
    "Reorganised",
    "Spending",
    "Token",
    "Told",
    "Wire",
    "dial",
]
