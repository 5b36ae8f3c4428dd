"""The exchange: blocks from other nodes, verified, and to them, in the network's protocol.

`Exchange` is its door; `ExchangeService` (in service.py) the task behind it. What is decided stands in
wants.py (our side) and ledger.py (theirs), without a runtime; peering.py, fetching.py, searching.py and
serving.py act on it.
"""

from codex.exchange.board import ExchangeBoard
from codex.exchange.handle import Arrivals, Exchange
from codex.exchange.ledger import Trade
from codex.exchange.messages import PROTOCOL

__all__ = ["PROTOCOL", "Arrivals", "Exchange", "ExchangeBoard", "Trade"]
