"""Whether the content of a protected dataset is that of the original which its manifest names.

What is handed on of a protected dataset is proved by the tree over all its rows. That its first leaves are
those of another dataset, the original, is what its maker says. All of them show it: they have the original's
root. Of a part nobody can tell but who has the same part of the original, with proofs. (Other nodes of the
network look at the root when they have decoded everything, and hand out the bytes whatever it is.)
"""

from collections.abc import Sequence
from typing import Protocol

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import CorruptData, NotADataset
from codex.store import Leaf

COMPARED = 512  # leaves of two datasets that are looked at at once


class Trees(Protocol):
    """What is needed of the store; see BlockStore for the contracts."""

    async def check_original(self, manifest: Manifest) -> bool: ...
    async def leaves(self, tree: Cid, first: int, count: int) -> Sequence[Leaf]: ...


async def check(store: Trees, manifest: Manifest, first: int, stop: int) -> None:
    """Raise NotADataset when these leaves of the content are known not to be the original's: all of them by
    its root; a part of them where the same leaves are here of both, which takes some 20 µs each.
    """
    if (first, stop) == (0, manifest.original_block_count):
        await store.check_original(manifest)
        return
    for at in range(first, stop, COMPARED):
        count = min(COMPARED, stop - at)
        try:
            named = {
                leaf.index: leaf.cid for leaf in await store.leaves(manifest.original_tree_cid, at, count)
            }
            found = await store.leaves(manifest.tree_cid, at, count) if named else []
        except CorruptData:
            continue  # a proof is damaged, and what it is of, not to be compared
        for leaf in found:
            if named.get(leaf.index, leaf.cid) != leaf.cid:
                raise NotADataset(
                    f"leaf {leaf.index} of the dataset {manifest.tree_cid} is not that of the original"
                    f" {manifest.original_tree_cid} that its manifest names",
                    remedy="ask whoever made the manifest for another one",
                )
