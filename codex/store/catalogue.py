"""What can be asked of the index alone, without reading payload. Any number of threads may ask at once."""

from codex.codec import Cid
from codex.data import Manifest, MerkleTree
from codex.errors import BlockNotFound
from codex.logs import get_logger
from codex.store import holds, lifetime, manifests, slot_trees, staging, trees
from codex.store.index import Readers, one
from codex.store.ledger import space_of
from codex.store.recount import recount
from codex.store.sense import stored_cid
from codex.store.values import Hold, Leaf, Recount, Reservation, Space

_log = get_logger("store")


class Catalogue:
    """Questions, each answered from one moment of the index. Raises DiskFailed, CorruptData."""

    def __init__(self, readers: Readers, quota: int) -> None:
        self._readers = readers
        self._quota = quota

    def space(self) -> Space:
        """How much is used, reserved and allowed."""
        with self._readers.borrow() as connection:
            return space_of(connection, self._quota)

    def manifest(self, cid: Cid) -> Manifest:
        """What a manifest says. Raises BlockNotFound, NotAManifest, CorruptData."""
        with self._readers.snapshot() as connection:
            return manifests.decode(connection, cid)

    def for_use(self, cid: Cid) -> tuple[Manifest, bool]:
        """As `manifest`; and whether what is here of the dataset lasts, however the holds of it end."""
        with self._readers.snapshot() as connection:
            return manifests.decode(connection, cid), holds.outlasts(connection, cid)

    def manifests(self, after: Cid | None, limit: int) -> list[tuple[Cid, Manifest]]:
        """Some manifests in the order of their CIDs, from behind `after` on."""
        with self._readers.borrow() as connection:
            listed, damaged = manifests.page(connection, after, limit)
        if damaged:
            _log.error("manifests are damaged and cannot be listed; scrub the store", manifests=damaged)
        return listed

    def leaves(self, tree: Cid, first: int, count: int) -> list[Leaf]:
        """Those of the leaves `first` to `first + count - 1` that are here, with their proofs."""
        with self._readers.snapshot() as connection:
            row = lifetime.tree_of(connection, tree)
            return [] if row is None else trees.proved_leaves(connection, row, first, count)

    def check_staged(self, ingest: int, tree: MerkleTree) -> None:
        """Raise InvalidInput unless `tree` is the tree over exactly what was staged. Some 2 µs a leaf."""
        with self._readers.snapshot() as connection:
            trees.check_leaves(connection, staging.staging_tree(connection, ingest), tree)

    def slot_tree(self, root: Cid) -> bytes | None:
        """What the tree of the slot of that name is built of; None when it is not here as a whole."""
        with self._readers.snapshot() as connection:
            return slot_trees.read(connection, root)

    def expiry(self, cid: Cid) -> float:
        """Until when a block, a dataset or a tree is kept, in unix seconds. Raises BlockNotFound."""
        with self._readers.borrow() as connection:
            return lifetime.expiry_of(connection, cid)

    def is_pinned(self, manifest: Cid) -> bool:
        """Whether a dataset is pinned. Raises BlockNotFound."""
        with self._readers.borrow() as connection:
            row = one(connection, "SELECT pinned FROM manifests WHERE cid = ?", manifest.raw)
        if row is None:
            raise BlockNotFound(f"there is no dataset {manifest} on this node")
        return bool(row[0])

    def pins(self, after: Cid | None, limit: int) -> list[Cid]:
        """Some of the manifests that are pinned, in the order of their CIDs, from behind `after` on."""
        with self._readers.borrow() as connection:
            rows = connection.execute(
                "SELECT cid FROM manifests WHERE pinned AND cid > ? ORDER BY cid LIMIT ?",
                (after.raw if after else b"", limit),
            ).fetchall()
        return [stored_cid(raw) for (raw,) in rows]

    def holds(self, purpose: str) -> list[Hold]:
        """All holds of a purpose, by key."""
        with self._readers.borrow() as connection:
            return holds.holds_of(connection, purpose)

    def reservations(self, purpose: str) -> list[Reservation]:
        """All reservations of a purpose, oldest first; `size` is what is left of each."""
        with self._readers.borrow() as connection:
            rows = connection.execute(
                "SELECT id, bytes FROM reservations WHERE purpose = ? ORDER BY id", (purpose,)
            ).fetchall()
        return [Reservation(str(number), size, purpose) for number, size in rows]

    def recount(self) -> Recount:
        """Compare the counters with the rows."""
        with self._readers.snapshot() as connection:
            return recount(connection)
