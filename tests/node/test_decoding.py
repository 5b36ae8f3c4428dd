"""Where there is no room to keep what is recovered, a protected dataset is read all the same."""

from collections.abc import Collection

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.config import StoreConfig
from codex.data import Block, MerkleTree
from codex.errors import BlockNotFound, NotADataset, QuotaExceeded
from codex.node import Node
from codex.node.decoding import decode
from codex.node.mending import Mender
from codex.runtime import Budget
from codex.runtime.threads import Inline
from codex.testing.content import damage, noise
from codex.testing.neighbourhood import open_test_network
from codex.testing.nodes import holdings, open_test_node, store_of
from codex.testing.rows import Protected, protect

SIZE = 256
DATASET = protect(noise(38 * SIZE - 9), 4, 2, SIZE)  # steps of 10; two blocks of padding in row 3


async def fill(node: Node, dataset: Protected, lost: Collection[int]) -> None:
    """Keep the dataset without these leaves, and leave room for nothing else."""
    await dataset.keep(store_of(node), dataset.others(lost))
    await store_of(node).reserve((await node.space()).available, "other")


async def read(node: Node, dataset: Protected, first: int, stop: int, *, local: bool) -> bytes:
    async with node.retrieve(dataset.cid, offset=first, length=stop - first, local=local) as found:
        return await found.read()


@st.composite
def losses(draw: st.DrawFn) -> set[int]:
    """Leaves of which every column has at most M = 2, in rows or here and there."""
    layout = DATASET.layout
    rows = draw(st.lists(st.integers(0, layout.rows - 1), max_size=2, unique=True))
    lost = DATASET.leaves(*rows)
    for column in range(layout.steps):
        left = [index for index in layout.column(column) if index not in lost]
        lost |= set(draw(st.lists(st.sampled_from(left), max_size=2 - len(rows), unique=True)))
    return lost


@settings(max_examples=10, deadline=None)
@given(lost=losses(), data=st.data())
async def test_with_a_full_quota_whatever_can_be_recovered_is_read(
    lost: set[int], data: st.DataObject
) -> None:
    size = len(DATASET.content)
    first, stop = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    async with open_test_node() as node:
        await fill(node, DATASET, lost)
        before = await holdings(node)
        assert await read(node, DATASET, first, stop, local=True) == DATASET.content[first:stop]
        assert await read(node, DATASET, 0, size, local=True) == DATASET.content
        assert await holdings(node) == before


async def test_with_others_to_ask_too() -> None:
    async with open_test_network("alice") as people:
        alice = people["alice"]
        await fill(alice, DATASET, DATASET.leaves(0, 2))
        before = await holdings(alice)
        size = len(DATASET.content)
        assert await read(alice, DATASET, 0, size, local=False) == DATASET.content
        assert await holdings(alice) == before


async def test_where_others_would_have_to_send_it_the_quota_is_the_reason() -> None:
    async with open_test_network("alice") as people:
        await fill(people["alice"], DATASET, DATASET.leaves(0, 1, 2))
        with pytest.raises(QuotaExceeded):
            await read(people["alice"], DATASET, 0, len(DATASET.content), local=False)
        with pytest.raises(BlockNotFound, match="K = 4 of its 6 blocks and has 3"):
            await read(people["alice"], DATASET, 0, len(DATASET.content), local=True)


async def test_damage_is_read_over(node: Node) -> None:
    await fill(node, DATASET, DATASET.leaves(0))
    damage(node.config.data_dir, bytes(DATASET.blocks[15].data))
    assert await read(node, DATASET, 0, len(DATASET.content), local=True) == DATASET.content


async def test_nothing_unproved_is_handed_out(node: Node) -> None:
    blocks = list(DATASET.blocks)
    blocks[45] = Block.of(noise(SIZE, "wrong"))  # in parity, column 5
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    manifest = evolve(DATASET.manifest, tree_cid=tree.root_cid)
    dataset = evolve(DATASET, manifest=manifest, tree=tree, blocks=tuple(blocks))
    await fill(node, dataset, dataset.leaves(1))
    got = bytearray()

    async def gather() -> None:
        async with node.retrieve(dataset.cid, local=True) as found:
            async for piece in found:
                got.extend(piece)

    with pytest.raises(NotADataset, match="leaves 10 to 19"):
        await gather()
    assert bytes(got) == DATASET.content[: 10 * SIZE]


async def test_what_changes_between_is_noticed(node: Node) -> None:
    store = store_of(node)
    blocks = list(DATASET.blocks)
    blocks[45] = Block.of(noise(SIZE, "wrong"))
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    liar = evolve(
        DATASET, manifest=evolve(DATASET.manifest, tree_cid=tree.root_cid), tree=tree, blocks=tuple(blocks)
    )
    await liar.keep(store, liar.others(liar.leaves(1, 4)))
    mender = Mender(store, Inline(), Budget(1 << 20), liar.manifest, None, keep=False)
    decoded = await decode(mender, 13)
    assert decoded.gap == range(10, 20)
    assert await decoded.blocks(12, 17) == list(DATASET.blocks[12:17])
    await liar.put(store, liar.leaves(4))
    damage(node.config.data_dir, bytes(DATASET.blocks[5].data))
    assert await decoded.blocks(12, 15) == list(DATASET.blocks[12:15])
    with pytest.raises(NotADataset, match="leaf 15 "):
        await decoded.blocks(15, 17)


async def test_a_gap_is_gone_through_in_parts() -> None:
    dataset = protect(noise(600 * SIZE), 2, 1, SIZE)
    async with open_test_node(store=StoreConfig(quota=1 << 20)) as node:
        await fill(node, dataset, dataset.leaves(0))
        mender = Mender(store_of(node), Inline(), Budget(8 * SIZE), dataset.manifest, None, keep=False)
        decoded = await decode(mender, 0)
        assert decoded.gap == range(300)
        assert (await decoded.blocks(290, 300))[-1] == dataset.blocks[299]
        assert await read(node, dataset, 0, 600 * SIZE, local=True) == dataset.content
