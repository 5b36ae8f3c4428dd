"""Proofs of neighbours: each is what it is alone."""

from hypothesis import given, settings
from hypothesis import strategies as st

from codex.data import MerkleTree
from codex.data.paths import encoded_proofs


@given(st.integers(1, 600), st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_of_neighbours_are_encoded_as_each_alone(count: int, data: st.DataObject) -> None:
    tree = MerkleTree.of([index.to_bytes(32) for index in range(count)])
    first = data.draw(st.integers(0, count - 1))
    leaves = range(first, data.draw(st.integers(first, count)))
    asked: list[tuple[int, int, int]] = []

    def nodes(layer: int, start: int, end: int) -> bytes:
        asked.append((layer, start, end))
        found = tree.layers[layer][start * 32 : end * 32]
        return found + bytes((end - start) * 32 - len(found))

    assert encoded_proofs(leaves, count, nodes) == [tree.proof(index).to_bytes() for index in leaves]
    assert len(asked) == (tree.depth if leaves else 0)
    assert all(start % 2 == end % 2 == 0 and end - start <= len(leaves) + 3 for _, start, end in asked)
