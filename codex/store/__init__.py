"""The store: blocks and datasets on this node's disk, durable, verified, and counted to the byte.

`BlockStore` is its door, `MarketBook` the one for the market's own books; `StoreService` (in service.py) the
task behind them. How long things live is told in
lifetime.py, how writing, crashes and full disks go together in ledger.py and segments.py.
"""

from codex.store.availability import Availability, SlotReservation, Stage
from codex.store.disk import Disk, File, OsDisk
from codex.store.gathering import try_target
from codex.store.handle import BlockStore
from codex.store.market_book import MarketBook
from codex.store.records import Record
from codex.store.values import NEVER, Hold, Leaf, Progress, ProvedBlock, Reservation, SlotRoots, Space

__all__ = [
    "NEVER",
    "Availability",
    "BlockStore",
    "Disk",
    "File",
    "Hold",
    "Leaf",
    "MarketBook",
    "OsDisk",
    "Progress",
    "ProvedBlock",
    "Record",
    "Reservation",
    "SlotReservation",
    "SlotRoots",
    "Space",
    "Stage",
    "try_target",
]
