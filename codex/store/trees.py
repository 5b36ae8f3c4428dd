"""The inner nodes of datasets' trees that were built here, in pages, so that any leaf can be proved by a
few rows.

Layer 0 is the leaves' digests: with them a leaf can still be proved when its neighbours were removed.
Leaves that came from the network one by one keep the proof they came with instead.
"""

from collections.abc import Iterator
from sqlite3 import Connection

from codex.codec import EMPTY_BLOCK, Cid
from codex.codec.cid import DIGEST_SIZE
from codex.data import MerkleProof, MerkleTree
from codex.data.merkle import depth_of
from codex.errors import CorruptData, InvalidInput
from codex.store.index import at_once, one
from codex.store.schema import NODES_PER_PAGE
from codex.store.sense import stored_cid
from codex.store.values import Leaf

_PAGE_BYTES = NODES_PER_PAGE * DIGEST_SIZE
_ZERO = bytes(DIGEST_SIZE)

_LEAVES = (
    "SELECT l.idx, b.cid, l.proof FROM leaves l LEFT JOIN blocks b ON b.id = l.block"
    " WHERE l.tree = ? AND l.idx >= ? AND l.idx < ? ORDER BY l.idx"
)


def page_count(tree: MerkleTree) -> int:
    """How many rows the nodes of a tree take."""
    return sum(-(-len(layer) // _PAGE_BYTES) for layer in tree.layers)


def _pages(tree: MerkleTree) -> Iterator[tuple[int, int, bytes]]:
    for number, layer in enumerate(tree.layers):
        for page, start in enumerate(range(0, len(layer), _PAGE_BYTES)):
            yield number, page, layer[start : start + _PAGE_BYTES]


def write_pages(tx: Connection, row: int, tree: MerkleTree, first: int, count: int) -> None:
    """Store `count` pages of the tree from the `first` on (see `page_count`), under the tree's row."""
    pages = list(_pages(tree))[first : first + count]
    tx.executemany(
        "INSERT OR REPLACE INTO tree_nodes(tree, layer, page, nodes) VALUES (?, ?, ?, ?)",
        [(row, *page) for page in pages],
    )


def check_leaves(connection: Connection, row: int, tree: MerkleTree) -> None:
    """Raise InvalidInput unless the leaves that were staged under `row` are the leaves of `tree`."""
    expected = memoryview(tree.layers[0])
    at = 0
    for index, cid, _ in connection.execute(_LEAVES, (row, 0, tree.leaf_count + 1)):
        digest = EMPTY_BLOCK.digest if cid is None else Cid(cid).digest
        if index != at or digest != expected[at * DIGEST_SIZE : (at + 1) * DIGEST_SIZE]:
            raise InvalidInput(f"the leaf staged at {index} is not the one that the tree has at {at}")
        at += 1
    if at != tree.leaf_count:
        raise InvalidInput(f"the tree has {tree.leaf_count} leaves, but {at} were staged")


def leaf_cids(connection: Connection, row: int, first: int, count: int) -> Iterator[tuple[int, Cid]]:
    """The leaves that are here, of those from `first` on, with their index."""
    for index, cid, _ in connection.execute(_LEAVES, (row, first, first + count)):
        yield index, EMPTY_BLOCK if cid is None else stored_cid(cid)


def proved_leaves(connection: Connection, row: int, first: int, count: int) -> list[Leaf]:
    """The leaves that are here, of those from `first` on, each with its proof. Raises CorruptData."""
    rows = at_once(
        connection, ("idx", "cid", "proof"), ("cid", "proof"), _LEAVES, (row, first, first + count)
    )
    size = one(connection, "SELECT size FROM trees WHERE id = ?", row)
    paths = _Paths(connection, row, size[0] if size else None)
    return [
        Leaf(
            index,
            EMPTY_BLOCK if cid is None else stored_cid(cid),
            paths.proof(index) if proof is None else MerkleProof.from_bytes(proof),
        )
        for index, cid, proof in rows
    ]


class _Paths:
    """The proofs of one tree, with the pages that were read so far. Neighbours share all but the beginnings
    of their paths: asked for in order, a leaf takes about two nodes.
    """

    def __init__(self, connection: Connection, row: int, size: int | None) -> None:
        self._connection = connection
        self._row = row
        self._size = size or 0
        self._depth = depth_of(size) if size else 0
        self._read: dict[tuple[int, int], bytes] = {}
        # By layer: a node, and the path from there, which were asked for last.
        self._last: list[tuple[int, tuple[bytes, ...]]] = [(-1, ())] * self._depth

    def proof(self, index: int) -> MerkleProof:
        if not self._size:
            raise CorruptData("the index has a leaf without a proof", remedy="scrub the store")
        return MerkleProof(index, self._size, self._path(0, index, self._size))

    def _path(self, layer: int, at: int, width: int) -> tuple[bytes, ...]:
        """The siblings from the node `at` of a layer, which has `width`, up to the root."""
        if layer == self._depth:
            return ()
        last, path = self._last[layer]
        if last != at:
            sibling = at ^ 1
            node = self._node(layer, sibling) if sibling < width else _ZERO
            path = (node, *self._path(layer + 1, at >> 1, (width + 1) >> 1))
            self._last[layer] = (at, path)
        return path

    def _node(self, layer: int, at: int) -> bytes:
        page, place = divmod(at, NODES_PER_PAGE)
        nodes = self._read.get((layer, page))
        if nodes is None:
            row = one(
                self._connection,
                "SELECT nodes FROM tree_nodes WHERE tree = ? AND layer = ? AND page = ?",
                *(self._row, layer, page),
            )
            nodes = self._read[layer, page] = row[0] if row else b""
        node = nodes[place * DIGEST_SIZE : (place + 1) * DIGEST_SIZE]
        if len(node) != DIGEST_SIZE:
            raise CorruptData("the index lacks nodes of a dataset's tree", remedy="store the dataset again")
        return node
