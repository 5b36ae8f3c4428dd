"""Proofs against a tree: as good as hashing every path, and cheaper."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from codex.data import MerkleProof, MerkleTree
from codex.data.merkle import SHA256_TREE, Hashing, steps_of
from codex.exchange import proving
from codex.exchange.proving import ProvenTree


def leaf(n: int) -> bytes:
    return n.to_bytes(32, "big")


def tree_of(count: int) -> MerkleTree:
    return MerkleTree.of([leaf(n) for n in range(count)])


@given(st.integers(1, 70), st.data())
def test_it_agrees_with_hashing_every_path(count, data):
    tree = tree_of(count)
    proven = ProvenTree(tree.root_cid, count)
    for _ in range(data.draw(st.integers(1, 12))):
        index = data.draw(st.integers(0, count - 1))
        proof, digest = tree.proof(index), tree.leaf(index)
        match data.draw(st.integers(0, 6)):
            case 0:
                digest = leaf(data.draw(st.integers(0, count)))
            case 1:
                at = data.draw(st.integers(0, len(proof.path) - 1))
                path = list(proof.path)
                path[at] = data.draw(st.sampled_from([bytes(32), leaf(1), path[at][:31], b""]))
                proof = evolve(proof, steps=steps_of(tuple(path)))
            case 2:
                proof = evolve(proof, index=data.draw(st.integers(0, count)))
            case 3:
                proof = evolve(proof, steps=steps_of(proof.path[:-1]))
            case 4:
                proof = evolve(proof, steps=steps_of((*proof.path, bytes(32))))
        true = proof.index == index and proof.verify(digest, tree.root)
        assert proven.proves(index, digest, proof) == true


@pytest.mark.parametrize(
    ("count", "step", "most"),
    [(4096, 1, 4096 + 12), (1024, 389, 4 * 1024)],
    ids=["a run takes one each", "any order takes a few each"],
)
def test_leaves_take_few_hashes(count: int, step: int, most: int) -> None:
    hashed = 0

    def compress(pairs: bytes, key: int) -> bytes:
        nonlocal hashed
        hashed += 1
        return SHA256_TREE.compress(pairs, key)

    tree = tree_of(count)
    proven = ProvenTree(tree.root_cid, count, Hashing(SHA256_TREE.code, compress))
    order = [n * step % count for n in range(count)]
    assert all(proven.proves(index, tree.leaf(index), tree.proof(index)) for index in order)
    assert hashed <= most


def test_what_is_kept_is_bounded_and_may_be_forgotten(monkeypatch):
    monkeypatch.setattr(proving, "KEPT", 4)
    tree = tree_of(100)
    proven = ProvenTree(tree.root_cid, 100)
    for i in [*range(100), 3, 50, 2, 99]:
        assert proven.proves(i, tree.leaf(i), tree.proof(i))
        assert not proven.proves(i, leaf(1000), tree.proof(i))
        assert len(proven._held) <= 4


@pytest.mark.parametrize("upper", [1, 2, 3])
def test_nodes_above_a_known_one_are_checked(upper):
    tree = tree_of(16)
    proven = ProvenTree(tree.root_cid, 16)
    assert proven.proves(0, tree.leaf(0), tree.proof(0))
    path = list(tree.proof(1).path)
    path[upper] = bytes(32)
    assert not proven.proves(1, tree.leaf(1), MerkleProof.of(1, 16, tuple(path)))
    assert proven.proves(1, tree.leaf(1), tree.proof(1))


def test_another_hash_or_size_is_no_proof():
    tree = tree_of(4)
    proven = ProvenTree(tree.root_cid, 4)
    assert not proven.proves(0, tree.leaf(0), evolve(tree.proof(0), code=0))
    assert not proven.proves(0, tree.leaf(0), evolve(tree.proof(0), leaf_count=3))
    assert not proven.proves(4, tree.leaf(0), evolve(tree.proof(0), index=4))
