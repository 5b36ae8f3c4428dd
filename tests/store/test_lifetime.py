"""How long things live: pins, expiries, claims, holds and names that share a tree."""

from collections.abc import Callable

import pytest

from codex.codec import Cid, block_cid, manifest_cid, root_cid
from codex.data import Block
from codex.errors import BlockNotFound, InvalidInput
from codex.store import NEVER, Hold, Leaf
from codex.store.lifetime import MAX_INDEX
from codex.store.manifests import Record
from codex.store.planning import Put, PutLeaves
from codex.store.repo import Repo
from codex.testing.stores import make_blocks, make_dataset

Upload = Callable[..., Record]
Has = Callable[..., list[bool]]

BLOCKS = make_blocks(range(6), 500)
TREE, _ = make_dataset(BLOCKS)
NOW = 1000.0


@pytest.fixture
def pass_time(repo: Repo, clear: Callable[..., None]) -> Callable[[float], None]:
    """Do all maintenance as it is due at a point in time."""

    def pass_time(now: float) -> None:
        while repo.expire(now, 2):
            pass
        clear(repo, now)

    return pass_time


def hold(key: str, first: int, count: int, until: float = NEVER, tree: Cid = TREE.root_cid) -> Hold:
    return Hold("slot", key, tree, first, count, until)


def test_a_block_lives_until_its_expiry_and_longer_when_put_again(
    repo: Repo, has: Has, pass_time: Callable[[float], None]
) -> None:
    repo.take_in([Put(BLOCKS[:3], NOW + 10)])
    repo.take_in([Put(BLOCKS[1:2], NOW + 30)])
    repo.take_in([Put(BLOCKS[1:2], NOW + 20)])
    repo.extend([BLOCKS[2].cid], NOW + 50)
    assert repo.catalogue.expiry(BLOCKS[1].cid) == NOW + 30
    pass_time(NOW + 9)
    assert has(repo, BLOCKS[:3]) == [True] * 3
    pass_time(NOW + 10)
    assert has(repo, BLOCKS[:3]) == [False, True, True]
    pass_time(NOW + 49)
    assert has(repo, BLOCKS[:3]) == [False, False, True]
    pass_time(NOW + 50)
    assert repo.catalogue.space().quota_used == 0


def test_what_never_expires_never_does(repo: Repo, has: Has, pass_time: Callable[[float], None]) -> None:
    repo.take_in([Put(BLOCKS, NEVER)])
    pass_time(1e300)
    assert has(repo, BLOCKS) == [True] * 6
    assert repo.catalogue.expiry(BLOCKS[0].cid) == NEVER


def test_a_dataset_lives_until_its_expiry_unless_it_is_pinned(
    repo: Repo, has: Has, upload: Upload, pass_time: Callable[[float], None]
) -> None:
    cid = upload(repo, BLOCKS, expiry=NOW + 10).cid
    assert repo.catalogue.expiry(cid) == NOW + 10
    assert repo.catalogue.is_pinned(cid) is False
    repo.pin(cid, True)
    assert repo.catalogue.is_pinned(cid) is True
    assert repo.catalogue.expiry(cid) == NEVER
    pass_time(NOW + 100)
    assert has(repo, [cid, *BLOCKS]) == [True] * 7
    repo.pin(cid, False)
    pass_time(NOW + 100)
    assert has(repo, [cid, *BLOCKS]) == [False] * 7
    assert repo.catalogue.space().quota_used == 0


def test_an_expiry_only_grows(repo: Repo, upload: Upload) -> None:
    cid = upload(repo, BLOCKS, expiry=NOW + 50).cid
    repo.extend([cid], NOW + 20)
    assert repo.catalogue.expiry(cid) == NOW + 50
    repo.extend([cid, BLOCKS[0].cid], NOW + 80)
    assert repo.catalogue.expiry(cid) == repo.catalogue.expiry(BLOCKS[0].cid) == NOW + 80


def test_what_has_expired_lives_on_when_it_is_wanted_in_time(
    repo: Repo, has: Has, upload: Upload, pass_time: Callable[[float], None]
) -> None:
    cid = upload(repo, BLOCKS, expiry=NOW + 10).cid
    repo.extend([cid], NOW + 30)
    pass_time(NOW + 20)
    assert has(repo, [cid, *BLOCKS]) == [True] * 7


