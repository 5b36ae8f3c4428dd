"""A row on its way to being a slot: from what is here and from other rows, with every root computed."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from attrs import evolve

from codex.codec import Cid
from codex.codec.cid import EMPTY_BLOCK
from codex.data import BLOCK_SIZE, Block, MerkleTree
from codex.errors import InvalidInput, NotADataset
from codex.node import Node
from codex.node.filling import Filling, root_of, row_of
from codex.slots import SlotTree
from codex.store import Leaf
from codex.testing.content import noise
from codex.testing.nodes import holdings, store_of
from codex.testing.rows import Protected, protect

SIZE = 256
DATASET = protect(noise(22 * SIZE), 4, 2, SIZE, cell_size=64)  # steps of 6: two blocks of padding in row 3
MANIFEST = DATASET.manifest


async def fill(
    node: Node, slot: int, cores: int = 1, dataset: Protected = DATASET
) -> tuple[SlotTree, list[Block]]:
    """Fill a slot from what is on the node; its tree, and the blocks that were told of."""
    parts = node._running
    told: list[Block] = []
    mender = parts.mending.mender(dataset.manifest, None, keep=False)
    filling = Filling(parts.store, parts.offload, mender, slot, cores=cores, told=told.extend)
    tree = await filling.run(None, repair=False)
    return tree, told


async def here(node: Node, dataset: Protected = DATASET) -> set[int]:
    leaves = await store_of(node).leaves(dataset.manifest.tree_cid, 0, dataset.layout.total)
    return {leaf.index for leaf in leaves}


@pytest.mark.parametrize("cores", [1, 3])
async def test_a_row_that_is_here_needs_only_its_roots(node: Node, cores: int) -> None:
    await DATASET.keep(store_of(node), range(DATASET.layout.total))
    before = await holdings(node)
    for slot in range(6):
        tree, told = await fill(node, slot, cores)
        assert tree.cid == root_of(MANIFEST, slot)
        assert told == [DATASET.blocks[index] for index in row_of(MANIFEST, slot)]
        assert await store_of(node).get_slot_tree(tree.cid) == tree.to_bytes()
    assert await holdings(node) == before


@pytest.mark.parametrize("lost", [(2, 3), (3, 4), (0, 1), (4, 5), (1, 3)])
async def test_of_several_lost_rows_only_one_is_made(node: Node, lost: tuple[int, int]) -> None:
    others = set(DATASET.others(DATASET.leaves(*lost)))
    await DATASET.keep(store_of(node), others)
    tree, told = await fill(node, lost[0])
    assert tree.cid == root_of(MANIFEST, lost[0])
    assert len(told) == 6
    assert await here(node) == others | DATASET.leaves(lost[0])


async def test_a_part_of_a_row_is_enough_to_begin_with(node: Node) -> None:
    row = DATASET.layout.row(3)
    lost = {row.start, row.start + 2, *DATASET.layout.padding, *DATASET.leaves(4)}
    await DATASET.keep(store_of(node), DATASET.others(lost))
    tree, told = await fill(node, 3)
    assert tree.cid == root_of(MANIFEST, 3)
    assert sorted(block.cid.raw for block in told) == sorted(DATASET.blocks[index].cid.raw for index in row)
    assert [block.cid for block in told].count(EMPTY_BLOCK) == 2
    assert await here(node) == set(DATASET.others(DATASET.leaves(4)))


@pytest.mark.parametrize("missing", [(), (12,), (11, 12)])
async def test_a_row_that_is_here_but_for_its_padding(node: Node, missing: tuple[int, ...]) -> None:
    # Whoever gets a row from others gets no padding, and no proof of it, as that has no block to send. Here
    # the proof of the row's first leaf does not tell what is beside its last one.
    dataset = protect(noise(17 * SIZE), 3, 2, SIZE, cell_size=64)
    row = row_of(dataset.manifest, 2)
    assert list(dataset.layout.padding) == [row.stop - 1]
    await dataset.keep(store_of(node), dataset.others({*missing, *dataset.layout.padding}))
    tree, told = await fill(node, 2, dataset=dataset)
    assert tree.cid == root_of(dataset.manifest, 2)
    assert [block.cid for block in told].count(EMPTY_BLOCK) == 1
    assert await here(node, dataset) == set(range(dataset.layout.total)) - (set(missing) - set(row))


def test_what_has_no_slots_has_no_rows_to_fill() -> None:
    with pytest.raises(InvalidInput, match="not verifiable"):
        row_of(protect(noise(5 * SIZE), 2, 1, SIZE).manifest, 0)
    with pytest.raises(InvalidInput, match="6 slots and none at 6"):
        row_of(MANIFEST, 6)
    assert [row_of(MANIFEST, slot) for slot in range(6)] == [DATASET.layout.row(slot) for slot in range(6)]


async def test_a_row_that_gives_another_root_is_told(node: Node) -> None:
    other = protect(noise(22 * SIZE, "other"), 4, 2, SIZE, cell_size=64)
    assert other.manifest.protection is not None
    assert MANIFEST.protection is not None
    swapped = evolve(MANIFEST.protection, verification=other.manifest.protection.verification)
    liar = evolve(DATASET, manifest=evolve(MANIFEST, protection=swapped))
    await liar.keep(store_of(node), DATASET.others(DATASET.leaves(1)))
    before = await holdings(node)
    for slot in (0, 1):
        with pytest.raises(NotADataset, match="has the root"):
            await fill(node, slot, dataset=liar)
    assert await holdings(node) == before


@pytest.mark.parametrize("cores", [1, 3])
async def test_a_row_of_blocks_of_another_size_is_told_as_the_one_error_it_is(node: Node, cores: int) -> None:
    blocks = [Block.of(noise(SIZE // 2, str(index))) for index in range(DATASET.layout.total)]
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    manifest = evolve(MANIFEST, tree_cid=tree.root_cid)
    odd = evolve(DATASET, manifest=manifest, tree=tree, blocks=tuple(blocks))
    await odd.keep(store_of(node), range(DATASET.layout.total))
    with pytest.raises(NotADataset, match=r"block 6 .* has 128 bytes, and 256 by its manifest"):
        await fill(node, 1, cores, dataset=odd)


async def test_what_is_repaired_is_asked_for_last_itself(node: Node) -> None:
    asked: set[int] = set()

    class Everything:
        @asynccontextmanager
        async def fetch_proved(
            self,
            tree: Cid,
            leaf_count: int,
            indices: Iterable[int],
            *,
            keep: bool = True,
            block_size: int = BLOCK_SIZE,
        ) -> AsyncIterator[AsyncIterator[list[tuple[Leaf, Block]]]]:
            some = list(indices)
            asked.update(some)
            yield self._all(some)

        async def _all(self, some: list[int]) -> AsyncIterator[list[tuple[Leaf, Block]]]:
            yield [(DATASET.leaf(index), DATASET.blocks[index]) for index in some]

    network, parts = Everything(), node._running
    for slot in (0, 1, 5):
        asked.clear()
        mender = parts.mending.mender(MANIFEST, network, keep=False)
        tree = await Filling(parts.store, parts.offload, mender, slot).run(network, repair=True)
        assert tree.cid == root_of(MANIFEST, slot)
        assert asked
        assert not asked & set(row_of(MANIFEST, slot))
