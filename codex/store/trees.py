"""The inner nodes of datasets' trees that were built here, in pages, so that any leaf can be proved by a
few rows.

Layer 0 is the leaves' digests: with them a leaf can still be proved when its neighbours were removed.
Leaves that came from the network one by one keep the proof they came with instead.
"""

from collections.abc import Iterator, Sequence
from sqlite3 import Connection

from codex.codec import EMPTY_BLOCK, Cid
from codex.codec.cid import DIGEST_SIZE
from codex.data import MerkleProof, MerkleTree
from codex.data.merkle import is_usual_proof
from codex.data.paths import encoded_proofs
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
    proofs = encoded(connection, row, [(index, proof) for index, _, proof in rows])
    return [
        Leaf(index, EMPTY_BLOCK if cid is None else stored_cid(cid), MerkleProof.from_bytes(proof))
        for (index, cid, _), proof in zip(rows, proofs, strict=True)
    ]


def encoded(connection: Connection, row: int, leaves: Sequence[tuple[int, bytes | None]]) -> list[bytes]:
    """The proofs of leaves of a tree, as `MerkleProof.to_bytes` writes them.

    Each leaf is given by its index, in ascending order, and the proof that it was stored with, None where it
    follows from the tree's nodes. Raises CorruptData.
    """
    proofs: list[bytes] = []
    nodes: _Nodes | None = None
    at = 0
    while at < len(leaves):
        index, proof = leaves[at]
        if proof is not None:
            # Nearly all are as they should be; any other is written anew, if it is one at all.
            proofs.append(proof if is_usual_proof(proof) else MerkleProof.from_bytes(proof).to_bytes())
            at += 1
            continue
        end = at + 1
        while end < len(leaves) and leaves[end] == (index + end - at, None):
            end += 1
        nodes = nodes or _Nodes(connection, row)
        proofs += nodes.proofs(range(index, index + end - at))
        at = end
    return proofs


class _Nodes:
    """The nodes of one tree, with the pages that were read so far. Raises CorruptData where it lacks some."""

    def __init__(self, connection: Connection, row: int) -> None:
        self._connection = connection
        self._row = row
        size = one(connection, "SELECT size FROM trees WHERE id = ?", row)
        self._size: int = size[0] if size and type(size[0]) is int else 0
        self._read: dict[tuple[int, int], bytes] = {}

    def proofs(self, leaves: range) -> list[bytes]:
        """The encoded proofs of consecutive leaves."""
        if not self._size:
            raise CorruptData("the index has a leaf without a proof", remedy="scrub the store")
        if not 0 <= leaves[0] <= leaves[-1] < self._size:
            raise _lacking()
        return encoded_proofs(leaves, self._size, self._pairs)

    def _pairs(self, layer: int, first: int, end: int) -> bytes:
        """The nodes `first` to `end - 1` of a layer, of which the last may be behind its end."""
        page, start = divmod(first, NODES_PER_PAGE)
        nodes = self._page(layer, page)
        if end - page * NODES_PER_PAGE > NODES_PER_PAGE:
            pages = range(page + 1, (end - 1) // NODES_PER_PAGE + 1)
            nodes = b"".join([nodes, *[self._page(layer, page) for page in pages]])
        found = nodes[start * DIGEST_SIZE : (start + end - first) * DIGEST_SIZE]
        return found if len(found) == (end - first) * DIGEST_SIZE else found + _ZERO

    def _page(self, layer: int, page: int) -> bytes:
        nodes = self._read.get((layer, page))
        if nodes is None:
            row = one(
                self._connection,
                "SELECT nodes FROM tree_nodes WHERE tree = ? AND layer = ? AND page = ?",
                *(self._row, layer, page),
            )
            nodes = row[0] if row else b""
            width = -(-self._size >> layer)
            if len(nodes) != min(NODES_PER_PAGE, width - page * NODES_PER_PAGE) * DIGEST_SIZE:
                raise _lacking()
            self._read[layer, page] = nodes
        return nodes


def _lacking() -> CorruptData:
    return CorruptData("the index lacks nodes of a dataset's tree", remedy="store the dataset again")
