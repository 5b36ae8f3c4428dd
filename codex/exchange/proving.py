"""Whether blocks belong to a dataset: Merkle proofs checked against its root, most of each without hashing.

Checking a path alone takes a hash a layer. Whoever checks many neighbouring leaves of one tree meets the
same upper nodes again and again: two paths meet in the node that is above both leaves, and from there up they
are one. So a proof is hashed up to where it meets a near one that has held, and compared from there; in a run
of leaves that takes about one hash a leaf, whatever the size of the tree.
"""

from typing import TypeAlias

from codex.codec import Cid
from codex.codec.cid import DIGEST_SIZE
from codex.data import MerkleProof
from codex.data.merkle import SHA256_TREE, STEP, STEP_HEAD, Hashing, depth_of

NEAR = 4
"""Of 2**4 leaves that lie together, the one whose proof held last is kept."""
KEPT = 128
"""Such proofs that are kept: those of more neighbouring leaves than are under way at once. They take some
200 KiB."""

Held: TypeAlias = tuple[int, bytes, list[bytes]]
"""A proof that has held: the place of its leaf, its siblings, and the nodes beside them, the leaf first."""

_ZERO = bytes(DIGEST_SIZE)
_BOTTOM = 1
_ODD = 2


class ProvenTree:
    """The tree of a dataset with `leaf_count` leaves, of which only the root is known at first.

    `proves` may be called from several threads at once: it only ever keeps what has held, and forgetting
    some costs hashing and nothing else.
    """

    def __init__(self, tree: Cid, leaf_count: int, hashing: Hashing = SHA256_TREE) -> None:
        self._leaf_count = leaf_count
        self._root = tree.digest
        self._depth = depth_of(leaf_count)
        self._hashing = hashing
        self._held: dict[int, Held] = {}
        self._last: Held | None = None

    def proves(self, index: int, leaf: bytes, proof: MerkleProof) -> bool:
        """Whether `proof` shows that the leaf with this digest is the one at `index`: every node of it."""
        if proof.index != index or proof.leaf_count != self._leaf_count or proof.code != self._hashing.code:
            return False
        steps = proof.steps
        if not 0 <= index < self._leaf_count or len(steps) != STEP * self._depth or len(leaf) != DIGEST_SIZE:
            return False
        held = self._held.get(index >> NEAR) or self._last
        if held is None:
            nodes = self._climb(index, leaf, steps, self._depth)
            if nodes is None or nodes.pop() != self._root:
                return False
        else:
            place, up, beside = held
            # The layer in which both leaves are below the same node; there is only one way up from it.
            meet = (index ^ place).bit_length()
            if meet == 0:
                return leaf == beside[0] and steps == up
            # Each of the two nodes below that one is the sibling of the other.
            start, stop = STEP * meet - DIGEST_SIZE, STEP * meet
            if steps[start:stop] != beside[meet - 1] or not steps.endswith(up[stop:]):
                return False
            nodes = self._climb(index, leaf, steps, meet - 1) if meet > 1 else [leaf]
            if nodes is None or nodes[-1] != up[start:stop]:
                return False
            nodes += beside[meet:]
        if len(self._held) >= KEPT:
            self._held.clear()
        self._last = self._held[index >> NEAR] = (index, steps, nodes)
        return True

    def _climb(self, index: int, leaf: bytes, steps: bytes, layers: int) -> list[bytes] | None:
        """The nodes from a leaf up, as many layers as told; None when a sibling is there that cannot be."""
        nodes, node, at, width, key = [leaf], leaf, index, self._leaf_count, _BOTTOM
        compress = self._hashing.compress
        for start in range(STEP_HEAD, STEP * layers, STEP):
            sibling = steps[start : start + DIGEST_SIZE]
            if at & 1:
                node = compress(sibling + node, key)
            elif at < width - 1:
                node = compress(node + sibling, key)
            elif sibling == _ZERO:
                node = compress(node + sibling, key | _ODD)
            else:
                return None
            nodes.append(node)
            at, width, key = at >> 1, (width + 1) >> 1, 0
        return nodes
