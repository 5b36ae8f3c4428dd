"""What has not come yet, by its address: a table for each dataset, by place.

Addresses come in runs of one dataset, and a number is looked up in a fraction of the time that an address
takes. Pure state.
"""

from collections.abc import Sequence

from codex.codec import Cid
from codex.data import BlockAddress, LeafAddress
from codex.exchange.sources import Want


class Pending:
    """Wants, each at its own address."""

    __slots__ = ("_leaves", "_single")

    def __init__(self) -> None:
        self._leaves: dict[Cid, dict[int, Want]] = {}
        self._single: dict[Cid, Want] = {}

    def __len__(self) -> int:
        return len(self._single) + sum(map(len, self._leaves.values()))

    def get(self, address: BlockAddress) -> Want | None:
        """What is wanted there."""
        if isinstance(address, LeafAddress):
            return self._leaves.get(address.tree, {}).get(address.index)
        return self._single.get(address)

    def find(self, addresses: Sequence[BlockAddress]) -> list[Want | None]:
        """What is wanted at each of these."""
        found: list[Want | None] = []
        tree: Cid | None = None
        leaves: dict[int, Want] = {}
        for address in addresses:
            if not isinstance(address, LeafAddress):
                found.append(self._single.get(address))
                continue
            if address.tree is not tree:
                tree = address.tree
                leaves = self._leaves.get(tree, {})
            found.append(leaves.get(address.index))
        return found

    def add(self, want: Want) -> None:
        """Have a want at its address, where there is none."""
        address = want.address
        if isinstance(address, LeafAddress):
            self._leaves.setdefault(address.tree, {})[address.index] = want
        else:
            self._single[address] = want

    def remove(self, want: Want) -> None:
        """Have it there no more."""
        address = want.address
        if isinstance(address, LeafAddress):
            leaves = self._leaves[address.tree]
            del leaves[address.index]
            if not leaves:
                del self._leaves[address.tree]
        else:
            del self._single[address]
