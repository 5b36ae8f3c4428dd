"""Proofs of many neighbouring leaves at once, from the nodes of their tree."""

from collections.abc import Callable

from codex.codec import varint
from codex.codec.cid import DIGEST_SIZE, SHA2_256
from codex.data.merkle import depth_of, steps_of

_BEFORE = steps_of([b""])  # what stands before each node of an encoded path


def encoded_proofs(
    leaves: range, leaf_count: int, nodes: Callable[[int, int, int], bytes], code: int = SHA2_256
) -> list[bytes]:
    """What `MerkleProof.to_bytes` gives for each of some consecutive leaves, at about two nodes a leaf: the
    paths of neighbours differ in their beginnings only.

    `nodes(layer, first, end)` gives those nodes of a layer, which are whole pairs, one after the other, with
    32 zero bytes for one that does not exist. The leaves are layer 0; the root is not asked for.
    """
    if not leaves:
        return []
    first, last = leaves[0], leaves[-1]
    paths = [b""]
    for layer in reversed(range(depth_of(leaf_count))):
        left, right, above = first >> layer, last >> layer, first >> layer + 1
        start = left & ~1
        pairs = nodes(layer, start, (right | 1) + 1)
        siblings = [((at ^ 1) - start) * DIGEST_SIZE for at in range(left, right + 1)]
        paths = [
            _BEFORE + pairs[place : place + DIGEST_SIZE] + paths[(at >> 1) - above]
            for at, place in enumerate(siblings, left)
        ]
    head = b"\x08" + varint.encode(code) + b"\x10"
    tail = b"\x18" + varint.encode(leaf_count)
    return [head + varint.encode(index) + tail + path for index, path in zip(leaves, paths, strict=True)]
