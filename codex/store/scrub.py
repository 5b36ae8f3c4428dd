"""Looking at everything that is here: a scrub reads every block and manifest, a check reads one dataset.

Both go in steps of some megabytes, each a few calls of this file, so that whoever drives them can pace,
show and stop them. Nothing is changed here; what is found is reported, to be marked and mended by the
writer.
"""

from attrs import frozen

from codex.codec import Cid
from codex.data import LeafAddress, TreeBuilder
from codex.errors import CorruptData
from codex.store import manifests
from codex.store.index import Readers
from codex.store.lifetime import tree_of
from codex.store.manifests import Damage
from codex.store.reads import Reader
from codex.store.sense import counted, is_cid
from codex.store.staging import SEEN
from codex.store.trees import leaf_cids

STEP_BLOCKS = 256
"""Blocks looked at in one step: 16 MiB."""

STEP_MANIFESTS = 64


@frozen(slots=True)
class Scrubbed:
    """A step over blocks: `next` is where the next one begins, None behind the last block."""

    next: int | None
    bytes: int
    corrupt: tuple[Cid, ...]
    rotten: tuple[int, ...]


@frozen(slots=True)
class Checked:
    """A step over a dataset's leaves."""

    bytes: int
    corrupt: tuple[Cid, ...]
    missing: tuple[int, ...]
    rotten: tuple[int, ...]


class Scrubber:
    """Looks, and reports. May run in any thread."""

    def __init__(self, readers: Readers, reader: Reader) -> None:
        self._readers = readers
        self._reader = reader

    def total(self) -> int:
        """Bytes of all blocks and manifests."""
        with self._readers.borrow() as connection:
            (used,) = connection.execute("SELECT used FROM totals").fetchone()
        return int(used)

    def blocks(self, after: int) -> Scrubbed:
        """Read the next blocks behind row `after`, in the order in which they came."""
        with self._readers.borrow() as connection:
            rows = connection.execute(
                f"SELECT id, cid, length FROM blocks WHERE id > ? AND {SEEN} ORDER BY id LIMIT ?",
                (after, STEP_BLOCKS),
            ).fetchall()
        cids = [Cid(row[1]) for row in rows if is_cid(row[1])]
        found = self._reader.find(cids)
        corrupt = [
            cid for cid, answer in zip(cids, found.answers, strict=True) if isinstance(answer, CorruptData)
        ]
        # What the index calls by something that is no CID can be found by nobody; it is told of as it is.
        corrupt += [Cid(bytes(str(row[1]), "utf-8")) for row in rows if not is_cid(row[1])]
        size = sum(counted(row[2]) for row in rows)
        return Scrubbed(rows[-1][0] if rows else None, size, tuple(corrupt), found.rotten)

    def manifests(self, after: Cid | None) -> tuple[Damage, Cid | None]:
        """Look at the next manifests behind `after`, in the order of their CIDs; also the last one looked
        at.
        """
        with self._readers.borrow() as connection:
            return manifests.examine(connection, after, STEP_MANIFESTS)

    def leaves(self, tree: Cid, first: int, count: int) -> Checked:
        """Read some leaves of a dataset."""
        addresses = [LeafAddress(tree, index) for index in range(first, first + count)]
        found = self._reader.find(addresses)
        size = 0
        corrupt: list[Cid] = []
        missing: list[int] = []
        with self._readers.borrow() as connection:
            row = tree_of(connection, tree)
            cids = dict(leaf_cids(connection, row, first, count)) if row is not None else {}
        for address, answer in zip(addresses, found.answers, strict=True):
            if answer is None:
                missing.append(address.index)
            elif isinstance(answer, CorruptData):
                if address.index in cids:
                    corrupt.append(cids[address.index])
            else:
                size += len(answer.data)
        return Checked(size, tuple(corrupt), tuple(missing), found.rotten)

    def original(self, tree: Cid, count: int) -> Cid | None:
        """The CID of the tree over the first `count` leaves; None unless all of them are here."""
        with self._readers.snapshot() as connection:
            row = tree_of(connection, tree)
            here = connection.execute(
                "SELECT count(*) FROM leaves WHERE tree = ? AND idx < ?", (row, count)
            ).fetchone()
        return self.root(tree, count) if here[0] == count else None

    def root(self, tree: Cid, count: int = 2**62) -> Cid | None:
        """The CID of the tree over those of the first `count` leaves that are here; None when there is none.
        About 2 µs a leaf.
        """
        builder = TreeBuilder()
        with self._readers.snapshot() as connection:
            row = tree_of(connection, tree)
            if row is not None:
                builder.add([cid.digest for _, cid in leaf_cids(connection, row, 0, count)])
        return builder.finish().root_cid if builder.leaf_count else None
