"""Looking at everything: what is wrong is found, and only that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codex.codec import Cid, root_cid
from codex.data import Block
from codex.store.manifests import Record
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.stores import make_blocks, make_dataset

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(600), 16)
TREE, _ = make_dataset(BLOCKS)


@pytest.fixture
def damaged(repo: Repo, upload: Upload, tmp_path: Path) -> list[Block]:
    """A dataset with two damaged blocks."""
    upload(repo, BLOCKS)
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    content = bytearray(path.read_bytes())
    for number in (3, 400):
        content[number * 16] ^= 1
    path.write_bytes(content)
    return [BLOCKS[3], BLOCKS[400]]


def scrub(repo: Repo) -> tuple[int, list[Cid], list[int]]:
    """Bytes, corrupt blocks and rotten rows of a whole scrub of blocks."""
    size, corrupt, rotten = 0, [], []
    after: int | None = 0
    while after is not None:
        step = repo.scrubber.blocks(after)
        after = step.next
        size += step.bytes
        corrupt += step.corrupt
        rotten += step.rotten
    return size, corrupt, rotten


def test_a_scrub_reads_every_block_once(repo: Repo, damaged: list[Block]) -> None:
    size, corrupt, rotten = scrub(repo)
    assert size == 16 * 600
    assert corrupt == [block.cid for block in damaged]
    assert len(rotten) == 2
    repo.mark_bad(rotten)
    assert scrub(repo) == (16 * 600, corrupt, [])
    assert repo.scrubber.total() == repo.catalogue.space().quota_used


def test_a_scrub_leaves_ingests_alone(repo: Repo) -> None:
    repo.take_in([Put(BLOCKS[:5], 5.0), Stage(repo.begin(), 0, BLOCKS[5:10])])
    assert scrub(repo) == (16 * 5, [], [])


def test_an_empty_store_is_scrubbed_at_once(repo: Repo) -> None:
    assert scrub(repo) == (0, [], [])
    damage, last = repo.scrubber.manifests(None)
    assert (damage.bytes, damage.mended, damage.lost, last) == (0, (), (), None)


def test_a_dataset_is_checked_leaf_by_leaf(repo: Repo, damaged: list[Block]) -> None:
    checked = repo.scrubber.leaves(TREE.root_cid, 0, 256)
    assert checked.bytes == 16 * 255
    assert checked.corrupt == (damaged[0].cid,)
    assert checked.missing == ()
    repo.mark_bad(checked.rotten)
    checked = repo.scrubber.leaves(TREE.root_cid, 390, 256)
    assert checked.corrupt == (damaged[1].cid,)
    assert checked.missing == tuple(range(600, 646))
    repo.mark_bad(checked.rotten)


def test_leaves_of_a_tree_that_is_not_here_are_missing(repo: Repo) -> None:
    assert repo.scrubber.leaves(root_cid(bytes(32)), 5, 2).missing == (5, 6)
    assert repo.scrubber.root(root_cid(bytes(32))) is None


def test_the_root_is_that_of_the_leaves_that_are_here(repo: Repo, upload: Upload) -> None:
    blocks = [*BLOCKS[:5], Block.of(b"")]
    tree, _ = make_dataset(blocks)
    upload(repo, blocks)
    assert repo.scrubber.root(tree.root_cid) == tree.root_cid
    with repo._ledger.change("damage") as change:
        change.tx.execute("UPDATE leaves SET block = 1 WHERE idx = 1")
        change.tx.execute("UPDATE blocks SET refs = refs + 1 WHERE id = 1")
        change.tx.execute("UPDATE blocks SET refs = refs - 1 WHERE id = 2")
    assert repo.scrubber.root(tree.root_cid) != tree.root_cid
