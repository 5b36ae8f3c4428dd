"""The pass over a dataset, held to the same result made the long way: block by block, by the rules."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec.cid import EMPTY_BLOCK, Cid, proving_root_cid, slot_root_cid
from codex.data import Block, LeafAddress, Manifest, MerkleTree, Protection, Verification
from codex.erasure import Layout
from codex.errors import BlockNotFound
from codex.kernels import leopard_spec
from codex.kernels.engine import Kernel
from codex.node.encoding import Encoding, batch_bytes, memory_of
from codex.node.job import Progress
from codex.runtime.threads import Inline
from codex.slots import block_root, field_tree
from codex.store import BlockStore
from codex.testing.content import noise
from codex.testing.disks import FaultyDisk
from codex.testing.stores import open_test_store

SIZE = 2048  # bytes of a block: one cell


def blocks_of(count: int, seed: str) -> list[Block]:
    content = noise(count * SIZE, seed)
    return [Block.of(content[at : at + SIZE]) for at in range(0, len(content), SIZE)]


def made_slowly(original: Manifest, blocks: list[Block], k: int, m: int) -> tuple[Manifest, list[Block]]:
    """The verifiable manifest and all rows of a dataset, from the rules alone."""
    steps = -(-len(blocks) // k)
    rows = [*blocks, *[Block(EMPTY_BLOCK, b"")] * (k * steps - len(blocks))]
    words = [
        leopard_spec.encode(
            leopard_spec.Shape(k, m), [block.data or bytes(SIZE) for block in rows[step::steps]]
        )
        for step in range(steps)
    ]
    rows += [Block.of(words[step][row]) for row in range(m) for step in range(steps)]
    roots = [block_root(block.data or bytes(SIZE), SIZE) for block in rows]
    width = 1 << (steps - 1).bit_length()
    padding = [block_root(bytes(SIZE), SIZE)] * (width - steps)
    slots = [
        field_tree(b"".join([*roots[row * steps : (row + 1) * steps], *padding])).root for row in range(k + m)
    ]
    tree = MerkleTree.of([block.cid.digest for block in rows])
    verification = Verification(
        proving_root_cid(field_tree(b"".join(slots)).root),
        tuple(slot_root_cid(slot) for slot in slots),
    )
    protection = Protection(k, m, original.tree_cid, original.dataset_size, verification=verification)
    made = evolve(original, tree_cid=tree.root_cid, dataset_size=len(rows) * SIZE, protection=protection)
    return made, rows


async def stored(store: BlockStore, blocks: list[Block], short: int = 0) -> Manifest:
    """A dataset of these blocks, of which the last one lacks `short` bytes."""
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    manifest = Manifest(
        tree_cid=tree.root_cid, dataset_size=len(blocks) * SIZE - short, block_size=SIZE, filename="x"
    )
    ingest = await store.begin()
    await store.stage(ingest, 0, blocks)
    await store.commit(ingest, tree, manifest)
    return manifest


async def encoded(store: BlockStore, manifest: Manifest, layout: Layout, columns: int, cores: int) -> Cid:
    """Encode a dataset and commit it; the verifiable manifest's CID."""
    ingest = await store.begin()
    encoding = Encoding(
        store,
        Inline(),
        ingest,
        manifest,
        layout,
        columns=columns,
        cores=cores,
        network=None,
        progress=Progress(),
    )
    await encoding.run()
    slots = await encoding.finish()
    await store.stage_slot_trees(ingest, slots.roots)
    return await store.commit(ingest, slots.tree, slots.manifest)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    k = draw(st.integers(1, 12))
    return Layout(draw(st.integers(k, 40)), k, draw(st.integers(1, k)))


@settings(max_examples=20, deadline=None)
@given(layouts(), st.integers(1, 9), st.integers(1, 3), st.integers(0, SIZE - 1), st.booleans())
def test_any_layout_in_any_batches_gives_what_the_rules_say(
    layout: Layout, columns: int, cores: int, short: int, repeats: bool
) -> None:
    async def main(directory: Path) -> None:
        blocks = blocks_of(1, "again") * layout.blocks if repeats else blocks_of(layout.blocks, "alice")
        async with open_test_store(directory, disk=FaultyDisk()) as store:
            manifest = await stored(store, blocks, short)
            expected, rows = made_slowly(manifest, blocks, layout.k, layout.m)
            cid = await encoded(store, manifest, layout, columns, cores)
            assert await store.get_manifest(cid) == expected
            addresses = [LeafAddress(expected.tree_cid, index) for index in range(layout.total)]
            assert await store.get_many(addresses) == rows

    with TemporaryDirectory() as directory:
        trio.run(main, Path(directory))


async def test_an_empty_block_stands_for_zeros(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        blocks = [*blocks_of(3, "alice"), Block(EMPTY_BLOCK, b""), *blocks_of(2, "bob")]
        manifest = await stored(store, blocks)
        expected, _ = made_slowly(manifest, blocks, 3, 2)
        cid = await encoded(store, manifest, Layout(6, 3, 2), 1, 2)
        assert await store.get_manifest(cid) == expected


async def test_the_first_error_is_the_one_that_is_raised(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        manifest = await stored(store, blocks_of(6, "alice"))
        absent = evolve(manifest, tree_cid=MerkleTree.of([bytes(32)]).root_cid)
        with pytest.raises(BlockNotFound):
            await encoded(store, absent, Layout(6, 3, 2), 1, 2)


def test_memory_is_that_of_three_batches_or_of_a_large_one() -> None:
    manifest = Manifest(tree_cid=MerkleTree.of([bytes(32)]).root_cid, dataset_size=1 << 30)
    assert batch_bytes(manifest, Layout(16384, 4, 2), 42) == 42 * 6 * 65536
    assert memory_of(16 << 20) == 80 << 20
    assert memory_of(375 << 20) == 3 * (375 << 20)


async def test_without_the_kernels_it_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        manifest = await stored(store, blocks_of(7, "alice"))
        cid = await encoded(store, manifest, Layout(7, 3, 2), 1, 2)
        await store.delete_dataset(cid)
        monkeypatch.setattr(Kernel, "fault", "no engine here")
        assert await encoded(store, manifest, Layout(7, 3, 2), 1, 2) == cid
