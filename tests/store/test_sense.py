"""Rows that make no sense, in an index that is otherwise sound: each is an answer, and the others stay."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from codex.codec import Cid
from codex.data import Block, LeafAddress
from codex.errors import CodexError, CorruptData
from codex.store.manifests import Record
from codex.store.planning import Put
from codex.store.reads import blocks_of
from codex.store.repo import Repo
from codex.store.sense import LARGEST_BLOCK, is_cid, is_place, sensible, stored_cid
from codex.store.stretches import Stretch
from codex.testing.stores import make_blocks, open_test_store, read_alone, store_dataset

Upload = Callable[..., Record]
Reopen = Callable[..., Repo]

BLOCKS = make_blocks(range(6), 1000)
OTHERS = make_blocks(range(10, 16), 1000)
NONSENSE = [2**62, 2**40, -1, "text", b"blob", 1.5]


@pytest.fixture
def store(reopen: Reopen, upload: Upload) -> tuple[Repo, Record, Record]:
    """A store with two datasets."""
    repo = reopen()
    return repo, upload(repo, BLOCKS, "alice"), upload(repo, OTHERS, "bob")


def damage(tmp_path: Path, sql: str, *values: Any) -> None:
    connection = sqlite3.connect(tmp_path / "repo" / "index.sqlite", isolation_level=None)
    connection.execute(sql, values)
    connection.close()


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("column", ["length", "offset", "segment"])
def test_a_block_whose_place_makes_no_sense_is_corrupt_and_can_be_mended(
    store: tuple[Repo, Record, Record], tmp_path: Path, column: str, value: Any
) -> None:
    repo, record, _ = store
    used = repo.catalogue.space()
    cid = BLOCKS[2].cid
    damage(tmp_path, f"UPDATE blocks SET {column} = ? WHERE cid = ?", value, cid.raw)
    tree = record.manifest.tree_cid
    addresses = [LeafAddress(tree, index) for index in range(6)]
    for asked in ([block.cid for block in BLOCKS], addresses):
        answers = repo.reader.find(asked).answers
        assert isinstance(answers[2], CorruptData)
        assert answers[:2] + answers[3:] == BLOCKS[:2] + BLOCKS[3:]
    run: list[memoryview] = []
    fed = read_alone(Stretch(repo.reader, tree, 0, 6, 64, lambda view: run.append(view) is None))
    assert isinstance(fed.error, CorruptData)
    assert b"".join(run) == b"".join([block.data for block in BLOCKS[:2]])
    assert cid in repo.scrubber.blocks(0).corrupt
    repo.catalogue.recount()
    repo.mark_bad(fed.rotten)
    assert repo.reader.find([block.cid for block in OTHERS]).answers == OTHERS
    assert repo.take_in([Put(BLOCKS, 1e12)]) == [None]
    assert repo.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    assert repo.catalogue.space() == used
    repo.close()


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("column", ["length", "offset", "segment"])
def test_a_dataset_with_such_a_block_can_be_deleted(
    store: tuple[Repo, Record, Record],
    tmp_path: Path,
    clear: Callable[[Repo], None],
    reopen: Reopen,
    column: str,
    value: Any,
) -> None:
    repo, record, other = store
    damage(tmp_path, f"UPDATE blocks SET {column} = ? WHERE cid = ?", value, BLOCKS[2].cid.raw)
    assert repo.drop_dataset(record.cid) is not None
    clear(repo)
    while repo.compact():
        pass
    assert repo.reader.find([block.cid for block in OTHERS]).answers == OTHERS
    repo.correct(repo.catalogue.recount())
    assert repo.catalogue.space().total_blocks == 7
    assert repo.catalogue.space().quota_used == 6000 + len(other.data)
    repo.close()


@pytest.mark.parametrize("value", NONSENSE)
@pytest.mark.parametrize("column", ["length", "offset"])
def test_compaction_cuts_nothing_by_such_a_row(
    store: tuple[Repo, Record, Record], tmp_path: Path, clear: Callable[[Repo], None], column: str, value: Any
) -> None:
    repo, record, _ = store
    repo.drop_dataset(record.cid)
    clear(repo)
    kept = [OTHERS[0], OTHERS[1], OTHERS[3]]
    damage(tmp_path, f"UPDATE blocks SET {column} = ? WHERE cid = ?", value, OTHERS[2].cid.raw)
    while repo.compact():
        pass
    assert repo.reader.find([block.cid for block in kept]).answers == kept
    repo.close()


@pytest.mark.parametrize("value", [b"", b"no CID", bytes(300), "text", 7])
def test_a_block_whose_name_makes_no_sense_is_corrupt(
    store: tuple[Repo, Record, Record], tmp_path: Path, value: Any
) -> None:
    repo, record, _ = store
    damage(tmp_path, "UPDATE blocks SET cid = ? WHERE cid = ?", value, BLOCKS[2].cid.raw)
    tree = record.manifest.tree_cid
    found = repo.reader.find([LeafAddress(tree, index) for index in range(6)])
    with pytest.raises(CorruptData):
        blocks_of(found, [LeafAddress(tree, index) for index in range(6)])
    assert found.answers[3:] == BLOCKS[3:]
    proved = repo.reader.find_leaves(tree, range(6)).answers
    assert [answer and answer.block for answer in proved] == [*BLOCKS[:2], None, *BLOCKS[3:]]
    assert isinstance(read_alone(Stretch(repo.reader, tree, 0, 6, 64, lambda _: True)).error, CorruptData)
    with pytest.raises(CorruptData):
        repo.catalogue.leaves(tree, 0, 6)
    with pytest.raises(CorruptData):
        repo.scrubber.leaves(tree, 0, 6)
    with pytest.raises(CorruptData):
        repo.scrubber.root(tree)
    scrubbed = repo.scrubber.blocks(0)
    assert len(scrubbed.corrupt) == 1
    assert str(scrubbed.corrupt[0])
    assert repo.reader.find([block.cid for block in OTHERS]).answers == OTHERS
    repo.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("data", 5), ("data", None), ("data", "text"), ("data", b""), ("cid", b"no CID")],
)
def test_a_manifest_that_makes_no_sense_hides_no_other(
    store: tuple[Repo, Record, Record], tmp_path: Path, column: str, value: Any
) -> None:
    repo, record, other = store
    if value is None:
        value = bytes(100)
    damage(tmp_path, f"UPDATE manifests SET {column} = ? WHERE cid = ?", value, record.cid.raw)
    assert repo.catalogue.manifests(None, 10) == [(other.cid, other.manifest)]
    with pytest.raises(CodexError) as caught:
        repo.catalogue.manifest(record.cid)
    assert caught.value.code in ("corrupt-data", "block-not-found")
    assert not isinstance(repo.reader.find([record.cid]).answers[0], Block)
    assert len(repo.scrubber.manifests(None)[0].lost) == 1
    repo.close()


def test_counters_that_are_gone_are_told(
    store: tuple[Repo, Record, Record], tmp_path: Path, reopen: Reopen
) -> None:
    repo, record, _ = store
    damage(tmp_path, "DELETE FROM totals")
    for work in (repo.catalogue.space, repo.catalogue.recount, repo.scrubber.total):
        with pytest.raises(CorruptData) as caught:
            work()
        assert caught.value.remedy
    (verdict,) = repo.take_in([Put(make_blocks([99]), 5.0)])
    assert isinstance(verdict, CorruptData)
    assert repo.catalogue.manifest(record.cid) == record.manifest
    repo.abandon()
    for _ in range(2):
        with pytest.raises(CorruptData) as caught:
            reopen()
        assert caught.value.remedy


@pytest.mark.parametrize("table", ["totals", "segments", "blocks", "leaves", "manifests", "trees"])
def test_a_table_that_is_gone_is_told(
    store: tuple[Repo, Record, Record], tmp_path: Path, reopen: Reopen, table: str
) -> None:
    repo = store[0]
    damage(tmp_path, f"DROP TABLE {table}")
    with pytest.raises(CorruptData, match=table):
        repo.catalogue.recount()
    repo.abandon()
    with pytest.raises(CorruptData, match=table) as caught:
        reopen()
    assert caught.value.remedy


@pytest.mark.parametrize("column", ["length", "state"])
def test_a_segment_that_makes_no_sense_is_told_at_the_start(
    store: tuple[Repo, Record, Record], tmp_path: Path, reopen: Reopen, column: str
) -> None:
    store[0].close()
    damage(tmp_path, f"UPDATE segments SET {column} = 'text'")
    with pytest.raises(CorruptData) as caught:
        reopen()
    assert caught.value.remedy


def test_what_is_nonsense_and_what_is_a_mistake() -> None:
    connection = sqlite3.connect(":memory:")
    for sql in ("SELECT * FROM nowhere", "SELECT sum(x) FROM (SELECT 9223372036854775807 x UNION SELECT 5)"):
        with pytest.raises(CorruptData, match="could not count") as caught, sensible("count"):
            connection.execute(sql).fetchall()
        assert caught.value.remedy
    with pytest.raises(sqlite3.OperationalError, match="syntax"), sensible("count"):
        connection.execute("SELECT * FORM nowhere")
    with pytest.raises(ZeroDivisionError), sensible("count"):
        raise ZeroDivisionError
    connection.close()


def test_what_may_stand_in_a_row() -> None:
    assert is_place(1, 0, LARGEST_BLOCK)
    assert not is_place(1, 0, LARGEST_BLOCK + 1)
    assert not is_place(True, 0, 0)
    assert is_cid(BLOCKS[0].cid.raw)
    assert stored_cid(BLOCKS[0].cid.raw) == BLOCKS[0].cid
    for raw in (None, b"", BLOCKS[0].cid.raw + b"x", "text"):
        assert not is_cid(raw)
        with pytest.raises(CorruptData):
            stored_cid(raw)
    assert is_cid(Cid.parse("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").raw)


async def test_a_store_that_runs_goes_on(tmp_path: Path) -> None:
    async with open_test_store(tmp_path) as store:
        record = await store_dataset(store, BLOCKS, "alice")
        other = await store_dataset(store, OTHERS, "bob")
        damage(tmp_path, "UPDATE manifests SET data = 5 WHERE cid = ?", record.raw)
        damage(tmp_path, "UPDATE blocks SET length = ? WHERE cid = ?", 2**62, BLOCKS[0].cid.raw)
        damage(tmp_path, "UPDATE blocks SET cid = 'text' WHERE cid = ?", BLOCKS[1].cid.raw)
        damage(tmp_path, "DELETE FROM totals")
        for address in (BLOCKS[0].cid, record):
            with pytest.raises(CorruptData):
                await store.get_many([address])
        for work in (store.space, store.maintain):
            with suppress(CorruptData):
                await work()
        assert [cid for cid, _ in await store.manifests()] == [other]
        assert await store.get_many([block.cid for block in OTHERS]) == OTHERS
