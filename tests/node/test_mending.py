"""Lost leaves of protected datasets come back from any K of a column, proved, and are kept; or it is said
what is missing.
"""

from collections.abc import AsyncGenerator, Collection, Container
from itertools import combinations

import pytest
import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from codex.config import StoreConfig
from codex.data import BLOCK_SIZE, Block, MerkleTree
from codex.errors import BlockNotFound, InvalidInput, NotADataset, QuotaExceeded
from codex.node import Node
from codex.node.mending import COLUMN_MOST, NEAR, Mender, near
from codex.runtime import Budget
from codex.runtime.threads import Inline
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import damage, noise
from codex.testing.neighbourhood import open_test_network
from codex.testing.nodes import holdings, open_test_node, store_of
from codex.testing.rows import Protected, protect
from codex.testing.stores import audit

SIZE = 1024


async def read(node: Node, dataset: Protected, offset: int = 0, length: int | None = None) -> bytes:
    async with node.retrieve(dataset.cid, offset=offset, length=length, local=True) as found:
        return await found.read()


async def here(node: Node, dataset: Protected) -> set[int]:
    """The leaves that the node has, each with its true proof."""
    tree = dataset.manifest.tree_cid
    leaves = await store_of(node).leaves(tree, 0, dataset.layout.total)
    assert leaves == [dataset.leaf(leaf.index) for leaf in leaves]
    return {leaf.index for leaf in leaves}


async def mend(node: Node, dataset: Protected) -> int:
    return await node._running.mending.mend(dataset.manifest, None, 0, dataset.layout.total)


async def check_lost(node: Node, dataset: Protected, lost: Collection[int]) -> None:
    """Without these leaves the node gives all bytes, and has all leaves in the end."""
    await dataset.keep(store_of(node), dataset.others(lost))
    assert await read(node, dataset) == dataset.content
    assert set(range(dataset.layout.blocks)) <= await here(node, dataset)
    await mend(node, dataset)
    assert await here(node, dataset) == set(range(dataset.layout.total))
    await node.delete(dataset.cid)
    assert (await node.space()).quota_used == 0
    audit(node.config.data_dir / "repo")


@pytest.mark.parametrize(("k", "m", "size"), [(2, 1, 4 * SIZE), (3, 2, 7 * SIZE - 5), (2, 2, 5 * SIZE)])
async def test_every_pattern_of_lost_rows(node: Node, k: int, m: int, size: int) -> None:
    dataset = protect(noise(size), k, m, SIZE)
    for count in range(1, m + 1):
        for rows in combinations(range(k + m), count):
            await check_lost(node, dataset, dataset.leaves(*rows))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Protected, set[int]]:
    """A dataset, and leaves that are lost of it: up to M of every column, whole rows or here and there."""
    k = draw(st.integers(1, 9))
    m = draw(st.integers(1, k))
    blocks = draw(st.integers(k, 40))
    size = draw(st.integers((blocks - 1) * 64 + 1, blocks * 64))
    dataset = protect(noise(size, str(size)), k, m, 64)
    layout = dataset.layout
    rows = draw(st.lists(st.integers(0, layout.rows - 1), max_size=m, unique=True))
    lost = dataset.leaves(*rows)
    for column in range(layout.steps):
        left = [index for index in layout.column(column) if index not in lost]
        lost |= set(draw(st.lists(st.sampled_from(left), max_size=m - len(rows), unique=True)))
    return dataset, lost


@settings(max_examples=12, deadline=None)
@given(made=damaged())
async def test_whatever_can_be_recovered_is(made: tuple[Protected, set[int]]) -> None:
    async with open_test_node() as node:
        await check_lost(node, *made)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
async def test_a_range_is_recovered_too(data: st.DataObject) -> None:
    dataset, lost = data.draw(damaged())
    size = len(dataset.content)
    first, stop = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.others(lost))
        assert await read(node, dataset, first, stop - first) == dataset.content[first:stop]


