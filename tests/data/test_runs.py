"""Runs of leaves are proved by what stands beside them, and nothing else is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec.cid import DIGEST_SIZE
from codex.data import MerkleTree
from codex.data.merkle import MerkleProof
from codex.data.runs import Witness, prove_run
from codex.errors import InvalidInput

MOST = 70
TREES = {
    count: MerkleTree.of([bytes([n + 1]) * DIGEST_SIZE for n in range(count)]) for count in range(1, MOST)
}

runs = st.integers(1, MOST - 1).flatmap(
    lambda count: st.tuples(st.just(count), st.integers(0, count - 1)).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(pair[1] + 1, pair[0]))
    )
)


def witness(tree: MerkleTree, index: int) -> Witness:
    return index, tree.leaf(index), tree.proof(index)


def digests(tree: MerkleTree, first: int, stop: int) -> bytes:
    return tree.layers[0][first * DIGEST_SIZE : stop * DIGEST_SIZE]


@settings(max_examples=200, deadline=None)
@given(run=runs, own=st.booleans())
def test_a_run_is_proved_by_its_neighbours_or_its_ends(run: tuple[int, int, int], own: bool) -> None:
    count, first, stop = run
    tree = TREES[count]
    ends = (first, stop - 1) if own else (first - 1, stop)
    witnesses = [witness(tree, index) for index in ends if 0 <= index < count]
    proven = prove_run(tree.root, count, first, digests(tree, first, stop), witnesses)
    assert proven is not None
    for index in range(first, stop):
        assert proven.leaf(index) == tree.leaf(index)
        assert proven.proof(index) == tree.proof(index)


@settings(max_examples=100, deadline=None)
@given(run=runs, data=st.data())
def test_a_run_with_one_wrong_leaf_is_not_proved(run: tuple[int, int, int], data: st.DataObject) -> None:
    count, first, stop = run
    tree = TREES[count]
    wrong = bytearray(digests(tree, first, stop))
    wrong[data.draw(st.integers(0, len(wrong) - 1))] ^= 1
    witnesses = [witness(tree, index) for index in (first - 1, stop) if 0 <= index < count]
    assert prove_run(tree.root, count, first, bytes(wrong), witnesses) is None


def test_without_witnesses_there_is_no_proof_but_of_the_whole() -> None:
    tree = TREES[9]
    assert prove_run(tree.root, 9, 0, digests(tree, 0, 9), []) is not None
    for first, stop in ((0, 8), (1, 9), (3, 5)):
        with pytest.raises(InvalidInput, match="no witness"):
            prove_run(tree.root, 9, first, digests(tree, first, stop), [])


def test_a_witness_that_lies_tells_nothing() -> None:
    tree, other = TREES[9], TREES[10]
    lies: list[Witness] = [
        (2, tree.leaf(3), tree.proof(2)),
        (2, tree.leaf(2), tree.proof(3)),
        (2, other.leaf(2), other.proof(2)),
        (2, tree.leaf(2), MerkleProof.of(2, 9, tree.proof(2).path[:-1])),
        (2, tree.leaf(2), MerkleProof.of(2, 9, (b"x" * DIGEST_SIZE, *tree.proof(2).path[1:]))),
    ]
    for lie in lies:
        with pytest.raises(InvalidInput, match="no witness"):
            prove_run(tree.root, 9, 3, digests(tree, 3, 9), [lie])
    assert prove_run(tree.root, 9, 3, digests(tree, 3, 9), [*lies, witness(tree, 2)]) is not None


@pytest.mark.parametrize(("first", "stop"), [(-1, 3), (0, 10), (9, 10)])
def test_a_run_outside_the_tree_is_refused(first: int, stop: int) -> None:
    with pytest.raises(InvalidInput, match="digests of leaves"):
        prove_run(TREES[9].root, 9, first, bytes((stop - first) * DIGEST_SIZE), [])
    with pytest.raises(InvalidInput, match="digests of leaves"):
        prove_run(TREES[9].root, 9, 0, bytes(33), [])


def test_the_proof_of_a_leaf_beside_the_run_is_refused() -> None:
    tree = TREES[30]
    proven = prove_run(tree.root, 30, 8, digests(tree, 8, 12), [witness(tree, 7), witness(tree, 12)])
    assert proven is not None
    with pytest.raises(InvalidInput, match="beside the run"):
        proven.proof(20)
