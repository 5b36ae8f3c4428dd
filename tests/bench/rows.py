"""A store with very many rows, made in seconds: everything a node reads at its start, and no payload.

The index is the store's own, filled through SQLite with the rows that so many uploads would have left:
blocks, leaves, trees with their nodes, manifests, segments and totals. The store's own recount has to find it
right. The segments have their length and are empty (sparse files), since nothing reads payload at a start.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection

from harness import BenchFailed

from codex.codec import BLOCK_PREFIX
from codex.data import BLOCK_SIZE, Block, Manifest, MerkleTree
from codex.store import NEVER, OsDisk
from codex.store.index import connect
from codex.store.manifests import record_of
from codex.store.opening import open_repo
from codex.store.schema import LIVE, SEALED
from codex.store.segments import SEGMENT_BYTES, segment_name
from codex.store.trees import page_count, write_pages

_PER_SEGMENT = SEGMENT_BYTES // BLOCK_SIZE
_QUOTA = 1 << 50

INDEX = "index.sqlite"


def build(repo: Path, datasets: int, blocks: int) -> None:
    """Make a store in `repo` with so many datasets of so many blocks each. Raises BenchFailed."""
    open_repo(repo, quota=_QUOTA).close()
    connection = connect(OsDisk(), repo / INDEX)
    try:
        # A power cut in between would only spoil what is made for a measurement.
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN IMMEDIATE")
        used = sum(_insert_dataset(connection, number, blocks) for number in range(1, datasets + 1))
        total = datasets * blocks
        connection.execute(
            "UPDATE totals SET blocks = ?, used = ?", (total + datasets, used + total * BLOCK_SIZE)
        )
        for number, length in _segments(total):
            connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?)", (number, length, length, SEALED))
            _empty_file(repo / "segments" / segment_name(number), length)
        connection.execute("COMMIT")
    finally:
        connection.close()
    _check(repo)


def _insert_dataset(connection: Connection, number: int, blocks: int) -> int:
    """Insert the rows of one dataset; the bytes of its manifest."""
    digests = [os.urandom(32) for _ in range(blocks)]
    tree = MerkleTree.of(digests)
    manifest = Manifest.of_upload(tree.root_cid, blocks * BLOCK_SIZE, f"{number}.bin").to_bytes()
    record = record_of(Block(Manifest.from_bytes(manifest).cid, manifest))
    first = (number - 1) * blocks + 1
    rows = range(first, first + blocks)
    connection.executemany(
        "INSERT INTO blocks(id, cid, segment, offset, length, refs, expiry) VALUES (?, ?, ?, ?, ?, 1, 0)",
        [
            (row, BLOCK_PREFIX + digest, (row - 1) // _PER_SEGMENT + 1, _offset(row), BLOCK_SIZE)
            for row, digest in zip(rows, digests, strict=True)
        ],
    )
    connection.executemany(
        "INSERT INTO leaves(tree, idx, block) VALUES (?, ?, ?)",
        [(number, index, row) for index, row in enumerate(rows)],
    )
    connection.execute(
        "INSERT INTO trees(id, cid, state, leaves, size) VALUES (?, ?, ?, ?, ?)",
        (number, tree.root_cid.raw, LIVE, blocks, blocks),
    )
    write_pages(connection, number, tree, 0, page_count(tree))
    connection.execute(
        "INSERT INTO manifests(cid, tree, data, parity, expiry) VALUES (?, ?, ?, ?, ?)",
        (record.cid.raw, number, record.data, record.parity, NEVER),
    )
    return len(record.data)


def _offset(row: int) -> int:
    return (row - 1) % _PER_SEGMENT * BLOCK_SIZE


def _segments(blocks: int) -> Iterator[tuple[int, int]]:
    """Number and length of each segment."""
    for number, first in enumerate(range(0, blocks, _PER_SEGMENT), 1):
        yield number, min(_PER_SEGMENT, blocks - first) * BLOCK_SIZE


def _empty_file(path: Path, length: int) -> None:
    with path.open("xb") as file:
        file.truncate(length)


def _check(repo: Path) -> None:
    opened = open_repo(repo, quota=_QUOTA)
    try:
        found = opened.catalogue.recount()
    finally:
        opened.close()
    if not found.right:
        raise BenchFailed(f"the store that was made is not as the store counts it: {found}")


def copy(source: Path, target: Path) -> None:
    """Copy a store that was made here to another place."""
    (target / "segments").mkdir(parents=True)
    shutil.copyfile(source / INDEX, target / INDEX)
    for path in sorted((source / "segments").iterdir()):
        _empty_file(target / "segments" / path.name, path.stat().st_size)


def index_of(repo: Path) -> list[Path]:
    """The files of the index."""
    return sorted(repo.glob(INDEX + "*"))