async def test_large_codes_with_random_losses(node: Node) -> None:
    for k, m in ((60, 30), (200, 40)):
        dataset = protect(noise(2 * k * 64 - 7), k, m, 64)
        lost = {dataset.layout.index((7 * n + 3) % (k + m), column) for n in range(m) for column in (0, 1)}
        await check_lost(node, dataset, lost)


async def test_only_what_is_needed_is_recovered() -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    lost = {1, *dataset.leaves(2)}
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.others(lost))
        assert await read(node, dataset, 0, 9 * SIZE) == dataset.content[: 9 * SIZE]
        assert await here(node, dataset) == set(dataset.others(dataset.leaves(2)))
        assert await read(node, dataset, 12 * SIZE, 1) == dataset.content[12 * SIZE :][:1]
        assert await here(node, dataset) == set(range(dataset.layout.total))


async def test_with_fewer_than_k_the_verdict_names_column_and_rows() -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    lost = {*dataset.leaves(1, 5), dataset.layout.index(3, 2)}
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.others(lost))
        before = await holdings(node)
        with pytest.raises(
            BlockNotFound, match=r"column 2 takes K = 4 of its 6 blocks and has 3, for rows 1, 3, 5"
        ):
            await read(node, dataset)
        assert await holdings(node) == before
        # What does not need them is still to be had.
        assert await read(node, dataset, 0, 5 * SIZE) == dataset.content[: 5 * SIZE]


async def test_damage_on_the_disk_counts_as_lost_and_is_mended() -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.others(dataset.leaves(0)))
        for index in (8, 12):  # of rows 1 and 2
            damage(node.config.data_dir, bytes(dataset.blocks[index].data))
        assert await read(node, dataset) == dataset.content
        assert await here(node, dataset) == set(range(dataset.layout.total))
        assert await mend(node, dataset) == 0


async def test_rows_that_do_not_belong_together_are_not_believed() -> None:
    true = protect(noise(20 * SIZE), 4, 2, SIZE)
    blocks = list(true.blocks)
    blocks[22] = Block.of(noise(SIZE, "wrong"))  # in parity, column 2
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    manifest = evolve(true.manifest, tree_cid=tree.root_cid)
    dataset = evolve(true, manifest=manifest, tree=tree, blocks=tuple(blocks))
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.others(dataset.leaves(1)))
        before = await holdings(node)
        with pytest.raises(NotADataset, match=r"leaves 5 to 9 .* do not belong together"):
            await read(node, dataset)
        assert await holdings(node) == before


