"""The tree over the digests of a dataset's blocks: its root names the dataset, its paths prove single blocks.

The leaves are the digests themselves, 32 bytes each. A layer is made of the one below in pairs:

    node = compress(left, right, key)       key 0; in the bottom layer 1
    odd last node: compress(node, 32 zero bytes, key)    key 2; in the bottom layer 3

until a layer has a single node. The bottom layer is compressed even when it is a single leaf, so no tree's
root is its leaf, and every proof has a path.

The compression is a parameter (`Hashing`): for datasets it is sha2-256 over left, right and the key as one
byte.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from attrs import field, frozen

from codex.codec import protobuf, varint
from codex.codec.cid import (
    DIGEST_SIZE,
    IDENTITY,
    POSEIDON2_KEYED_COMPRESS,
    POSEIDON2_MERKLE_2KB,
    POSEIDON2_SPONGE,
    SHA2_256,
    Cid,
    block_cid,
    root_cid,
)
from codex.errors import DecodeError, InvalidInput

_BOTTOM = 1
_ODD = 2
_ZERO = bytes(DIGEST_SIZE)
_PAIR = 2 * DIGEST_SIZE

# A node is encoded as a message with one field, the bytes of the node.
_NODE_HEAD = bytes((1 << 3 | protobuf.LENGTH, DIGEST_SIZE))
# In a proof this stands before each node of the path: a field of the proof, and in it the message.
_STEP_HEAD = bytes((4 << 3 | protobuf.LENGTH, len(_NODE_HEAD) + DIGEST_SIZE)) + _NODE_HEAD
STEP_HEAD = len(_STEP_HEAD)
"""Bytes that stand before each node of an encoded path."""
STEP = STEP_HEAD + DIGEST_SIZE
"""Bytes of an encoded path for each layer."""
# A proof as every writer writes it: three numbers and the path.
_PROOF = re.compile(
    rb"\x08(%(n)s)\x10(%(n)s)\x18(%(n)s)((?:%(head)s.{%(size)d})++)"
    % {b"n": varint.PATTERN, b"head": re.escape(_STEP_HEAD), b"size": DIGEST_SIZE},
    re.DOTALL,
)

MAX_LEAVES = 2**62
"""A count of leaves that every store and peer can hold in a signed 64-bit number."""

MAX_DEPTH = 62
"""Layers above the leaves of a tree of `MAX_LEAVES`."""

MAX_PROOF = 4096
"""Bytes of the largest encoded proof: 62 nodes of 36 bytes, three numbers, and room for fields that are
unknown.
"""

MAX_TREE = 128 * 1024 * 1024
"""Bytes of the largest encoded tree that is read: the tree of more than 100 GB of data."""

_MAX_PROOF_FIELDS = 2 * (MAX_DEPTH + 3)  # and as many that are unknown
# A node takes 36 bytes; every field but a few is one.
_MAX_TREE_FIELDS = MAX_TREE // 32

_HASHES = frozenset({SHA2_256, IDENTITY, POSEIDON2_SPONGE, POSEIDON2_MERKLE_2KB, POSEIDON2_KEYED_COMPRESS})


def _sha256_pairs(pairs: bytes, key: int) -> bytes:
    sha256, tail = hashlib.sha256, bytes((key,))
    if len(pairs) == _PAIR:  # as for each node of a path
        return sha256(pairs + tail).digest()
    return b"".join([sha256(pairs[i : i + _PAIR] + tail).digest() for i in range(0, len(pairs), _PAIR)])


@frozen(slots=True)
class Hashing:
    """How the nodes of a tree are made.

    `code` is the hash code that stands in encoded proofs. `compress` takes any number of pairs of nodes, one
    after the other (64 bytes a pair), and the key; it returns as many nodes (32 bytes each). It is given
    whole layers, so that an implementation with costly calls makes few of them.
    """

    code: int
    compress: Callable[[bytes, int], bytes]


SHA256_TREE = Hashing(SHA2_256, _sha256_pairs)


def depth_of(leaf_count: int) -> int:
    """Layers above the leaves, which is the length of every path. `leaf_count` is 1 or more."""
    return max(1, (leaf_count - 1).bit_length())


@frozen(slots=True)
class MerkleProof:
    """That the block at `index` belongs to a tree of `leaf_count` leaves: the siblings from the leaf up to
    the root.

    They are kept as they are encoded, `STEP` bytes each (see `steps_of`); `path` has them one by one. A
    sibling that does not exist is 32 zero bytes. `code` tells how the tree was hashed. Any such value can be
    made, also from the network; only `verify` tells whether it holds.
    """

    index: int
    leaf_count: int
    steps: bytes
    code: int = SHA2_256

    @classmethod
    def of(cls, index: int, leaf_count: int, path: Iterable[bytes], code: int = SHA2_256) -> "MerkleProof":
        """The proof with these siblings, of 32 bytes each."""
        return cls(index, leaf_count, steps_of(path), code)

    @property
    def path(self) -> tuple[bytes, ...]:
        """The siblings from the leaf up to the root."""
        steps = self.steps
        return tuple([steps[at : at + DIGEST_SIZE] for at in range(STEP_HEAD, len(steps), STEP)])

    def verify(self, leaf: bytes, root: bytes, hashing: Hashing = SHA256_TREE) -> bool:
        """Whether the path leads from this leaf digest to this root digest, at this place of a tree of this
        size.
        """
        index, count = self.index, self.leaf_count
        if self.code != hashing.code or not 0 <= index < count <= MAX_LEAVES:
            return False
        if len(self.steps) != STEP * depth_of(count) or len(leaf) != DIGEST_SIZE:
            return False
        node, bottom = leaf, _BOTTOM
        for sibling in self.path:
            if index & 1:
                node = hashing.compress(sibling + node, bottom)
            elif index == count - 1:
                # There is no sibling here. Anything but zeros in its place leads to another root.
                node = hashing.compress(node + sibling, bottom | _ODD)
            else:
                node = hashing.compress(node + sibling, bottom)
            index, count, bottom = index >> 1, (count + 1) >> 1, 0
        return node == root

    def to_bytes(self) -> bytes:
        """Encode as it stands in block deliveries; leaf metadata has the same in hexadecimal."""
        before, behind = _around_index(self.code, self.leaf_count)
        return before + varint.encode(self.index) + behind + self.steps

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "MerkleProof":
        """Decode a proof, true or not. Raises DecodeError: over `MAX_PROOF` bytes, unknown hash, no node, or
        a node that has not 32 bytes.
        """
        usual = _PROOF.fullmatch(data) if len(data) <= MAX_PROOF else None
        if usual is None:
            return cls._from_fields(data)
        code, index, leaf_count, steps = usual.groups()
        known, count = _of_tree(code, leaf_count)
        return cls(varint.decode(index)[0], count, steps, known)

    @classmethod
    def _from_fields(cls, data: bytes | memoryview) -> "MerkleProof":
        """Decode a proof, in whatever order its fields are, and whatever stands between them."""
        numbers = dict.fromkeys((1, 2, 3), 0)
        path: list[bytes] = []
        for number, wire, value in protobuf.fields(data, limit=MAX_PROOF, max_fields=_MAX_PROOF_FIELDS):
            if wire == protobuf.VARINT and number in numbers:
                numbers[number] = int(value)
            elif number == 4 and isinstance(value, bytes):
                path.append(_node(value))
        code, index, leaf_count = numbers.values()
        _known(code)
        if not path:
            raise DecodeError("the proof has no nodes")
        return cls.of(index, leaf_count, path, code)


@frozen(slots=True)
class MerkleTree:
    """A whole tree. `layers` has the leaves first and the root last, each layer as one string of 32-byte
    nodes.

    Takes 64 bytes a leaf. Make it with `of`, with a `TreeBuilder` or with `from_bytes`; the constructor
    trusts.
    """

    layers: tuple[bytes, ...] = field(repr=False)
    hashing: Hashing = SHA256_TREE

    @classmethod
    def of(cls, digests: Iterable[bytes], hashing: Hashing = SHA256_TREE) -> "MerkleTree":
        """Build the tree over these leaves, of 32 bytes each. About 1 µs a leaf: a large tree is built off
        the loop.

        Raises InvalidInput without leaves, and for a digest of another length.
        """
        builder = TreeBuilder(hashing)
        builder.add(digests)
        return builder.finish()

    @property
    def root(self) -> bytes:
        """The digest of the root."""
        return self.layers[-1]

    @property
    def root_cid(self) -> Cid:
        """The name of the dataset that this tree is over."""
        return root_cid(self.root)

    @property
    def leaf_count(self) -> int:
        """How many leaves the tree has."""
        return len(self.layers[0]) // DIGEST_SIZE

    @property
    def depth(self) -> int:
        """Layers above the leaves."""
        return len(self.layers) - 1

    def leaf(self, index: int) -> bytes:
        """The digest of one leaf. Raises InvalidInput when there is none at `index`."""
        self._check(index)
        return self.layers[0][index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE]

    def leaf_cid(self, index: int) -> Cid:
        """The name of the block at `index`. Raises InvalidInput when there is none."""
        return block_cid(self.leaf(index))

    def proof(self, index: int) -> MerkleProof:
        """The proof for the leaf at `index`. Raises InvalidInput when there is none."""
        self._check(index)
        path: list[bytes] = []
        at = index
        for layer in self.layers[:-1]:
            sibling = (at ^ 1) * DIGEST_SIZE
            path.append(layer[sibling : sibling + DIGEST_SIZE] or _ZERO)
            at >>= 1
        return MerkleProof.of(index, self.leaf_count, path, self.hashing.code)

    def to_bytes(self) -> bytes:
        """Encode every node, leaves first. About 72 bytes a leaf."""
        out = protobuf.Writer().varint(1, self.hashing.code).varint(2, self.leaf_count)
        for layer in self.layers:
            for at in range(0, len(layer), DIGEST_SIZE):
                out.bytes(3, _NODE_HEAD + layer[at : at + DIGEST_SIZE])
        return out.finish()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, hashing: Hashing = SHA256_TREE) -> "MerkleTree":
        """Decode a tree and build it again from its leaves.

        Raises DecodeError: over `MAX_TREE` bytes, another hash, or nodes that do not follow from the leaves.
        """
        code = leaf_count = 0
        nodes = bytearray()
        for number, wire, value in protobuf.fields(data, limit=MAX_TREE, max_fields=_MAX_TREE_FIELDS):
            if number == 1 and wire == protobuf.VARINT:
                code = int(value)
            elif number == 2 and wire == protobuf.VARINT:
                leaf_count = int(value)
            elif number == 3 and isinstance(value, bytes):
                nodes += _node(value)
        if code != hashing.code:
            raise DecodeError(f"the tree is made with hash {code:#x}")
        count = len(nodes) // DIGEST_SIZE
        if not 0 < leaf_count <= count:
            raise DecodeError(f"a tree of {count} nodes cannot have {leaf_count} leaves")
        builder = TreeBuilder(hashing)
        builder.add_joined(bytes(nodes[: leaf_count * DIGEST_SIZE]))
        tree = builder.finish()
        if b"".join(tree.layers) != nodes:
            raise DecodeError("the nodes of the tree do not follow from its leaves")
        return tree

    def _check(self, index: int) -> None:
        if not 0 <= index < self.leaf_count:
            raise InvalidInput(f"the dataset has {self.leaf_count} blocks and none at {index}")


class TreeBuilder:
    """Builds a tree while its leaves come in, so that little is left to do at the end.

    Every full pair is compressed as soon as it is there; `finish` makes one node a layer at most. Takes 64
    bytes a leaf. Not to be used from two tasks at once, nor after `finish`.
    """

    def __init__(self, hashing: Hashing = SHA256_TREE) -> None:
        self._hashing = hashing
        self._layers = [bytearray()]

    @property
    def leaf_count(self) -> int:
        """How many leaves came in."""
        return len(self._layers[0]) // DIGEST_SIZE

    def add(self, digests: Iterable[bytes]) -> None:
        """Append leaves. Raises InvalidInput, and adds none, when one has not 32 bytes."""
        some = list(digests)
        if any(len(digest) != DIGEST_SIZE for digest in some):
            raise InvalidInput(f"a leaf of a dataset's tree has {DIGEST_SIZE} bytes")
        self.add_joined(b"".join(some))

    def add_joined(self, digests: bytes) -> None:
        """Append leaves that stand one after the other, 32 bytes each."""
        if len(digests) % DIGEST_SIZE:
            raise InvalidInput(f"a leaf of a dataset's tree has {DIGEST_SIZE} bytes")
        self._layers[0] += digests
        level = 0
        while self._compress_pairs(level):
            level += 1

    def finish(self) -> MerkleTree:
        """Complete the tree. Raises InvalidInput when no leaf came in."""
        layers = self._layers
        if not layers[0]:
            raise InvalidInput("a dataset without any block has no tree", remedy="Store at least one byte.")
        level, key = 0, _BOTTOM
        while level == 0 or len(layers[level]) > DIGEST_SIZE:
            # The odd node of the layer below may have completed a pair here.
            self._compress_pairs(level)
            if len(layers[level]) % _PAIR:
                last = bytes(layers[level][-DIGEST_SIZE:])
                self._above(level).extend(self._hashing.compress(last + _ZERO, key | _ODD))
            level, key = level + 1, 0
        # Layer by layer, so that the tree is never in memory twice.
        done: list[bytes] = []
        while layers:
            done.append(bytes(layers.pop()))
        return MerkleTree(tuple(reversed(done)), self._hashing)

    def _compress_pairs(self, level: int) -> bool:
        """Compress the pairs of a layer that are not yet in the one above; whether there were any."""
        layer = self._layers[level]
        full = len(layer) // _PAIR * _PAIR
        if not full:
            return False
        above = self._above(level)
        done = 2 * len(above)
        if done == full:
            return False
        above += self._hashing.compress(bytes(layer[done:full]), 0 if level else _BOTTOM)
        return True

    def _above(self, level: int) -> bytearray:
        if level + 1 == len(self._layers):
            self._layers.append(bytearray())
        return self._layers[level + 1]


def is_usual_proof(data: bytes) -> bool:
    """Whether this is a proof, true or not, as `MerkleProof.to_bytes` writes it. About 1 µs."""
    usual = _PROOF.fullmatch(data) if len(data) <= MAX_PROOF else None
    return usual is not None and varint.decode(usual[1])[0] in _HASHES


def steps_of(path: Iterable[bytes]) -> bytes:
    """Siblings from a leaf up to the root, of 32 bytes each, as they stand in an encoded proof."""
    return b"".join([_STEP_HEAD + node for node in path])


# All proofs of a tree have these in common, and some twenty are read and written for every megabyte that goes
# between nodes.
@lru_cache(maxsize=64)
def _of_tree(code: bytes, leaf_count: bytes) -> tuple[int, int]:
    """The hash and the number of leaves. Raises DecodeError."""
    return _known(varint.decode(code)[0]), varint.decode(leaf_count)[0]


@lru_cache(maxsize=64)
def _around_index(code: int, leaf_count: int) -> tuple[bytes, bytes]:
    """What stands in a proof before the index, and what behind it."""
    return b"\x08" + varint.encode(code) + b"\x10", b"\x18" + varint.encode(leaf_count)


def _known(code: int) -> int:
    """The code of a proof's hash itself. Raises DecodeError for one that is none."""
    if code not in _HASHES:
        raise DecodeError(f"the hash {code:#x} of the proof is unknown")
    return code


def _node(message: bytes) -> bytes:
    """Read the message around one node. Raises DecodeError unless the node has 32 bytes."""
    # What every writer writes; anything else is read the long way.
    if len(message) == len(_NODE_HEAD) + DIGEST_SIZE and message.startswith(_NODE_HEAD):
        return message[len(_NODE_HEAD) :]
    node = protobuf.Message(message, max_fields=8).bytes(1)
    if node is None or len(node) != DIGEST_SIZE:
        raise DecodeError(f"a node of a dataset's tree has {DIGEST_SIZE} bytes")
    return node
