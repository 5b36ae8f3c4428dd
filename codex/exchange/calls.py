"""Everything that the exchange can be asked. What each call does and raises stands at the handle's method of
its name.
"""

from collections.abc import Sequence

import trio
from attrs import frozen

from codex.codec import Cid
from codex.data import Block
from codex.runtime import Call
from codex.store import Leaf


@frozen
class FetchBlock(Call[Block]):
    """`since` is when it was asked for, on trio's clock: waiting for its turn is waiting, too. With `keep` it
    is in the store when this is answered.
    """

    cid: Cid
    keep: bool
    ttl: float | None
    since: float


@frozen
class FetchLeaves(Call[None]):
    """Answered when all that came through `indices` has gone out through `arrivals`. `since` as above; with
    `keep` it is in the store by then.
    """

    tree: Cid
    leaf_count: int
    block_size: int
    keep: bool
    ttl: float | None
    since: float
    indices: trio.MemoryReceiveChannel[Sequence[int]]
    arrivals: trio.MemorySendChannel[list[tuple[Leaf, Block]]]
