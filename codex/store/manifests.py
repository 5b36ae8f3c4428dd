"""Manifests on this disk: small, precious, and kept with error-correcting bytes beside them.

A manifest counts as one block of its own length; the parity beside it is not charged. It is verified
against its CID whenever it is read. One that is damaged is mended for the reader; the copy on the disk is
put right by `rewrite`.
"""

from collections.abc import Iterable
from sqlite3 import Connection
from typing import Any

from attrs import frozen

from codex.codec import CODEX_MANIFEST, Cid
from codex.data import Block, Manifest
from codex.errors import BlockNotFound, CorruptData, DecodeError, InvalidInput, NotAManifest
from codex.store.ecc import mend, parity_of
from codex.store.index import one, select_in
from codex.store.ledger import Change
from codex.store.lifetime import known_tree, want
from codex.store.sense import stored_cid


@frozen(slots=True)
class Record:
    """A manifest ready to be stored: its name, what it says, its bytes and their parity."""

    cid: Cid
    manifest: Manifest
    data: bytes
    parity: bytes


def record_of(block: Block) -> Record:
    """Decode a manifest and compute its parity, which takes some 4 ms a KiB. Raises DecodeError.

    The bytes are checked against the CID, for it is what will be looked up.
    """
    data = bytes(block.data)
    if block.cid.codec != CODEX_MANIFEST or not block.cid.matches(data):
        raise InvalidInput(f"the {len(data)} bytes given are not the manifest {block.cid}")
    return Record(block.cid, Manifest.from_bytes(data), data, parity_of(data))


def put(change: Change, record: Record, expiry: float, *, tree: int | None = None) -> None:
    """Store a manifest, whose tree is wanted from now on. One that is here already lives at least until
    `expiry`.

    `tree`: the row of its tree, looked up by its CID when not given.
    """
    tx = change.tx
    if tree is None:
        tree = known_tree(tx, record.manifest.tree_cid)
        want(tx, tree)
    if tx.execute(
        "UPDATE manifests SET expiry = max(expiry, ?), data = ?, parity = ?, whole = 1 WHERE cid = ?",
        (expiry, record.data, record.parity, record.cid.raw),
    ).rowcount:
        return
    tx.execute(
        "INSERT INTO manifests(cid, tree, data, parity, expiry) VALUES (?, ?, ?, ?, ?)",
        (record.cid.raw, tree, record.data, record.parity, expiry),
    )
    change.manifest(1, len(record.data))


def put_record(change: Change, record: Record) -> None:
    """Store a manifest, which is not here, for the sake of holds only: it wants nothing by itself."""
    tree = known_tree(change.tx, record.manifest.tree_cid)
    change.tx.execute(
        "INSERT INTO manifests(cid, tree, data, parity, expiry, whole) VALUES (?, ?, ?, ?, 0, 0)",
        (record.cid.raw, tree, record.data, record.parity),
    )
    change.manifest(1, len(record.data))


def is_here(connection: Connection, cid: Cid) -> bool:
    """Whether the manifest is on this node."""
    return one(connection, "SELECT 1 FROM manifests WHERE cid = ?", cid.raw) is not None


def read(connection: Connection, cid: Cid) -> bytes:
    """The bytes of a manifest, mended if need be. Raises BlockNotFound, CorruptData."""
    row = one(connection, "SELECT data, parity FROM manifests WHERE cid = ?", cid.raw)
    if row is None:
        raise BlockNotFound(f"there is no manifest {cid} on this node")
    return _sound(cid, *row)


def read_many(connection: Connection, cids: Iterable[Cid]) -> dict[Cid, Block | CorruptData]:
    """As `read`, of many; those that are not here are left out."""
    found: dict[Cid, Block | CorruptData] = {}
    for raw, data, parity in select_in(
        connection, "SELECT cid, data, parity FROM manifests WHERE cid", [cid.raw for cid in cids]
    ):
        cid = Cid(raw)
        try:
            found[cid] = Block(cid, _sound(cid, data, parity))
        except CorruptData as error:
            found[cid] = error
    return found


def decode(connection: Connection, cid: Cid) -> Manifest:
    """A dataset's manifest. Raises BlockNotFound, CorruptData, and NotAManifest for the CID of something
    else.
    """
    if cid.codec == CODEX_MANIFEST:
        try:
            return Manifest.from_bytes(read(connection, cid))
        except DecodeError as error:
            raise NotAManifest(f"{cid} cannot be decoded: {error}") from error
    if one(connection, "SELECT 1 FROM blocks WHERE cid = ?", cid.raw) is None:
        raise BlockNotFound(f"there is no manifest {cid} on this node")
    raise NotAManifest(f"{cid} is a block and describes no dataset")


def page(connection: Connection, after: Cid | None, limit: int) -> tuple[list[tuple[Cid, Manifest]], int]:
    """Up to `limit` manifests in the order of their CIDs, from behind `after` on; fewer only at the end.

    Those that are damaged beyond mending are left out; also how many these were.
    """
    listed: list[tuple[Cid, Manifest]] = []
    damaged = 0
    rows = connection.execute(
        "SELECT cid, data, parity FROM manifests WHERE cid > ? ORDER BY cid", (after.raw if after else b"",)
    )
    for raw, data, parity in rows:
        if len(listed) == limit:
            break
        try:
            cid = stored_cid(raw)
            listed.append((cid, Manifest.from_bytes(_sound(cid, data, parity))))
        except (CorruptData, DecodeError):
            damaged += 1
    rows.close()
    return listed, damaged


def _sound(cid: Cid, data: Any, parity: Any) -> bytes:
    mended: bytes | None = None
    if isinstance(data, bytes):
        if cid.matches(data):
            return data
        if isinstance(parity, bytes):
            mended = mend(data, parity)
    if mended is None or not cid.matches(mended):
        raise CorruptData(
            f"the manifest {cid} is damaged on this disk, more than can be mended",
            remedy="store the dataset again, or restore the data directory from a backup",
        )
    return mended


@frozen(slots=True)
class Damage:
    """What a scrub found of some manifests: those to be put right, with their parity, and those beyond
    that.
    """

    bytes: int
    mended: tuple[Record, ...]
    lost: tuple[Cid, ...]


def examine(connection: Connection, after: Cid | None, limit: int) -> tuple[Damage, Cid | None]:
    """Check the next `limit` manifests and their parity; also the last of them, or None when there was
    none.
    """
    rows = connection.execute(
        "SELECT cid, data, parity FROM manifests WHERE cid > ? ORDER BY cid LIMIT ?",
        (after.raw if after else b"", limit),
    ).fetchall()
    mended: list[Record] = []
    lost: list[Cid] = []
    for raw, data, parity in rows:
        try:
            sound = _sound(stored_cid(raw), data, parity)
        except CorruptData:
            lost.append(Cid(raw))
            continue
        cid = Cid(raw)
        fresh = parity_of(sound)
        if sound != data or fresh != parity:
            mended.append(Record(cid, Manifest.from_bytes(sound), sound, fresh))
    size = sum(len(row[1]) for row in rows if type(row[1]) is bytes)
    return Damage(size, tuple(mended), tuple(lost)), Cid(rows[-1][0]) if rows else None


def rewrite(tx: Connection, records: Iterable[Record]) -> None:
    """Put manifests right on the disk, where they are still here."""
    tx.executemany(
        "UPDATE manifests SET data = ?, parity = ? WHERE cid = ?",
        [(record.data, record.parity, record.cid.raw) for record in records],
    )
