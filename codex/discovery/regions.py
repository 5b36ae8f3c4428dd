"""Which nodes were closest to where, a few minutes ago: a thousand contents need not a thousand lookups.

A lookup that found the 16 nodes closest to a place knows all nodes in some region around it: those closer
than the last of the 16. For another content in that region, the closest nodes are among the same 16 and a few
beyond. That is good enough for saying again what was said before; new contents are looked up.
"""

from collections import OrderedDict
from collections.abc import Sequence

from attrs import frozen

from codex.discovery.distance import MAX_DISTANCE, log_distance
from codex.discovery.nodes import Node
from codex.discovery.table import K

LIFETIME = 600.0
"""Seconds. A lookup's nodes are as likely to be there as any that was asked ten minutes ago."""
CAPACITY = 4096


@frozen
class _Region:
    nodes: tuple[Node, ...]
    until: float


class Regions:
    """What lookups found; `now` is seconds of one clock that does not go back."""

    def __init__(self) -> None:
        # By the bits that all places in a region start with: (how many, what they are).
        self._regions: OrderedDict[tuple[int, int], _Region] = OrderedDict()

    def learn(self, target: bytes, nodes: Sequence[Node], now: float) -> None:
        """Note that `nodes` are the closest to `target`, closest first. Fewer than 16 are all there are."""
        if not nodes:
            return
        radius = log_distance(target, nodes[-1].node_id) - 1 if len(nodes) >= K else MAX_DISTANCE
        depth = MAX_DISTANCE - max(0, radius)
        key = (depth, int.from_bytes(target) >> MAX_DISTANCE - depth)
        self._regions[key] = _Region(tuple(nodes), now + LIFETIME)
        self._regions.move_to_end(key)
        while len(self._regions) > CAPACITY or next(iter(self._regions.values())).until <= now:
            self._regions.popitem(last=False)

    def near(self, target: bytes, now: float) -> list[Node] | None:
        """The nodes closest to `target` as far as is known, closest first; None when nothing is."""
        number = int.from_bytes(target)
        for depth in sorted({depth for depth, _ in self._regions}, reverse=True):
            region = self._regions.get((depth, number >> MAX_DISTANCE - depth))
            if region is not None and now < region.until:
                return sorted(region.nodes, key=lambda node: node.number ^ number)
        return None
