"""Purchasing: storage from the network for tokens, and a history of it that outlives the chain's memory.

`Purchasing` is its door, `PurchasingService` (in service.py) the task behind it. How a purchase goes is the
table in states.py; agent.py looks after one; record.py is how it is kept.
"""

from codex.purchasing.board import PurchaseChanged, PurchasingBoard
from codex.purchasing.handle import Purchasing
from codex.purchasing.record import Purchase
from codex.purchasing.states import PURCHASE, State

__all__ = ["PURCHASE", "Purchase", "PurchaseChanged", "Purchasing", "PurchasingBoard", "State"]
