"""What requests are refused for, and that a refused one leaves no trace in its group."""

from collections.abc import Callable

import pytest

from codex.codec import block_cid
from codex.data import Block
from codex.errors import BlockNotFound, InvalidInput, QuotaExceeded
from codex.store import Leaf
from codex.store.planning import Put, PutLeaves, Request, Stage, payload_bytes
from codex.store.repo import Repo
from codex.testing.stores import make_blocks, make_dataset

BLOCKS = make_blocks(range(8), 1000)
TREE, _ = make_dataset(BLOCKS)
EMPTY = Block.of(b"")


def leaf(n: int, proved: int | None = None) -> Leaf:
    return Leaf(n, BLOCKS[n].cid, TREE.proof(n if proved is None else proved))


def refusal(repo: Repo, request: Request) -> type | None:
    """Which error a request gets, in a group with another one that must be done."""
    other = Block.of(repr(request).encode())
    verdict, none = repo.take_in([request, Put([other], 5.0)])
    assert none is None
    assert repo.reader.has([other.cid]) == [True]
    return None if verdict is None else type(verdict)


def test_the_bytes_of_a_request() -> None:
    assert payload_bytes(Put(BLOCKS[:3], 5.0)) == 3000
    assert payload_bytes(Stage(1, 0, [BLOCKS[0], BLOCKS[1].cid])) == 1000
    assert payload_bytes(PutLeaves(TREE.root_cid, [leaf(1)], BLOCKS[1:2], 5.0)) == 1000


def test_leaves_are_staged_in_any_order_but_only_once(repo: Repo) -> None:
    ingest = repo.begin()
    assert refusal(repo, Stage(ingest, 4, BLOCKS[4:6])) is None
    assert refusal(repo, Stage(ingest, 0, BLOCKS[:2])) is None
    for first, blocks in ((5, BLOCKS[5:8]), (3, BLOCKS[3:8]), (1, BLOCKS[1:2]), (0, BLOCKS)):
        assert refusal(repo, Stage(ingest, first, blocks)) is InvalidInput
    assert refusal(repo, Stage(ingest, 2, BLOCKS[2:4])) is None
    verdicts = repo.take_in([Stage(ingest, 6, BLOCKS[6:]), Stage(ingest, 7, BLOCKS[7:])])
    assert [type(verdict) for verdict in verdicts] == [type(None), InvalidInput]
    repo.abort(ingest)


@pytest.mark.parametrize("first", [-1, 2**62, 2**62 - 1])
def test_leaves_where_no_tree_has_any_are_refused(repo: Repo, first: int) -> None:
    assert refusal(repo, Stage(repo.begin(), first, BLOCKS[:2])) is InvalidInput


def test_a_block_that_is_here_can_be_staged_by_its_name(repo: Repo) -> None:
    mine, other = repo.begin(), repo.begin()
    repo.take_in([Put(BLOCKS[:1], 5.0), Stage(mine, 0, BLOCKS[1:2]), Stage(other, 0, BLOCKS[2:3])])
    assert refusal(repo, Stage(mine, 1, [BLOCKS[0].cid, EMPTY.cid, BLOCKS[1].cid])) is None
    for hidden in (BLOCKS[2].cid, BLOCKS[3].cid):
        assert refusal(repo, Stage(mine, 4, [BLOCKS[0].cid, hidden])) is BlockNotFound


def test_a_damaged_block_cannot_be_staged_by_its_name(repo: Repo) -> None:
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    repo.mark_bad([1])
    assert refusal(repo, Stage(repo.begin(), 0, [BLOCKS[0].cid])) is BlockNotFound


