"""Trees of field elements: known ones, and any tree against the rule written down in the plainest way."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec.cid import SHA2_256
from codex.data import MerkleProof, MerkleTree
from codex.data.merkle import steps_of
from codex.errors import DecodeError, InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.kernels.poseidon2_constants import PRIME
from codex.slots import FIELD_TREE, field_tree, verify
from codex.slots.trees import is_element

Vectors = Callable[[str], Any]

elements = st.integers(0, PRIME - 1) | st.sampled_from([0, 1, PRIME - 1])


def _tree(numbers: Sequence[int]) -> MerkleTree:
    return field_tree(b"".join(map(spec.encode, numbers)))


def _plain_root(numbers: Sequence[int]) -> int:
    layer, bottom = list(numbers), 1
    while bottom or len(layer) > 1:
        above = [spec.compress(*pair, bottom) for pair in zip(layer[::2], layer[1::2], strict=False)]
        if len(layer) % 2:
            above.append(spec.compress(layer[-1], 0, 2 + bottom))
        layer, bottom = above, 0
    return layer[0]


def test_known_roots_of_elements(vectors: Vectors) -> None:
    rows = vectors("poseidon2")["merkle_root_of_elements"]
    assert len(rows) == 41
    for row in rows:
        assert _tree(range(1, row["n"] + 1)).root == spec.encode(int(row["root"]))


def test_known_roots_of_bytes(vectors: Vectors) -> None:
    rows = vectors("poseidon2")["merkle_root_of_bytes"]
    assert [row["n"] for row in rows] == list(range(81))
    for row in rows:
        tree = _tree(spec.to_elements(bytes(range(1, row["n"] + 1))))
        assert tree.root.hex() == row["root_le_hex"]
        assert tree.root == spec.encode(int(row["root"]))


def test_known_proofs(vectors: Vectors) -> None:
    rows = vectors("merkle")["poseidon2_proofs"]
    assert rows
    for row in rows:
        tree = _tree(range(1, row["n"] + 1))
        proof = tree.proof(row["index"])
        assert proof.path == tuple(spec.encode(int(node)) for node in row["path"])
        assert proof.to_bytes().hex() == row["codex_proof_protobuf_hex"]
        assert MerkleProof.from_bytes(proof.to_bytes()) == proof
        assert verify(proof, spec.encode(row["index"] + 1), spec.encode(int(row["root"])))


@settings(max_examples=30)
@given(st.lists(elements, min_size=1, max_size=20))
def test_a_tree_is_as_the_rule_says(numbers: list[int]) -> None:
    tree = _tree(numbers)
    assert tree.root == spec.encode(_plain_root(numbers))
    assert MerkleTree.from_bytes(tree.to_bytes(), FIELD_TREE) == tree


@settings(max_examples=30)
@given(st.data())
def test_a_proof_holds_and_an_altered_one_does_not(data: st.DataObject) -> None:
    numbers = data.draw(st.lists(elements, min_size=1, max_size=12), label="leaves")
    index = data.draw(st.integers(0, len(numbers) - 1), label="index")
    tree = _tree(numbers)
    proof, leaf = tree.proof(index), spec.encode(numbers[index])
    assert verify(proof, leaf, tree.root)
    other = spec.encode(data.draw(elements.filter(lambda number: number != numbers[index]), label="leaf"))
    assert not verify(proof, other, tree.root)
    assert not verify(proof, leaf, other)
    layer = data.draw(st.integers(0, tree.depth - 1), label="layer")
    nodes = list(proof.path)
    nodes[layer] = spec.encode((spec.decode(nodes[layer]) + 1) % PRIME)
    assert not verify(evolve(proof, steps=steps_of(tuple(nodes))), leaf, tree.root)
    assert not verify(evolve(proof, steps=steps_of(proof.path[:-1])), leaf, tree.root)
    assert not verify(evolve(proof, steps=steps_of((*proof.path, spec.encode(0)))), leaf, tree.root)
    assert not verify(evolve(proof, code=SHA2_256), leaf, tree.root)


def test_what_is_no_element_proves_nothing() -> None:
    tree = _tree([1, 2, 3])
    proof, leaf = tree.proof(0), spec.encode(1)
    # The same residue, written another way.
    too_large = (PRIME + 2).to_bytes(32, "little")
    assert not is_element(too_large)
    assert not verify(evolve(proof, steps=steps_of((too_large, *proof.path[1:]))), leaf, tree.root)
    assert not verify(proof, (PRIME + 1).to_bytes(32, "little"), tree.root)
    assert not verify(proof, leaf[:31], tree.root)
    assert not verify(evolve(proof, steps=steps_of((b"", *proof.path[1:]))), leaf, tree.root)


@pytest.mark.parametrize("place", range(5))
def test_leaves_that_are_no_elements_are_refused(place: int) -> None:
    leaves = [spec.encode(7)] * 5
    leaves[place] = PRIME.to_bytes(32, "little")
    with pytest.raises(DecodeError, match=f"{PRIME:#x} is no field element"):
        field_tree(b"".join(leaves))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_no_leaves_and_half_leaves_are_refused(size: int) -> None:
    with pytest.raises(InvalidInput):
        field_tree(bytes(size))
