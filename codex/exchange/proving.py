"""Whether blocks belong to a dataset: Merkle proofs checked against its root, each inner node hashed once.

Checking a path alone takes a hash a layer. Whoever checks many neighbouring leaves of one tree meets the
same upper nodes again and again; what has led to the root once is known, and only compared from then on. So
a run of leaves takes about two hashes a leaf, whatever the size of the tree.
"""

from typing import TypeAlias

from codex.codec import Cid
from codex.codec.cid import DIGEST_SIZE
from codex.data import MerkleProof
from codex.data.merkle import SHA256_TREE, Hashing, depth_of

KEPT = 2048
"""Known nodes that are kept of each layer: those of as many neighbouring leaves, which is more than are under
way at once. With the proofs that they came in they take about 2 MiB in the lowest layer, and half as much in
each one above."""

Path: TypeAlias = tuple[bytes, ...]

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
        # By layer, the leaves first: nodes that have led to the root, by their place in the layer, each with
        # the siblings from there up.
        self._known: list[dict[int, tuple[bytes, Path]]] = [{} for _ in range(self._depth)]

    def proves(self, index: int, leaf: bytes, proof: MerkleProof) -> bool:
        """Whether `proof` shows that the leaf with this digest is the one at `index`: every node of it."""
        if proof.index != index or proof.leaf_count != self._leaf_count or proof.code != self._hashing.code:
            return False
        if not 0 <= index < self._leaf_count or len(proof.path) != self._depth:
            return False
        node, at, width, key = leaf, index, self._leaf_count, _BOTTOM
        fresh: list[tuple[int, int, bytes]] = []
        for layer, sibling in enumerate(proof.path):
            known = self._known[layer].get(at)
            if known is not None and known[0] == node:
                # There is only one way up from here.
                if known[1] != proof.path[layer:]:
                    return False
                break
            alone = at == width - 1 and not at & 1
            if len(sibling) != DIGEST_SIZE or (alone and sibling != _ZERO):
                return False
            fresh.append((layer, at, node))
            pair = sibling + node if at & 1 else node + sibling
            node = self._hashing.compress(pair, key | _ODD if alone else key)
            at, width, key = at >> 1, (width + 1) >> 1, 0
        else:
            if node != self._root:
                return False
        for layer, place, true in fresh:
            self._learn(layer, place, true, proof.path[layer:])
        return True

    def _learn(self, layer: int, place: int, node: bytes, up: Path) -> None:
        """Keep a node that has led to the root, and the one beside it, for which its neighbours come next."""
        known = self._known[layer]
        if len(known) >= KEPT:
            known.clear()
        known[place] = (node, up)
        if up[0] != _ZERO:
            known[place ^ 1] = (up[0], (node, *up[1:]))
