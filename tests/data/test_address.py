"""Addresses: what a block is asked for by."""

from codex.codec.cid import block_cid, root_cid
from codex.data import BlockAddress, LeafAddress


def test_leaves_are_told_apart_by_tree_and_index() -> None:
    tree, other = root_cid(bytes(32)), root_cid(bytes(31) + b"\x01")
    addresses: set[BlockAddress] = {LeafAddress(tree, 0), LeafAddress(tree, 1), LeafAddress(other, 0), tree}
    assert len(addresses) == 4
    assert LeafAddress(tree, 1) in addresses
    assert LeafAddress(tree, 2) not in addresses
    assert block_cid(bytes(32)) not in addresses


def test_a_leaf_shows_where_it_is() -> None:
    tree = root_cid(bytes(32))
    assert str(LeafAddress(tree, 7)) == f"{tree}/7"
