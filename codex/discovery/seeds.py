"""Nodes remembered beyond the routing table: whom to ask after a restart, and when everybody else is gone.

Each node that has answered is remembered for a week, the last 256 of them. The table loses nodes that do not
answer, as it must; but when it is we who were cut off, the nodes of before are the way back.

Times are unix seconds. What is remembered is a hint: nodes are asked before they are told to others.
"""

from collections import OrderedDict
from collections.abc import Container, Iterable

from attrs import frozen

from codex.discovery.nodes import Node
from codex.errors import DecodeError
from codex.p2p import SignedPeerRecord

CAPACITY = 256
LIFETIME = 7 * 24 * 3600.0


@frozen
class Seed:
    """A node's record, and when the node answered last."""

    record: SignedPeerRecord
    seen_at: float


class Seeds:
    """The nodes that answered last, at most `capacity`."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        # In the order in which they answered.
        self._nodes: OrderedDict[bytes, tuple[Node, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def restore(self, seeds: Iterable[Seed], now: float) -> None:
        """Take in what was written down. What is too old, or dated in the future, or names no node that can
        be asked, is left out.
        """
        for seed in sorted(seeds, key=lambda one: one.seen_at):
            try:
                node = Node.of(seed.record)
            except DecodeError:
                continue
            if now - LIFETIME < seed.seen_at <= now:
                self.saw(node, seed.seen_at)

    def saw(self, node: Node, now: float) -> None:
        """Note that a node has answered."""
        self._nodes[node.node_id] = (node, now)
        self._nodes.move_to_end(node.node_id)
        if len(self._nodes) > self._capacity:
            self._nodes.popitem(last=False)

    def to_save(self, now: float) -> list[Seed]:
        """What is to be written down, the nodes that answered longest ago first."""
        while self._nodes and next(iter(self._nodes.values()))[1] <= now - LIFETIME:
            self._nodes.popitem(last=False)
        return [Seed(node.record, seen_at) for node, seen_at in self._nodes.values()]

    def missing(self, present: Container[bytes]) -> list[Node]:
        """The nodes whose ids are not among `present`, those that answered last first."""
        return [node for node_id, (node, _) in reversed(self._nodes.items()) if node_id not in present]
