"""Leaves that were computed: hidden until they are proved, part of the tree then, and else gone."""

import pytest

from codex.codec.cid import EMPTY_BLOCK
from codex.data import Block
from codex.data.runs import Witness
from codex.errors import InvalidInput, NotADataset
from codex.node import Node
from codex.node.restoring import consecutive, open_restoration
from codex.runtime.threads import Inline
from codex.testing.content import noise
from codex.testing.nodes import holdings, store_of
from codex.testing.rows import protect
from codex.testing.stores import audit

DATASET = protect(noise(18 * 64), 4, 2, 64)  # steps of 5, two leaves of padding: 18 and 19
TREE, TOTAL = DATASET.tree.root_cid, DATASET.layout.total


def witnesses(*indices: int) -> list[Witness]:
    return [(index, DATASET.blocks[index].cid.digest, DATASET.tree.proof(index)) for index in indices]


async def test_a_proved_run_becomes_leaves(node: Node) -> None:
    store = store_of(node)
    await DATASET.keep(store, [])
    async with open_restoration(store, Inline(), TREE, TOTAL, range(14, 22)) as made:
        await made.add({index: DATASET.blocks[index] for index in (17, 18, 19, 14)})
        await made.add({index: DATASET.blocks[index] for index in (15, 16)})
        made.widen(range(13, 23))
        for index in (13, 20, 21, 22):
            made.note(index, DATASET.blocks[index].cid)
        assert await store.leaves(TREE, 0, TOTAL) == []
        proven = await made.prove(witnesses(12, 23))
        await made.adopt(proven, range(14, 20))
        assert await store.leaves(TREE, 0, TOTAL) == [DATASET.leaf(index) for index in range(14, 20)]
    assert await store.leaves(TREE, 0, TOTAL) == [DATASET.leaf(index) for index in range(14, 20)]
    assert DATASET.blocks[18].cid == EMPTY_BLOCK
    await store.maintain()
    assert (await store.space()).total_blocks == 5
    audit(node.config.data_dir / "repo")


async def test_what_is_not_the_trees_is_given_up(node: Node) -> None:
    store = store_of(node)
    await DATASET.keep(store, [])
    before = await holdings(node)

    async def restore(wrong: int, *others: int) -> None:
        async with open_restoration(store, Inline(), TREE, TOTAL, range(5, 10)) as made:
            blocks = {index: DATASET.blocks[index] for index in range(5, 10)}
            blocks[7] = Block.of(bytes(64)) if wrong else blocks[7]
            await made.add(blocks)
            assert (await store.space()).quota_used > before[0].quota_used
            await made.adopt(await made.prove(witnesses(*others)), range(5, 10))

    with pytest.raises(NotADataset, match=r"leaves 5 to 9 of the dataset .* do not belong together"):
        await restore(1, 4, 10)
    with pytest.raises(InvalidInput, match="no witness"):
        await restore(0, 4)
    await store.maintain()
    assert await holdings(node) == before
    await restore(0, 4, 10)
    assert len(await store.leaves(TREE, 0, TOTAL)) == 5


async def test_what_was_deleted_meanwhile_does_not_come_back(node: Node) -> None:
    store = store_of(node)
    await DATASET.keep(store, [4, 10])
    async with open_restoration(store, Inline(), TREE, TOTAL, range(5, 10)) as made:
        await made.add({index: DATASET.blocks[index] for index in range(5, 10)})
        proven = await made.prove(witnesses(4, 10))
        await node.delete(DATASET.cid)
        await made.adopt(proven, range(5, 10))
    await store.maintain()
    assert (await store.space()).quota_used == 0
    audit(node.config.data_dir / "repo")


def test_runs_of_what_is_consecutive() -> None:
    blocks = {index: DATASET.blocks[index] for index in (4, 9, 3, 5, 0)}
    assert list(consecutive(blocks)) == [
        (0, [DATASET.blocks[0]]),
        (3, list(DATASET.blocks[3:6])),
        (9, [DATASET.blocks[9]]),
    ]
    assert list(consecutive({})) == []
