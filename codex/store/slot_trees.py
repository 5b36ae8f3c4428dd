"""What the trees of slots are built of: the roots of their blocks, in pages, beside the tree of the dataset.

A host proves that it has a slot by the slot's tree. That tree follows from 32 bytes a block, which take a
while to compute: a block takes 7 ms. So they are kept, and go when the dataset's tree goes. They count for
nothing in the quota, as the nodes of trees do.

A slot has a row in `slot_trees` from when all of its pages are there, and is looked up by its name. Several
rows may have the same: that of a dataset whose content repeats itself, or is here twice.
"""

from collections.abc import Iterator, Sequence
from sqlite3 import Connection

from codex.codec import Cid
from codex.codec.cid import CODEX_SLOT_ROOT, DIGEST_SIZE
from codex.data.protection import MAX_SLOTS
from codex.errors import InvalidInput
from codex.store.values import SlotRoots

PAGE_BYTES = 2048 * DIGEST_SIZE
"""Bytes of roots in a row: 64 KiB, for 128 MiB of a slot."""

STEP_PAGES = 64
"""Pages that are written, or removed, in one transaction: 4 MiB."""

Page = tuple[int, int, bytes]
"""Slot, number of the page, and roots."""


def check(slots: Sequence[SlotRoots]) -> None:
    """Raise InvalidInput for what is no slot, no slot's name or no roots."""
    for given in slots:
        if not 0 <= given.slot < MAX_SLOTS:
            raise InvalidInput(f"{given.slot} is no slot: those are 0 to {MAX_SLOTS - 1}")
        if given.root.codec != CODEX_SLOT_ROOT:
            raise InvalidInput(f"{given.root} is not the name of a slot")
        if not given.roots or len(given.roots) % DIGEST_SIZE:
            raise InvalidInput(
                f"{len(given.roots)} bytes are not the roots of a slot's blocks, of {DIGEST_SIZE} bytes each"
            )


def pages(slots: Sequence[SlotRoots]) -> Iterator[Page]:
    """The rows that the roots of these slots take."""
    for given in slots:
        for page, start in enumerate(range(0, len(given.roots), PAGE_BYTES)):
            yield given.slot, page, given.roots[start : start + PAGE_BYTES]


def write(tx: Connection, row: int, parts: Sequence[Page], slots: Sequence[SlotRoots]) -> None:
    """Store pages under the tree of that row, and name the `slots` that are complete with them."""
    # What stood there under another name is no longer whole.
    tx.executemany(
        "DELETE FROM slot_trees WHERE tree = ? AND slot = ?", [(row, slot) for slot in {p[0] for p in parts}]
    )
    tx.executemany(
        "INSERT OR REPLACE INTO slot_roots(tree, slot, page, roots) VALUES (?, ?, ?, ?)",
        [(row, *part) for part in parts],
    )
    tx.executemany(
        "INSERT OR REPLACE INTO slot_trees(tree, slot, root, blocks) VALUES (?, ?, ?, ?)",
        [(row, given.slot, given.root.raw, len(given.roots) // DIGEST_SIZE) for given in slots],
    )


def read(connection: Connection, root: Cid) -> bytes | None:
    """The roots of the blocks of the slot of that name; None when it is not here as a whole, or cannot be
    seen yet.
    """
    rows = connection.execute(
        "SELECT s.tree, s.slot, s.blocks FROM slot_trees s JOIN trees t ON t.id = s.tree"
        " WHERE s.root = ? AND t.cid IS NOT NULL",
        (root.raw,),
    ).fetchall()
    for tree, slot, blocks in rows:
        count = -(-blocks * DIGEST_SIZE // PAGE_BYTES)
        parts = connection.execute(
            "SELECT roots FROM slot_roots WHERE tree = ? AND slot = ? AND page < ? ORDER BY page",
            (tree, slot, count),
        )
        roots = b"".join([part[0] for part in parts])
        if len(roots) == blocks * DIGEST_SIZE:
            return roots
    return None


def hand_over(tx: Connection, old: int, heir: int) -> None:
    """Give slots of one tree to another row of the same tree, which may have some itself."""
    slots = tx.execute(
        "SELECT slot FROM slot_trees WHERE tree = ?"
        " AND slot NOT IN (SELECT slot FROM slot_trees WHERE tree = ?)",
        (old, heir),
    ).fetchall()
    for table in ("slot_roots", "slot_trees"):
        tx.executemany(
            f"UPDATE OR REPLACE {table} SET tree = ? WHERE tree = ? AND slot = ?",
            [(heir, old, slot) for (slot,) in slots],
        )


def remove_slot(tx: Connection, tree: int, slot: int) -> None:
    """Remove what the tree of one slot is built of: 32 bytes a block, at once."""
    for table in ("slot_trees", "slot_roots"):
        tx.execute(f"DELETE FROM {table} WHERE tree = ? AND slot = ?", (tree, slot))


def remove(tx: Connection, tree: int) -> bool:
    """Remove some of what a tree has; whether there may be more."""
    tx.execute("DELETE FROM slot_trees WHERE tree = ?", (tree,))
    removed = tx.execute(
        "DELETE FROM slot_roots WHERE rowid IN (SELECT rowid FROM slot_roots WHERE tree = ? LIMIT ?)",
        (tree, STEP_PAGES),
    ).rowcount
    return removed == STEP_PAGES
