"""Trees and proofs: known ones, and any tree against the rule written down in the plainest way."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import protobuf
from codex.codec.cid import IDENTITY, SHA2_256, Cid, block_cid
from codex.data import SHA256_TREE, Hashing, MerkleProof, MerkleTree, TreeBuilder
from codex.data.merkle import (
    MAX_LEAVES,
    MAX_PROOF,
    MAX_TREE,
    depth_of,
    is_usual_proof,
    steps_of,
)
from codex.errors import DecodeError, InvalidInput

Vectors = Callable[[str], Any]


def _leaves(count: int) -> list[bytes]:
    return [str(i + 1).zfill(32).encode() for i in range(count)]


def _some_leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(i.to_bytes(4)).digest() for i in range(count)]


def _blake_pairs(pairs: bytes, key: int) -> bytes:
    parts = [pairs[i : i + 64] for i in range(0, len(pairs), 64)]
    assert all(len(part) == 64 for part in parts)
    return b"".join([hashlib.blake2s(part, key=bytes((key,))).digest() for part in parts])


_BLAKE_TREE = Hashing(IDENTITY, _blake_pairs)


def _plain_root(leaves: Sequence[bytes], hashing: Hashing) -> bytes:
    """The root by the rule, a layer at a time."""
    layer, bottom = list(leaves), 1
    while bottom or len(layer) > 1:
        above = []
        for i in range(0, len(layer), 2):
            if i + 1 < len(layer):
                above.append(hashing.compress(layer[i] + layer[i + 1], bottom))
            else:
                above.append(hashing.compress(layer[i] + bytes(32), 2 + bottom))
        layer, bottom = above, 0
    return layer[0]


def test_known_compressions(vectors: Vectors) -> None:
    rows = vectors("merkle")["compress"]
    assert {row["key"] for row in rows} == {0, 1, 2, 3}
    for row in rows:
        pair = bytes.fromhex(row["x_hex"]) + bytes.fromhex(row["y_hex"])
        assert SHA256_TREE.compress(pair, row["key"]).hex() == row["out_hex"]
        assert SHA256_TREE.compress(pair * 3, row["key"]).hex() == row["out_hex"] * 3


def test_known_roots(vectors: Vectors) -> None:
    rows = vectors("merkle")["roots"]
    assert len(rows) > 20
    for row in rows:
        tree = MerkleTree.of(_leaves(row["n"]))
        assert tree.root.hex() == row["root_hex"]
        assert str(tree.root_cid) == row["root_cid"]
        assert [len(layer) // 32 for layer in tree.layers] == row["layer_sizes"]
        assert (tree.leaf_count, tree.depth) == (row["n"], row["depth"])
        assert depth_of(row["n"]) == row["depth"]
        if "layers_hex" in row:
            assert [layer.hex() for layer in tree.layers] == ["".join(nodes) for nodes in row["layers_hex"]]


def test_trees_of_the_reference(vectors: Vectors) -> None:
    rows = vectors("merkle")["nim_trees"]["trees"]
    assert len(rows) > 10
    for row in rows:
        tree = MerkleTree.of([hashlib.sha256(bytes((i,))).digest() for i in range(row["n"])])
        assert tree.root.hex() == row["root_hex"]
        assert str(tree.root_cid) == row["root_cid"]
        assert len(tree.layers) == row["levels"]


def test_the_tree_of_one_short_file(vectors: Vectors) -> None:
    (row,) = vectors("merkle")["pinned"]
    tree = MerkleTree.of([bytes.fromhex(row["leaf_hex"])])
    assert str(tree.root_cid) == row["root_cid"]
    assert tree.leaf_cid(0) == block_cid(bytes.fromhex(row["leaf_hex"]))


def test_known_proofs(vectors: Vectors) -> None:
    rows = vectors("merkle")["proofs"]
    assert len(rows) >= 20
    for row in rows:
        proof = MerkleTree.of(_leaves(row["n"])).proof(row["index"])
        assert [node.hex() for node in proof.path] == row["path_hex"]
        assert proof.to_bytes().hex() == row["proof_protobuf_hex"]
        assert MerkleProof.from_bytes(proof.to_bytes()) == proof
        assert proof.verify(bytes.fromhex(row["leaf_hex"]), bytes.fromhex(row["root_hex"]))


def test_proofs_that_do_not_hold(vectors: Vectors) -> None:
    rows = vectors("merkle")["proofs_to_reject"]
    assert len(rows) >= 6
    for row in rows:
        path = tuple(bytes.fromhex(node) for node in row["path_hex"])
        proof = MerkleProof.of(row["index"], row["n"], path)
        assert not proof.verify(bytes.fromhex(row["leaf_hex"]), bytes.fromhex(row["root_hex"])), row["why"]


def test_proofs_over_field_elements_have_the_same_encoding(vectors: Vectors) -> None:
    rows = vectors("merkle")["poseidon2_proofs"]
    assert rows
    for row in rows:
        data = bytes.fromhex(row["codex_proof_protobuf_hex"])
        proof = MerkleProof.from_bytes(data)
        assert (proof.index, proof.leaf_count, proof.code) == (row["index"], row["n"], IDENTITY)
        assert [str(int.from_bytes(node, "little")) for node in proof.path] == row["path"]
        assert proof.to_bytes() == data


def test_known_encoding_of_a_tree(vectors: Vectors) -> None:
    rows = vectors("merkle")["tree_encoding"]
    assert rows
    for row in rows:
        tree = MerkleTree.of(_leaves(row["n"]))
        assert tree.to_bytes().hex() == row["tree_protobuf_hex"]
        assert MerkleTree.from_bytes(tree.to_bytes()) == tree


def test_trees_of_encoded_datasets(vectors: Vectors) -> None:
    rows = vectors("slots")["datasets"]
    assert rows
    for row in rows:
        digests = [Cid.parse(text).digest for text in row["block_cids"]]
        assert str(MerkleTree.of(digests).root_cid) == row["protected_tree_cid"]
        assert str(MerkleTree.of(digests[: row["original_blocks"]]).root_cid) == row["original_tree_cid"]


@settings(deadline=None)
@given(st.integers(1, 200), st.sampled_from([SHA256_TREE, _BLAKE_TREE]))
def test_a_tree_follows_the_rule(count: int, hashing: Hashing) -> None:
    leaves = _some_leaves(count)
    tree = MerkleTree.of(leaves, hashing)
    assert tree.root == _plain_root(leaves, hashing)
    assert [tree.leaf(i) for i in range(count)] == leaves
    assert tree.depth == depth_of(count) == len(tree.layers) - 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12).filter(any))
def test_it_does_not_matter_how_the_leaves_come_in(counts: list[int]) -> None:
    leaves = _some_leaves(sum(counts))
    builder = TreeBuilder()
    at = 0
    for count in counts:
        builder.add(leaves[at : at + count])
        at += count
        assert builder.leaf_count == at
    assert builder.finish() == MerkleTree.of(leaves)


def test_finishing_a_large_tree_is_a_node_a_layer() -> None:
    pairs = 0

    def counting(data: bytes, key: int) -> bytes:
        nonlocal pairs
        pairs += len(data) // 64
        return SHA256_TREE.compress(data, key)

    builder = TreeBuilder(Hashing(SHA2_256, counting))
    for _ in range(5):
        builder.add(_some_leaves(1001))
    before = pairs
    tree = builder.finish()
    assert pairs - before <= tree.depth
    assert pairs == sum(len(layer) // 32 for layer in tree.layers[1:])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 70), st.data())
def test_every_proof_holds_and_only_for_its_leaf(count: int, data: st.DataObject) -> None:
    leaves = _some_leaves(count)
    tree = MerkleTree.of(leaves)
    for index, leaf in enumerate(leaves):
        assert tree.proof(index).verify(leaf, tree.root)
    index = data.draw(st.integers(0, count - 1))
    proof, leaf = tree.proof(index), leaves[index]
    known = (leaf, tree.root, *proof.path)
    other = data.draw(st.binary(min_size=32, max_size=32).filter(lambda node: node not in known))
    assert not proof.verify(other, tree.root)
    assert not proof.verify(leaf, other)
    level = data.draw(st.integers(0, len(proof.path) - 1))
    changed = (*proof.path[:level], other, *proof.path[level + 1 :])
    assert not evolve(proof, steps=steps_of(changed)).verify(leaf, tree.root)
    elsewhere = data.draw(st.integers(0, count - 1).filter(lambda i: i != index)) if count > 1 else 1
    assert not evolve(proof, index=elsewhere).verify(leaf, tree.root)


def test_a_proof_must_fit_together() -> None:
    leaves = _some_leaves(5)
    tree = MerkleTree.of(leaves)
    proof, leaf, root = tree.proof(4), leaves[4], tree.root
    assert proof.verify(leaf, root)
    for index, leaf_count in ((-1, 5), (5, 5), (4, 4), (4, 0), (4, -5), (4, 9), (4, MAX_LEAVES + 1)):
        assert not evolve(proof, index=index, leaf_count=leaf_count).verify(leaf, root)
    assert not evolve(proof, steps=steps_of(())).verify(leaf, root)
    assert not evolve(proof, steps=steps_of(proof.path[:-1])).verify(leaf, root)
    assert not evolve(proof, steps=steps_of((*proof.path, bytes(32)))).verify(leaf, root)
    assert not evolve(proof, steps=steps_of((b"", *proof.path[1:]))).verify(leaf, root)
    assert not evolve(proof, code=IDENTITY).verify(leaf, root)
    assert not proof.verify(leaf + b"\0", root)
    # A node between leaf and root is no leaf.
    above = tree.layers[1][-32:]
    assert not MerkleProof.of(2, 3, proof.path[1:]).verify(above, root)


def test_a_tree_hashed_in_another_way_needs_that_way() -> None:
    leaves = _some_leaves(6)
    tree = MerkleTree.of(leaves, _BLAKE_TREE)
    proof = tree.proof(3)
    assert proof.code == IDENTITY
    assert proof.verify(leaves[3], tree.root, _BLAKE_TREE)
    assert not proof.verify(leaves[3], tree.root)
    assert MerkleTree.from_bytes(tree.to_bytes(), _BLAKE_TREE) == tree
    with pytest.raises(DecodeError, match="made with hash 0x0"):
        MerkleTree.from_bytes(tree.to_bytes())


def test_without_leaves_there_is_no_tree() -> None:
    with pytest.raises(InvalidInput, match="without any block"):
        MerkleTree.of([])
    builder = TreeBuilder()
    builder.add([])
    with pytest.raises(InvalidInput, match="without any block"):
        builder.finish()


def test_leaves_have_32_bytes() -> None:
    builder = TreeBuilder()
    for digests in ([b""], [bytes(31), bytes(33)], [bytes(32), bytes(64)]):
        with pytest.raises(InvalidInput, match="32 bytes"):
            builder.add(digests)
    with pytest.raises(InvalidInput, match="32 bytes"):
        builder.add_joined(bytes(33))
    assert builder.leaf_count == 0


@pytest.mark.parametrize("index", [-1, 3, 2**64])
def test_there_is_no_proof_outside_the_tree(index: int) -> None:
    tree = MerkleTree.of(_some_leaves(3))
    for ask in (tree.proof, tree.leaf, tree.leaf_cid):
        with pytest.raises(InvalidInput, match="3 blocks"):
            ask(index)


_NODE = protobuf.Writer().bytes(1, bytes(32))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (protobuf.Writer().varint(1, 0x12).varint(2, 0).varint(3, 1).finish(), "no nodes"),
        (protobuf.Writer().varint(1, 0x99).message(4, _NODE).finish(), "hash 0x99"),
        (protobuf.Writer().varint(1, 0x12).bytes(4, b"").finish(), "32 bytes"),
        (protobuf.Writer().varint(1, 0x12).bytes(4, b"\x0a\x1f" + bytes(31)).finish(), "32 bytes"),
        (protobuf.Writer().varint(1, 0x12).bytes(4, b"\x12\x20" + bytes(32)).finish(), "32 bytes"),
        (b"\x0b", "wire type"),
        (bytes(MAX_PROOF + 1), "more than"),
        (b"\x28\x00" * 1000, "too many fields"),
        (protobuf.Writer().varint(1, 0x12).bytes(4, b"\x28\x00" * 9).finish(), "too many fields"),
    ],
)
def test_broken_proofs_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        MerkleProof.from_bytes(data)


def test_a_proof_is_read_forgivingly() -> None:
    node = protobuf.Writer().varint(7, 1).bytes(1, b"early").bytes(1, bytes(range(32))).finish()
    data = (
        protobuf.Writer()
        .varint(1, 1)
        .bytes(9, b"?")
        .varint(1, 0x12)
        .bytes(3, b"")
        .varint(3, 2)
        .bytes(4, node)
    )
    assert MerkleProof.from_bytes(memoryview(data.finish())) == MerkleProof.of(0, 2, (bytes(range(32)),))


def test_broken_trees_are_refused() -> None:
    good = MerkleTree.of(_some_leaves(3)).to_bytes()
    nodes = [bytes(field.value) for field in protobuf.fields(good) if isinstance(field.value, bytes)]

    def encoded(count: int, some: list[bytes]) -> bytes:
        out = protobuf.Writer().varint(1, 0x12).varint(2, count)
        for node in some:
            out.bytes(3, node)
        return out.finish()

    assert encoded(3, nodes) == good
    for count, some in (
        (0, nodes),
        (4, nodes),
        (2, nodes),
        (7, nodes),
        (2**64 - 1, nodes),
        (3, nodes[:-1]),
        (3, [*nodes, nodes[0]]),
        (3, [nodes[1], nodes[0], *nodes[2:]]),
        (0, []),
    ):
        with pytest.raises(DecodeError):
            MerkleTree.from_bytes(encoded(count, some))
    with pytest.raises(DecodeError, match="32 bytes"):
        MerkleTree.from_bytes(encoded(3, [*nodes[:-1], b""]))
    with pytest.raises(DecodeError, match="more than"):
        MerkleTree.from_bytes(bytes(MAX_TREE + 1))


_GOOD = MerkleTree.of(_some_leaves(11)).proof(6).to_bytes()


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=120)
    | st.builds(
        lambda at, cut, new: _GOOD[:at] + new + _GOOD[at + cut :],
        *[st.integers(0, 150)] * 2,
        st.binary(max_size=6),
    )
)
def test_any_bytes_give_a_proof_or_a_refusal(data: bytes) -> None:
    try:
        proof = MerkleProof.from_bytes(data)
    except DecodeError:
        return
    assert all(len(node) == 32 for node in proof.path)
    assert MerkleProof.from_bytes(proof.to_bytes()) == proof
    assert isinstance(proof.verify(bytes(32), bytes(32)), bool)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(1, 40), st.data())
def test_a_usual_proof_is_read_as_field_by_field(
    index: int, count: int, depth: int, data: st.DataObject
) -> None:
    proof = MerkleProof.of(index, count, tuple(bytes([layer]) * 32 for layer in range(depth)))
    raw = bytearray(proof.to_bytes())
    assert MerkleProof.from_bytes(bytes(raw)) == MerkleProof._from_fields(bytes(raw)) == proof
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    found: list[MerkleProof | str] = []
    for read in (MerkleProof.from_bytes, MerkleProof._from_fields):
        try:
            found.append(read(bytes(raw)))
        except DecodeError as error:
            found.append(error.message)
    assert found[0] == found[1]


_GOOD_TREE = MerkleTree.of(_some_leaves(3)).to_bytes()


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=120)
    | st.builds(
        lambda at, cut, new: _GOOD_TREE[:at] + new + _GOOD_TREE[at + cut :],
        *[st.integers(0, 230)] * 2,
        st.binary(max_size=6),
    )
)
def test_any_bytes_give_a_tree_or_a_refusal(data: bytes) -> None:
    try:
        tree = MerkleTree.from_bytes(data)
    except DecodeError:
        return
    leaves = [tree.leaf(i) for i in range(tree.leaf_count)]
    assert tree == MerkleTree.of(leaves)


def test_only_what_is_encoded_as_usual_is_a_usual_proof() -> None:
    proof = MerkleTree.of(_leaves(5)).proof(3)
    usual = proof.to_bytes()
    assert is_usual_proof(usual)
    assert is_usual_proof(evolve(proof, code=IDENTITY).to_bytes())
    for other in (
        b"",
        usual[:-1],
        usual + b"\x28\x00",  # a field that is unknown
        usual[2:] + usual[:2],
        evolve(proof, code=SHA2_256 + 1).to_bytes(),
        evolve(proof, steps=b"").to_bytes(),
        evolve(proof, steps=proof.steps * 40).to_bytes(),
    ):
        assert not is_usual_proof(other)
