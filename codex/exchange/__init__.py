"""The exchange: blocks from other nodes, verified, and to them, in the network's protocol.

`Exchange` is its door; `ExchangeService` (in service.py) the task behind it. What is decided stands in
wants.py (our side) and ledger.py (theirs), without a runtime; peering.py, fetching.py, searching.py and
serving.py act on it.
"""

from codex.exchange.board import ExchangeBoard
from codex.exchange.handle import Arrivals, Exchange
from codex.exchange.ledger import Trade
from codex.exchange.messages import PROTOCOL, Delivery, Entry, Message, Presence
from codex.exchange.messages import decode as decode_message
from codex.exchange.writing import encode as encode_message

__all__ = [
    "PROTOCOL",
    "Arrivals",
    "Delivery",
    "Entry",
    "Exchange",
    "ExchangeBoard",
    "Message",
    "Presence",
    "Trade",
    "decode_message",
    "encode_message",
]
