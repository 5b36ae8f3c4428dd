"""Consecutive leaves of a tree proved together, by their digests and by proofs of leaves beside them.

Blocks that were computed instead of received come without proofs. But whoever knows the digests of all leaves
from one to another, and how the leaf before them and the leaf behind them are proved, knows every node that
is needed to compute the root: what lies beside the run stands in those proofs. If the root is right, so is
every leaf, and the proof of each follows.
"""

from collections.abc import Iterable

from attrs import field, frozen

from codex.codec.cid import DIGEST_SIZE
from codex.data.merkle import SHA256_TREE, Hashing, MerkleProof, depth_of
from codex.errors import InvalidInput

Witness = tuple[int, bytes, MerkleProof]
"""A leaf that is known to be in the tree: its index, its digest, and its proof."""

_BOTTOM, _ODD = 1, 2
_ZERO = bytes(DIGEST_SIZE)
_PAIR = 2 * DIGEST_SIZE


@frozen(slots=True)
class ProvenRun:
    """The leaves of a run, each with its proof when asked for. Takes 64 bytes a leaf. Made by `prove_run`."""

    leaf_count: int
    code: int
    layers: tuple[tuple[int, bytes], ...] = field(repr=False)
    """Of each layer below the root, the leaves first: the place of the first node, and nodes from there."""

    def leaf(self, index: int) -> bytes:
        """The digest of a leaf of the run, or of one beside it that its proofs need."""
        return self._node(0, index)

    def proof(self, index: int) -> MerkleProof:
        """The proof of a leaf of the run. Raises InvalidInput for another."""
        path, at, width = [], index, self.leaf_count
        for layer in range(len(self.layers)):
            path.append(self._node(layer, at ^ 1) if at ^ 1 < width else _ZERO)
            at, width = at >> 1, (width + 1) >> 1
        return MerkleProof.of(index, self.leaf_count, path, self.code)

    def _node(self, layer: int, at: int) -> bytes:
        first, nodes = self.layers[layer]
        start = (at - first) * DIGEST_SIZE
        if start < 0 or start >= len(nodes):
            raise InvalidInput(f"node {at} of layer {layer} is beside the run")
        return nodes[start : start + DIGEST_SIZE]


def prove_run(
    root: bytes,
    leaf_count: int,
    first: int,
    digests: bytes,
    witnesses: Iterable[Witness],
    hashing: Hashing = SHA256_TREE,
) -> ProvenRun | None:
    """Prove the leaves from `first` on, whose `digests` stand one after the other; None when they are not
    those of the tree with this root.

    Enough witnesses are the leaf before the run and the one behind it, where there are such, or the first
    and the last of the run itself. Those that lead to another root are of no harm and no use. Takes about
    1 µs a leaf.

    Raises InvalidInput when the witnesses are not enough, or the run is none of a tree of `leaf_count`.
    """
    count, rest = divmod(len(digests), DIGEST_SIZE)
    if rest or not 0 <= first < first + count <= leaf_count:
        raise InvalidInput(f"{len(digests)} bytes are not the digests of leaves from {first} to {leaf_count}")
    beside = _nodes(leaf_count, witnesses, hashing, root)
    layers: list[tuple[int, bytes]] = []
    nodes, at, width, key = digests, first, leaf_count, _BOTTOM
    for layer in range(depth_of(leaf_count)):
        if at & 1:
            at -= 1
            nodes = _beside(beside, layer, at) + nodes
        end = at + len(nodes) // DIGEST_SIZE
        if end & 1 and end < width:
            nodes += _beside(beside, layer, end)
        layers.append((at, nodes))
        full = len(nodes) // _PAIR * _PAIR
        above = hashing.compress(nodes[:full], key)
        if full < len(nodes):
            above += hashing.compress(nodes[full:] + _ZERO, key | _ODD)
        nodes, at, width, key = above, at >> 1, (width + 1) >> 1, 0
    return ProvenRun(leaf_count, hashing.code, tuple(layers)) if nodes == root else None


def _nodes(
    leaf_count: int, witnesses: Iterable[Witness], hashing: Hashing, root: bytes
) -> dict[tuple[int, int], bytes]:
    """Every node that the witnesses tell, by layer and place."""
    told: dict[tuple[int, int], bytes] = {}
    for index, digest, proof in witnesses:
        if (proof.index, proof.leaf_count) != (index, leaf_count) or not proof.verify(digest, root, hashing):
            continue
        node, at, width, key = digest, index, leaf_count, _BOTTOM
        for layer, sibling in enumerate(proof.path):
            told[layer, at], told[layer, at ^ 1] = node, sibling
            alone = not at & 1 and at == width - 1
            pair = sibling + node if at & 1 else node + sibling
            node = hashing.compress(pair, key | _ODD if alone else key)
            at, width, key = at >> 1, (width + 1) >> 1, 0
    return told


def _beside(told: dict[tuple[int, int], bytes], layer: int, at: int) -> bytes:
    node = told.get((layer, at))
    if node is None:
        raise InvalidInput(f"no witness tells what stands at {at} of layer {layer}, beside the run")
    return node
