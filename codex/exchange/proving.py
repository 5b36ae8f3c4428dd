"""Whether blocks belong to a dataset: Merkle proofs checked against its root, each inner node hashed once.

Checking a path alone takes a hash a layer. Whoever checks many neighbouring leaves of one tree meets the
same upper nodes again and again; what has led to the root once is known, and only compared from then on. So
a run of leaves takes about two hashes a leaf, whatever the size of the tree.
"""

from codex.codec import Cid
from codex.codec.cid import DIGEST_SIZE
from codex.data import MerkleProof
from codex.data.merkle import SHA256_TREE, Hashing, depth_of

KEPT = 8192
"""Known nodes that are kept of each layer: those of as many neighbouring leaves, in about a MiB a layer that
fills up. Only the lowest layers of a large tree do."""

_ZERO = bytes(DIGEST_SIZE)
_BOTTOM = 1
_ODD = 2


class ProvenTree:
    """The tree of a dataset with `leaf_count` leaves, of which only the root is known at first.

    `proves` may be called from several threads at once: it only ever adds nodes that are true, and forgetting
    some costs hashing and nothing else.
    """

    def __init__(self, tree: Cid, leaf_count: int, hashing: Hashing = SHA256_TREE) -> None:
        self._leaf_count = leaf_count
        self._root = tree.digest
        self._depth = depth_of(leaf_count)
        self._hashing = hashing
        # By layer, the leaves first: nodes that have led to the root, by their place in the layer.
        self._known: list[dict[int, bytes]] = [{} for _ in range(self._depth)]

    def proves(self, index: int, leaf: bytes, proof: MerkleProof) -> bool:
        """Whether `proof` shows that the leaf with this digest is the one at `index`: every node of it."""
        if proof.index != index or proof.leaf_count != self._leaf_count or proof.code != self._hashing.code:
            return False
        if not 0 <= index < self._leaf_count or len(proof.path) != self._depth:
            return False
        # What is known may have been forgotten in part; then the path is hashed all the way.
        return self._leads_up(index, leaf, proof.path, True) or self._leads_up(index, leaf, proof.path, False)

    def _leads_up(self, index: int, leaf: bytes, path: tuple[bytes, ...], trusting: bool) -> bool:
        """Whether the path leads to the root, or, when `trusting`, to a known node and on as is known."""
        node, at, width, key = leaf, index, self._leaf_count, _BOTTOM
        met = False
        fresh: list[tuple[int, int, bytes]] = []
        for layer, sibling in enumerate(path):
            known = self._known[layer]
            alone = at == width - 1 and not at & 1
            met = met or (trusting and known.get(at) == node)
            if met:
                if (_ZERO if alone else known.get(at ^ 1)) != sibling:
                    return False
            else:
                if len(sibling) != DIGEST_SIZE or (alone and sibling != _ZERO):
                    return False
                fresh.append((layer, at, node))
                if not alone:
                    fresh.append((layer, at ^ 1, sibling))
                pair = sibling + node if at & 1 else node + sibling
                node = self._hashing.compress(pair, key | _ODD if alone else key)
            at, width, key = at >> 1, (width + 1) >> 1, 0
        if not met and node != self._root:
            return False
        for layer, place, true in fresh:
            known = self._known[layer]
            if len(known) >= KEPT:
                known.clear()
            known[place] = true
        return True