def test_a_block_of_a_dataset_that_goes_stays_for_its_own_sake(
    repo: Repo, has: Has, upload: Upload, pass_time: Callable[[float], None]
) -> None:
    repo.take_in([Put(BLOCKS[:2], NOW + 30)])
    upload(repo, BLOCKS, expiry=NOW + 10)
    pass_time(NOW + 20)
    assert has(repo, BLOCKS) == [True, True, False, False, False, False]
    pass_time(NOW + 30)
    assert repo.catalogue.space().quota_used == 0


def test_two_names_share_a_tree_and_the_last_takes_it_along(
    repo: Repo, has: Has, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    one, two = upload(repo, BLOCKS, "alice"), upload(repo, BLOCKS, "bob")
    clear(repo)
    assert repo.catalogue.space().total_blocks == 8
    repo.drop_dataset(one.cid)
    clear(repo)
    assert has(repo, [one.cid, two.cid, *BLOCKS]) == [False] + [True] * 7
    repo.drop_dataset(two.cid)
    clear(repo)
    assert repo.catalogue.space().quota_used == 0
    assert repo.drop_dataset(two.cid) is None


def test_datasets_that_share_blocks_do_not_harm_each_other(
    repo: Repo, has: Has, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    one, two = upload(repo, BLOCKS[:4]), upload(repo, [*BLOCKS[2:], BLOCKS[2]])
    repo.drop_dataset(one.cid)
    clear(repo)
    assert has(repo, BLOCKS) == [False, False, True, True, True, True]
    repo.drop_dataset(two.cid)
    clear(repo)
    assert repo.catalogue.space().quota_used == 0


def test_storing_a_dataset_again_keeps_one_copy(
    repo: Repo, has: Has, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    first = upload(repo, BLOCKS, expiry=NOW + 10)
    used = repo.catalogue.space()
    assert upload(repo, BLOCKS, expiry=NOW + 5) == first
    clear(repo)
    assert repo.catalogue.space() == used
    assert repo.catalogue.expiry(first.cid) == NOW + 10
    assert has(repo, [first.cid, *BLOCKS]) == [True] * 7


def test_an_upload_completes_what_came_in_parts_from_the_network(
    repo: Repo, upload: Upload, clear: Callable[[Repo], None], pass_time: Callable[[float], None]
) -> None:
    leaves = [Leaf(2, BLOCKS[2].cid, TREE.proof(2))]
    repo.take_in([PutLeaves(TREE.root_cid, leaves, BLOCKS[2:3], NOW + 50)])
    repo.hold(hold("a", 0, 2))
    record = upload(repo, BLOCKS, expiry=NOW + 10)
    clear(repo)
    assert [leaf.proof for leaf in repo.catalogue.leaves(TREE.root_cid, 0, 9)] == [
        TREE.proof(n) for n in range(6)
    ]
    assert repo.catalogue.expiry(TREE.root_cid) == NOW + 50
    pass_time(NOW + 20)
    assert repo.catalogue.space().total_blocks == 6
    pass_time(NOW + 50)
    assert [leaf.index for leaf in repo.catalogue.leaves(TREE.root_cid, 0, 9)] == [0, 1]
    assert repo.drop_dataset(record.cid) is None


def test_a_hold_keeps_its_leaves_when_the_dataset_is_deleted(
    repo: Repo, has: Has, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    record = upload(repo, BLOCKS)
    repo.hold(hold("a", 1, 2))
    repo.hold(hold("b", 2, 3))
    repo.drop_dataset(record.cid)
    clear(repo)
    assert has(repo, [record.cid, *BLOCKS]) == [False, False, True, True, True, True, False]
    assert [leaf.proof for leaf in repo.catalogue.leaves(TREE.root_cid, 0, 9)] == [
        TREE.proof(n) for n in range(1, 5)
    ]
    assert repo.drop_hold("slot", "b")
    clear(repo)
    assert has(repo, BLOCKS) == [False, True, True, False, False, False]
    assert repo.drop_hold("slot", "a")
    assert not repo.drop_hold("slot", "a")
    clear(repo)
    assert repo.catalogue.space().quota_used == 0


def test_a_hold_expires_and_can_be_moved(
    repo: Repo, has: Has, upload: Upload, pass_time: Callable[[float], None]
) -> None:
    record = upload(repo, BLOCKS)
    repo.hold(hold("a", 0, 2, NOW + 10))
    repo.drop_dataset(record.cid)
    repo.hold(hold("a", 1, 2, NOW + 20))
    assert repo.catalogue.holds("slot") == [hold("a", 1, 2, NOW + 20)]
    assert repo.catalogue.holds("other") == []
    pass_time(NOW + 10)
    assert has(repo, BLOCKS) == [False, True, True, False, False, False]
    pass_time(NOW + 20)
    assert repo.catalogue.space().quota_used == 0
    assert repo.catalogue.holds("slot") == []


def test_a_hold_may_come_before_its_leaves(repo: Repo, has: Has, pass_time: Callable[[float], None]) -> None:
    repo.hold(hold("a", 3, 2))
    pass_time(NOW)
    leaves = [Leaf(n, BLOCKS[n].cid, TREE.proof(n)) for n in range(2, 5)]
    assert repo.take_in([PutLeaves(TREE.root_cid, leaves, BLOCKS[2:5], NOW + 10)]) == [None]
    pass_time(NOW + 10)
    assert has(repo, BLOCKS) == [False, False, False, True, True, False]


def test_moving_a_hold_to_another_tree_lets_the_first_go(
    repo: Repo, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    record = upload(repo, BLOCKS)
    other, _ = make_dataset(BLOCKS[:2])
    repo.hold(hold("a", 0, 6))
    repo.drop_dataset(record.cid)
    repo.hold(hold("a", 0, 2, tree=other.root_cid))
    clear(repo)
    assert repo.catalogue.space().quota_used == 0


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 0), (0, -3), (MAX_INDEX, 1)])
def test_a_hold_of_no_range_is_refused(repo: Repo, first: int, count: int) -> None:
    with pytest.raises(InvalidInput, match="no range"):
        repo.hold(hold("a", first, count))


def test_a_held_tree_comes_whole_again_with_a_manifest(
    repo: Repo, has: Has, upload: Upload, pass_time: Callable[[float], None]
) -> None:
    record = upload(repo, BLOCKS)
    repo.hold(hold("a", 0, 1, NOW + 10))
    repo.drop_dataset(record.cid)
    repo.put_manifest(record, NEVER)
    pass_time(NOW + 20)
    assert has(repo, BLOCKS) == [True] * 6


def test_deleting_a_dataset_also_ends_the_claim_on_its_tree(
    repo: Repo, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    record = upload(repo, BLOCKS)
    repo.extend([TREE.root_cid], NEVER)
    repo.drop_dataset(record.cid)
    clear(repo)
    assert repo.catalogue.space().quota_used == 0


def test_what_is_not_here_can_be_neither_pinned_nor_extended(repo: Repo) -> None:
    for cid in (block_cid(bytes(32)), root_cid(bytes(32)), manifest_cid(b"")):
        with pytest.raises(BlockNotFound):
            repo.extend([cid], NOW)
        with pytest.raises(BlockNotFound):
            repo.catalogue.expiry(cid)
    with pytest.raises(BlockNotFound):
        repo.pin(manifest_cid(b""), True)
    with pytest.raises(BlockNotFound):
        repo.catalogue.is_pinned(manifest_cid(b""))


@pytest.mark.parametrize("until", [0.0, -1.0, float("nan")])
def test_nothing_is_kept_until_a_time_that_is_none(repo: Repo, until: float) -> None:
    repo.take_in([Put(BLOCKS, NOW)])
    with pytest.raises(InvalidInput):
        repo.extend([BLOCKS[0].cid], until)


def test_extending_some_that_are_not_all_here_extends_none(repo: Repo) -> None:
    repo.take_in([Put(BLOCKS[:1], NOW)])
    with pytest.raises(BlockNotFound):
        repo.extend([BLOCKS[0].cid, BLOCKS[1].cid], NOW + 10)
    assert repo.catalogue.expiry(BLOCKS[0].cid) == NOW


def test_an_empty_block_costs_nothing_anywhere(
    repo: Repo, upload: Upload, clear: Callable[[Repo], None]
) -> None:
    empty = Block.of(b"")
    record = upload(repo, [BLOCKS[0], empty, empty])
    assert repo.catalogue.space().total_blocks == 2
    repo.drop_dataset(record.cid)
    clear(repo)
    assert repo.catalogue.space().quota_used == 0
