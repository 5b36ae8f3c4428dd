"""The store: blocks and datasets on this node's disk, durable, verified, and counted to the byte.

`BlockStore` is its door; `StoreService` (in service.py) the task behind it. How long things live is told in
lifetime.py, how writing, crashes and full disks go together in ledger.py and segments.py.
"""

from codex.store.disk import Disk, File, OsDisk
from codex.store.gathering import try_target
from codex.store.handle import BlockStore
from codex.store.values import NEVER, Hold, Leaf, Progress, Reservation, SlotRoots, Space

__all__ = [
    "NEVER",
    "BlockStore",
    "Disk",
    "File",
    "Hold",
    "Leaf",
    "OsDisk",
    "Progress",
    "Reservation",
    "SlotRoots",
    "Space",
    "try_target",
]
