"""Ingests that share blocks: who owns what, and what counts, when they end in any order."""

from collections.abc import Callable, Iterator
from itertools import permutations, product
from pathlib import Path

import pytest

from codex.data import Block
from codex.errors import BlockNotFound, InvalidInput
from codex.store.manifests import Record, record_of
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.stores import audit, make_blocks, make_dataset

Upload = Callable[..., Record]

SHARED, *OWN = make_blocks(range(5), 1000)


@pytest.fixture
def charged(repo: Repo) -> Callable[[], tuple[int, int]]:
    """Blocks and bytes that count as used."""

    def charged() -> tuple[int, int]:
        space = repo.catalogue.space()
        return space.total_blocks, space.quota_used

    return charged


def stage(repo: Repo, ingest: int, blocks: list[Block], first: int = 0) -> None:
    assert repo.take_in([Stage(ingest, first, blocks)]) == [None]


def finish(repo: Repo, ingest: int, blocks: list[Block]) -> None:
    tree, manifest = make_dataset(blocks, "finished")
    repo.commit(ingest, tree, record_of(Block(manifest.cid, manifest.to_bytes())), 1e12)


def test_nothing_of_an_ingest_is_seen_before_it_is_committed(
    repo: Repo, has: Callable[..., list[bool]]
) -> None:
    ingest = repo.begin()
    stage(repo, ingest, OWN)
    tree, _ = make_dataset(OWN)
    assert has(repo, OWN) == [False] * 4
    assert repo.catalogue.leaves(tree.root_cid, 0, 4) == []
    assert repo.catalogue.space().quota_used == 4000
    with pytest.raises(BlockNotFound):
        repo.extend([OWN[0].cid], 5.0)
    assert repo.delete_block(OWN[0].cid) is False
    finish(repo, ingest, OWN)
    assert has(repo, OWN) == [True] * 4
    assert len(repo.catalogue.leaves(tree.root_cid, 0, 4)) == 4


def test_what_is_aborted_counts_no_more_at_once(
    repo: Repo, charged: Callable[[], tuple[int, int]], clear: Callable[[Repo], None], tmp_path: Path
) -> None:
    ingest = repo.begin()
    stage(repo, ingest, OWN)
    repo.abort(ingest)
    assert charged() == (0, 0)
    audit(tmp_path / "repo")
    clear(repo)
    assert charged() == (0, 0)
    assert list((tmp_path / "repo" / "segments").iterdir()) == []


def test_an_ingest_that_is_not_open_takes_nothing_and_aborting_it_is_harmless(repo: Repo) -> None:
    ingest = repo.begin()
    repo.abort(ingest)
    repo.abort(ingest)
    repo.abort(99)
    for number in (ingest, 99):
        (verdict,) = repo.take_in([Stage(number, 0, OWN)])
        assert isinstance(verdict, InvalidInput)
        with pytest.raises(InvalidInput):
            finish(repo, number, OWN)


def test_aborting_after_the_commit_harms_nothing(repo: Repo, has: Callable[..., list[bool]]) -> None:
    ingest = repo.begin()
    stage(repo, ingest, OWN)
    finish(repo, ingest, OWN)
    repo.abort(ingest)
    assert has(repo, OWN) == [True] * 4


def _orders() -> Iterator[tuple[tuple[int, ...], tuple[bool, ...]]]:
    yield from product(permutations(range(3)), product([True, False], repeat=3))


@pytest.mark.parametrize(("order", "commits"), list(_orders()))
@pytest.mark.parametrize("when", ["at once", "at the end", "newest first"])
def test_three_ingests_share_a_block_and_end_in_any_order(
    repo: Repo,
    charged: Callable[[], tuple[int, int]],
    has: Callable[..., list[bool]],
    tmp_path: Path,
    order: tuple[int, ...],
    commits: tuple[bool, ...],
    when: str,
) -> None:
    contents = [[SHARED, own, SHARED][: 3 - n % 2] for n, own in enumerate(OWN[:3])]
    ingests = [repo.begin() for _ in contents]
    for ingest, blocks in zip(ingests, contents, strict=True):
        stage(repo, ingest, blocks)
    is_open, committed = {0, 1, 2}, set()
    for n in order:
        is_open.discard(n)
        if commits[n]:
            finish(repo, ingests[n], contents[n])
            committed.add(n)
        else:
            repo.abort(ingests[n])
        if when == "at once":
            _sweep(repo, newest=False)
        kept = [SHARED.cid] if is_open | committed else []
        kept += [OWN[k].cid for k in is_open | committed]
        manifests = repo.catalogue.manifests(None, 10)
        used = 1000 * len(kept) + sum(len(manifest.to_bytes()) for _, manifest in manifests)
        assert charged() == (len(kept) + len(manifests), used)
        assert has(repo, [SHARED])[0] == bool(committed)
        audit(tmp_path / "repo")
    _sweep(repo, newest=when == "newest first")
    assert charged()[0] == 2 * len(committed) + bool(committed)
    assert has(repo, OWN[:3]) == [n in committed for n in range(3)]
    audit(tmp_path / "repo")