@pytest.mark.parametrize(
    ("k", "m", "block_size", "message"),
    [(4, 0, 1024, "not on this node"), (2, 3, 1024, "M = 3"), (4, 2, 1000, "1000 bytes cannot be coded")],
)
async def test_rows_that_nobody_can_code_are_refused(k: int, m: int, block_size: int, message: str) -> None:
    true = protect(noise(20 * SIZE), 4, 2, SIZE)
    protection = true.manifest.protection
    assert protection is not None
    blocks = -(-20 * SIZE // block_size)
    steps = -(-blocks // k)
    manifest = evolve(
        true.manifest,
        block_size=block_size,
        dataset_size=steps * (k + m) * block_size,
        protection=evolve(protection, ec_k=k, ec_m=m),
    )
    async with open_test_node() as node:
        await evolve(true, manifest=manifest).keep(store_of(node), [])
        with pytest.raises((BlockNotFound, InvalidInput), match=message):
            await read(node, evolve(true, manifest=manifest))


async def test_a_column_that_no_memory_holds_is_refused() -> None:
    true = protect(noise(20 * SIZE), 4, 2, SIZE)
    protection = true.manifest.protection
    assert protection is not None
    k, size = 5000, 65536
    manifest = evolve(
        true.manifest,
        block_size=size,
        dataset_size=size * (k + 1),
        protection=evolve(protection, ec_k=k, ec_m=1, original_dataset_size=k * size),
    )
    async with open_test_node() as node:
        store = store_of(node)
        with pytest.raises(InvalidInput, match=f"more than the {COLUMN_MOST}"):
            Mender(store, Inline(), Budget(1), manifest, None)
        await evolve(true, manifest=manifest).keep(store, [])
        with pytest.raises(InvalidInput, match=f"more than the {COLUMN_MOST}"):
            await read(node, evolve(true, manifest=manifest))


async def test_cancelled_at_any_step_nothing_of_a_gap_is_left() -> None:
    dataset = protect(noise(12 * SIZE), 4, 2, SIZE)
    lost = dataset.leaves(1)
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.others(lost))
        before = await holdings(node)

        async def check() -> None:
            await store_of(node).maintain()
            if await here(node, dataset) & lost:
                assert lost <= await here(node, dataset)
            else:
                assert await holdings(node) == before

        assert await cancel_at_every_checkpoint(lambda: read(node, dataset), check) > 10
        assert lost <= await here(node, dataset)


async def test_without_room_nothing_is_left() -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    async with open_test_node(store=StoreConfig(quota=28 * SIZE)) as node:
        await dataset.keep(store_of(node), dataset.others(dataset.leaves(1)))
        before = await holdings(node)
        with pytest.raises(QuotaExceeded):
            await mend(node, dataset)
        assert await holdings(node) == before


@pytest.mark.parametrize(
    ("here", "room", "kept"), [((), 110, 100), ((), 60, 20), ((), 15, 0), ((1, 2, 3), 45, 40)]
)
async def test_what_comes_of_other_rows_is_kept_where_there_is_room(
    here: tuple[int, ...], room: int, kept: int, autojump_clock: MockClock
) -> None:
    dataset = protect(noise(80 * SIZE), 4, 2, SIZE)  # twenty columns: of others eighty blocks come
    quota = 2 * BLOCK_SIZE + (1 + 20 * len(here) + room) * SIZE
    async with open_test_network("alice", "carol", store=StoreConfig(quota=quota)) as people:
        carol = people["carol"]
        await dataset.keep(store_of(people["alice"]), sorted(dataset.leaves(1, 2, 3, 4, 5)))
        info = people["alice"].info()
        await carol.connect(info.peer_id, info.announced)
        await carol.store(noise(2 * BLOCK_SIZE, "something else"))
        await dataset.put(store_of(carol), sorted(dataset.leaves(*here)))
        before = (await carol.space()).quota_used
        offset, length = 3 * SIZE - 5, 2 * SIZE
        if kept:
            async with carol.retrieve(dataset.cid, offset=offset, length=length) as found:
                assert await found.read() == dataset.content[offset : offset + length]
        else:
            with pytest.raises(QuotaExceeded, match=r"20.0 KiB .* room for 14.8 KiB"):
                async with carol.retrieve(dataset.cid, offset=offset, length=length) as found:
                    await found.read()
        came = (await carol.space()).quota_used - before
        assert kept * SIZE <= came < (kept + 2) * SIZE  # and the manifest
        assert sum(peer.trade.blocks_in for peer in carol.peers()) < (90 if kept else 10)


async def test_one_gap_that_cannot_be_closed_does_not_keep_others_from_it(node: Node) -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    lost = {dataset.layout.index(row, 0) for row in (0, 2, 4)}
    more = {dataset.layout.index(row, column) for row, column in ((0, 3), (1, 1), (1, 2))}
    await dataset.keep(store_of(node), dataset.others(lost | more))
    with pytest.raises(BlockNotFound, match="column 0 takes K = 4 of its 6 blocks and has 3"):
        await mend(node, dataset)
    assert await here(node, dataset) == set(dataset.others(lost))


@pytest.mark.parametrize("columns", [1, 2, 3])
async def test_no_more_columns_are_in_memory_than_the_budget_has(node: Node, columns: int) -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    await dataset.keep(store_of(node), dataset.others(dataset.leaves(1)))
    column = 5 * SIZE  # four blocks, and the one that is made of them
    budget = Budget((columns - 1) * column + SIZE)  # one column may always be there
    mender = Mender(store_of(node), Inline(), budget, dataset.manifest, None)
    made = [len(blocks) async for blocks in mender.rebuild(dataset.layout.row(1))]
    assert sum(made) == 5
    assert max(made) == columns


async def test_the_original_shares_what_is_recovered() -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    async with open_test_node() as node:
        store = store_of(node)
        await dataset.keep(store, dataset.others(dataset.leaves(1)))
        used = (await node.space()).quota_used
        await store.put_many(dataset.blocks[5:10])
        assert await read(node, dataset) == dataset.content
        assert (await node.space()).quota_used == used + 5 * SIZE
        await node.delete(dataset.cid)
        await store.maintain()
        assert await store.has_many([block.cid for block in dataset.blocks[5:10]]) == [True] * 5
        assert (await node.space()).quota_used == 5 * SIZE


async def test_several_readers_of_a_lost_row_have_it_recovered_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    await dataset.keep(store_of(node), dataset.others(dataset.leaves(1, 2)))
    closed: list[range] = []
    real = Mender.rebuild

    def rebuild(
        self: Mender, run: range, *, without: Container[int]
    ) -> AsyncGenerator[dict[int, Block], None]:
        closed.append(run)
        return real(self, run, without=without)

    monkeypatch.setattr(Mender, "rebuild", rebuild)
    got = []

    async def reader() -> None:
        got.append(await read(node, dataset) == dataset.content)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(reader)
    assert got == [True] * 5
    assert closed == [range(5, 15)]  # neither row can be proved without the other


async def test_the_bytes_end_where_they_are_lost_and_not_before(node: Node) -> None:
    dataset = protect(noise(20 * SIZE), 4, 2, SIZE)
    # Of row 1 two leaves are lost, of which only the first can be had again.
    lost = {5, 8, 3, 13}
    await dataset.keep(store_of(node), dataset.others(lost))
    got = bytearray()

    async def gather() -> None:
        async with node.retrieve(dataset.cid, offset=4 * SIZE, local=True) as found:
            async for piece in found:
                got.extend(piece)

    with pytest.raises(
        BlockNotFound, match="column 3 takes K = 4 of its 6 blocks and has 3, for rows 0, 1, 2"
    ):
        await gather()
    assert bytes(got) == dataset.content[4 * SIZE : 8 * SIZE]


async def test_gaps_that_are_near_are_closed_together(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = protect(noise(4 * 300 * 64), 4, 2, 64)
    lost = {index for index in dataset.leaves(1) if index % 3} | {7, 1250}
    await dataset.keep(store_of(node), dataset.others(lost))
    closed: list[int] = []
    real = Mender._close

    async def close(self: Mender, span: range) -> int:
        closed.append(len(span))
        return await real(self, span)

    monkeypatch.setattr(Mender, "_close", close)
    assert await mend(node, dataset) == len(lost)
    assert closed == [1, 299, 1]
    assert await here(node, dataset) == set(range(dataset.layout.total))


def test_groups_of_gaps_have_a_bound() -> None:
    gaps = [range(n, n + 1) for n in range(0, 3 * NEAR, 2)]
    groups = list(near(gaps))
    assert [gap for group in groups for gap in group] == gaps
    assert all(group[-1].stop - group[0].start <= NEAR for group in groups)
    assert len(groups) == 3
    assert list(near([range(5 * NEAR), range(6 * NEAR, 6 * NEAR + 1)])) == [
        [range(5 * NEAR)],
        [range(6 * NEAR, 6 * NEAR + 1)],
    ]
    assert list(near([])) == []