def test_a_leaf_needs_its_block(repo: Repo) -> None:
    assert refusal(repo, PutLeaves(TREE.root_cid, [leaf(0), leaf(1)], BLOCKS[:1], 5.0)) is BlockNotFound
    assert repo.catalogue.leaves(TREE.root_cid, 0, 8) == []
    assert refusal(repo, PutLeaves(TREE.root_cid, [leaf(0), leaf(1)], BLOCKS[:2], 5.0)) is None
    assert refusal(repo, PutLeaves(TREE.root_cid, [leaf(1), leaf(0)], [], 5.0)) is None
    assert len(repo.catalogue.leaves(TREE.root_cid, 0, 8)) == 2


def test_a_leaf_needs_the_proof_of_its_own_place(repo: Repo) -> None:
    assert refusal(repo, PutLeaves(TREE.root_cid, [leaf(1, proved=0)], BLOCKS[1:2], 5.0)) is InvalidInput


def test_a_leaf_may_have_a_block_that_is_staged_in_its_own_ingest(repo: Repo) -> None:
    mine, other = repo.begin(), repo.begin()
    repo.take_in([Stage(mine, 0, BLOCKS[:2]), Stage(other, 0, BLOCKS[2:3])])
    leaves = [leaf(0), leaf(1)]
    assert refusal(repo, PutLeaves(TREE.root_cid, leaves, [], 5.0)) is BlockNotFound
    assert refusal(repo, PutLeaves(TREE.root_cid, leaves, [], 5.0, ingest=other)) is BlockNotFound
    assert refusal(repo, PutLeaves(TREE.root_cid, [leaf(2)], [], 5.0, ingest=mine)) is BlockNotFound
    assert refusal(repo, PutLeaves(TREE.root_cid, leaves, [], 5.0, ingest=mine)) is None
    repo.abort(mine)
    assert repo.catalogue.leaves(TREE.root_cid, 0, 8) == leaves
    assert repo.reader.has([block.cid for block in BLOCKS[:3]]) == [True, True, False]


def test_the_first_leaf_at_a_place_stays(repo: Repo) -> None:
    impostor = Leaf(0, BLOCKS[1].cid, TREE.proof(0))
    requests = [
        PutLeaves(TREE.root_cid, [leaf(0), impostor], BLOCKS[:2], 5.0),
        PutLeaves(TREE.root_cid, [impostor], BLOCKS[1:2], 5.0),
    ]
    assert repo.take_in(requests) == [None, None]
    assert repo.take_in(requests[1:]) == [None]
    assert repo.catalogue.leaves(TREE.root_cid, 0, 8) == [leaf(0)]


def test_an_unknown_reservation_is_refused(repo: Repo) -> None:
    assert refusal(repo, Put(BLOCKS[:1], 5.0, 77)) is InvalidInput
    assert refusal(repo, PutLeaves(TREE.root_cid, [leaf(0)], BLOCKS[:1], 5.0, 77)) is InvalidInput


def test_what_is_left_over_counts_again_when_somebody_wants_it(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=2500)
    ingest = repo.begin()
    repo.take_in([Stage(ingest, 0, BLOCKS[:2])])
    repo.abort(ingest)
    assert repo.take_in([Put(BLOCKS[2:4], 5.0)]) == [None]
    (verdict,) = repo.take_in([Put(BLOCKS[:1], 5.0)])
    assert isinstance(verdict, QuotaExceeded)
    (verdict,) = repo.take_in([Stage(repo.begin(), 0, BLOCKS[:1])])
    assert isinstance(verdict, QuotaExceeded)
    assert repo.delete_block(BLOCKS[3].cid)
    assert repo.take_in([Put(BLOCKS[:1], 5.0)]) == [None]
    repo.close()


def test_blocks_and_leaves_of_nothing_are_nothing(repo: Repo) -> None:
    ingest = repo.begin()
    for request in (Put([], 5.0), Stage(ingest, 0, []), PutLeaves(TREE.root_cid, [], [], 5.0)):
        assert refusal(repo, request) is None
    assert refusal(repo, Stage(ingest, 0, [block_cid(bytes(32))])) is BlockNotFound
