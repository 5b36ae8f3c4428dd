"""The nodes of trees on disk: every leaf can be proved, also when its neighbours are gone."""

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from codex.codec import Cid
from codex.data import Block, MerkleTree
from codex.errors import CorruptData, IndexDamaged, InvalidInput
from codex.store import Hold, Leaf
from codex.store.manifests import Record, record_of
from codex.store.planning import Stage
from codex.store.reads import FoundLeaves
from codex.store.repo import Repo
from codex.store.trees import page_count
from codex.testing.stores import make_blocks, make_dataset

Upload = Callable[..., Record]


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 513, 700])
def test_every_leaf_can_be_proved(repo: Repo, upload: Upload, count: int) -> None:
    blocks = make_blocks(range(count), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    leaves = repo.catalogue.leaves(tree.root_cid, 0, count + 5)
    assert [leaf.index for leaf in leaves] == list(range(count))
    assert [leaf.cid for leaf in leaves] == [block.cid for block in blocks]
    assert [leaf.proof for leaf in leaves] == [tree.proof(index) for index in range(count)]


@given(st.integers(1, 700), st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_run_of_leaves(repo: Repo, upload: Upload, count: int, data: st.DataObject) -> None:
    blocks = make_blocks(range(1000, 1000 + count), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    first = data.draw(st.integers(0, count))
    length = data.draw(st.integers(0, 10))
    leaves = repo.catalogue.leaves(tree.root_cid, first, length)
    expected = range(first, min(first + length, count))
    assert [leaf.proof for leaf in leaves] == [tree.proof(index) for index in expected]


@given(st.integers(1, 700), st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_leaves_are_proved_in_the_form_that_is_sent(
    repo: Repo, upload: Upload, count: int, data: st.DataObject
) -> None:
    blocks = make_blocks(range(1000, 1000 + count), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    indices = data.draw(st.lists(st.integers(0, count + 20), max_size=20))
    found = repo.reader.find_leaves(tree.root_cid, indices)
    assert found.rotten == ()
    assert found.answers == [
        (blocks[index], tree.proof(index).to_bytes()) if index < count else None for index in indices
    ]


def test_proofs_that_came_from_the_network_stand_beside_those_that_follow(repo: Repo, upload: Upload) -> None:
    blocks = make_blocks(range(20), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    usual, odd = tree.proof(4).to_bytes(), tree.proof(7).to_bytes() + b"\x28\x00"
    with repo._ledger.change("keep proofs") as change:
        rows = [(usual, 4), (odd, 7)]
        change.tx.executemany("UPDATE leaves SET proof = ? WHERE idx = ?", rows)
    found = repo.reader.find_leaves(tree.root_cid, range(20))
    assert found.answers == [(blocks[index], tree.proof(index).to_bytes()) for index in range(20)]
    with repo._ledger.change("damage") as change:
        change.tx.execute("UPDATE leaves SET proof = x'1234' WHERE idx = 4")
    with pytest.raises(CorruptData):
        repo.reader.find_leaves(tree.root_cid, [4])
    assert repo.reader.find_leaves(tree.root_cid, [3, 5]).answers == [found.answers[3], found.answers[5]]


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        ("UPDATE leaves SET proof = x'1234' WHERE idx = 4", {4}),
        ("UPDATE leaves SET proof = 'text' WHERE idx = 4", {4}),
        ("UPDATE leaves SET proof = 7 WHERE idx IN (4, 9)", {4, 9}),
        ("DELETE FROM tree_nodes WHERE layer = 0 AND page = 1", set(range(256, 512))),
        ("UPDATE tree_nodes SET nodes = x'00' WHERE layer = 1 AND page = 1", set(range(512, 700))),
    ],
)
def test_a_leaf_that_cannot_be_proved_is_left_out_and_no_other(
    repo: Repo, upload: Upload, damage: str, lost: set[int]
) -> None:
    blocks = make_blocks(range(700), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    with repo._ledger.change("damage") as change:
        change.tx.execute(damage)
    found = repo.reader.find_leaves(tree.root_cid, range(700))
    assert {index for index, answer in enumerate(found.answers) if answer is None} == lost
    proved = [(block, tree.proof(index).to_bytes()) for index, block in enumerate(blocks)]
    assert [answer or kept for answer, kept in zip(found.answers, proved, strict=True)] == proved
    assert found.rotten == ()
    assert isinstance(found.unproved, CorruptData)


def test_an_index_without_a_table_is_not_taken_for_damaged_leaves(repo: Repo, upload: Upload) -> None:
    blocks = make_blocks(range(5), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    with repo._ledger.change("damage") as change:
        change.tx.execute("ALTER TABLE tree_nodes RENAME TO lost")
    with pytest.raises(IndexDamaged):
        repo.reader.find_leaves(tree.root_cid, range(5))
    with repo._ledger.change("mend") as change:
        change.tx.execute("ALTER TABLE lost RENAME TO tree_nodes")


def test_a_proof_costs_a_few_rows(repo: Repo, upload: Upload) -> None:
    blocks = make_blocks(range(700), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    assert page_count(tree) == 3 + 2 + 1 * (tree.depth - 1)
    with repo.catalogue._readers.borrow() as connection:
        (rows, longest) = connection.execute("SELECT count(*), max(length(nodes)) FROM tree_nodes").fetchone()
    assert rows == page_count(tree)
    assert longest == 8192


def test_nodes_may_come_ahead_of_the_commit_and_twice(repo: Repo) -> None:
    blocks = make_blocks(range(700), 8)
    tree, manifest = make_dataset(blocks)
    ingest = repo.begin()
    repo.take_in([Stage(ingest, 0, blocks)])
    repo.add_nodes(ingest, tree, 0, 4)
    repo.add_nodes(ingest, tree, 2, 2)
    repo.commit(ingest, tree, record_of(Block(manifest.cid, manifest.to_bytes())), 1e12, 4)
    leaves = repo.catalogue.leaves(tree.root_cid, 0, 700)
    assert [leaf.proof for leaf in leaves] == [tree.proof(index) for index in range(700)]


def test_nodes_go_with_their_tree(repo: Repo, upload: Upload, clear: Callable[[Repo], None]) -> None:
    blocks = make_blocks(range(700), 8)
    tree, _ = make_dataset(blocks)
    record = upload(repo, blocks)
    repo.hold(Hold("slot", "a", tree.root_cid, 300, 1, 1e12))
    repo.drop_dataset(record.cid)
    clear(repo)
    assert [leaf.proof for leaf in repo.catalogue.leaves(tree.root_cid, 0, 700)] == [tree.proof(300)]
    repo.drop_hold("slot", "a")
    clear(repo)
    with repo.catalogue._readers.borrow() as connection:
        for table in ("tree_nodes", "trees", "leaves", "blocks"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_staged_leaves_must_be_those_of_the_tree(repo: Repo) -> None:
    blocks = make_blocks(range(5), 8)
    ingest = repo.begin()
    repo.take_in([Stage(ingest, 0, [*blocks, Block.of(b"")])])
    good, _ = make_dataset([*blocks, Block.of(b"")])
    repo.catalogue.check_staged(ingest, good)
    others = [
        blocks,
        [*blocks, blocks[0]],
        [*blocks[::-1], Block.of(b"")],
        [*blocks, Block.of(b""), blocks[0]],
    ]
    for other in others:
        with pytest.raises(InvalidInput):
            repo.catalogue.check_staged(ingest, make_dataset(other)[0])
    with pytest.raises(InvalidInput):
        repo.catalogue.check_staged(99, good)


def test_a_gap_among_the_staged_leaves_is_found(repo: Repo) -> None:
    blocks = make_blocks(range(4), 8)
    ingest = repo.begin()
    repo.take_in([Stage(ingest, 0, blocks[:2]), Stage(ingest, 3, blocks[3:])])
    with pytest.raises(InvalidInput):
        repo.catalogue.check_staged(ingest, make_dataset(blocks)[0])


def leaves_of(repo: Repo, tree: Cid) -> list[Leaf]:
    return repo.catalogue.leaves(tree, 0, 5)


def found_in(repo: Repo, tree: Cid) -> FoundLeaves:
    return repo.reader.find_leaves(tree, range(5))


@pytest.mark.parametrize("look", [leaves_of, found_in])
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tree_nodes SET nodes = x'00' WHERE layer = 1",
        "UPDATE tree_nodes SET nodes = nodes || nodes WHERE layer = 1",
        "UPDATE tree_nodes SET nodes = 'text' WHERE layer = 0",
        "UPDATE tree_nodes SET nodes = printf('%0160d', 0) WHERE layer = 0",
        "DELETE FROM tree_nodes WHERE layer = 1",
        "UPDATE trees SET size = 4",
        "UPDATE trees SET size = 2305843009213693952",
        "UPDATE trees SET size = -5",
        "UPDATE trees SET size = 'text'",
        "UPDATE trees SET size = 7.5",
        "UPDATE trees SET size = NULL",
    ],
)
def test_lost_nodes_are_damage(
    repo: Repo, upload: Upload, damage: str, look: Callable[[Repo, Cid], object]
) -> None:
    blocks = make_blocks(range(5), 8)
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    with repo._ledger.change("damage") as change:
        change.tx.execute(damage)
    with pytest.raises(CorruptData):
        look(repo, tree.root_cid)


def test_no_tree_has_no_leaves(repo: Repo) -> None:
    nobody = MerkleTree.of([bytes(32)]).root_cid
    assert repo.catalogue.leaves(nobody, 0, 5) == []
    assert repo.reader.find_leaves(nobody, [0, 5]).answers == [None, None]