def _sweep(repo: Repo, newest: bool) -> None:
    """Remove what nothing keeps, one leaf at a time, checking the sums after each."""
    trees = []
    with repo.catalogue._readers.borrow() as connection:
        trees = [
            row[0] for row in connection.execute("SELECT id FROM trees WHERE swept IS NOT NULL ORDER BY id")
        ]
    for tree in reversed(trees) if newest else trees:
        before = repo.catalogue.space()
        while repo.sweep(tree, 0.0, 1):
            assert repo.catalogue.space() == before
            audit(repo.directory)


def test_blocks_of_an_ingest_that_is_left_over_find_a_new_one(
    repo: Repo, charged: Callable[[], tuple[int, int]], clear: Callable[[Repo], None], tmp_path: Path
) -> None:
    first = repo.begin()
    stage(repo, first, [SHARED, SHARED, OWN[0]])
    repo.abort(first)
    second = repo.begin()
    stage(repo, second, [SHARED, OWN[1]])
    assert charged() == (2, 2000)
    audit(tmp_path / "repo")
    clear(repo)
    assert charged() == (2, 2000)
    finish(repo, second, [SHARED, OWN[1]])
    assert charged()[0] == 3


def test_a_put_makes_a_staged_block_everybodys(
    repo: Repo, charged: Callable[[], tuple[int, int]], has: Callable[..., list[bool]]
) -> None:
    ingest = repo.begin()
    stage(repo, ingest, [SHARED, OWN[0]])
    assert repo.take_in([Put([SHARED], 5.0)]) == [None]
    assert has(repo, [SHARED, OWN[0]]) == [True, False]
    assert charged() == (2, 2000)
    repo.abort(ingest)
    assert charged() == (1, 1000)
    assert has(repo, [SHARED, OWN[0]]) == [True, False]


def test_ingests_that_meet_in_one_flush(
    repo: Repo, charged: Callable[[], tuple[int, int]], clear: Callable[[Repo], None], tmp_path: Path
) -> None:
    old, one, two = repo.begin(), repo.begin(), repo.begin()
    stage(repo, old, [SHARED, SHARED])
    repo.abort(old)
    group = [
        Stage(one, 0, [SHARED, OWN[0], SHARED]),
        Stage(two, 0, [OWN[0], SHARED]),
        Stage(one, 3, [SHARED]),
        Stage(two, 5, [OWN[1]]),
    ]
    assert repo.take_in(group) == [None] * 4
    assert charged() == (3, 3000)
    audit(tmp_path / "repo")
    repo.abort(one)
    assert charged() == (3, 3000)
    clear(repo)
    audit(tmp_path / "repo")
    repo.abort(two)
    assert charged() == (0, 0)
    clear(repo)
    assert repo.catalogue.recount().right


def test_a_crash_gives_up_all_ingests_at_once(
    repo: Repo, reopen: Callable[..., Repo], upload: Upload, has: Callable[..., list[bool]], tmp_path: Path
) -> None:
    upload(repo, [OWN[3], SHARED], "kept")
    used = repo.catalogue.space()
    for blocks in ([SHARED, OWN[0], OWN[1]], [OWN[1], OWN[2], SHARED]):
        stage(repo, repo.begin(), blocks)
    assert repo.catalogue.space().quota_used == used.quota_used + 3000
    repo.abandon()
    again = reopen()
    assert again.catalogue.space() == used
    assert has(again, [SHARED, *OWN]) == [True, False, False, False, True]
    audit(tmp_path / "repo")
    _sweep(again, newest=True)
    assert again.catalogue.space() == used
    again.abandon()
