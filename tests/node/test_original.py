"""A protected dataset whose manifest names another original than it was made of."""

import pytest
from attrs import evolve

from codex.codec import Cid
from codex.data import Manifest, MerkleTree, hash_blocks
from codex.errors import CorruptData, NotADataset
from codex.node import Node
from codex.node.original import COMPARED, check
from codex.store import Leaf
from codex.testing.content import noise
from codex.testing.nodes import store_of
from codex.testing.rows import protect

SIZE = 256
DATASET = protect(noise(18 * SIZE), 4, 2, SIZE)


async def test_a_protected_dataset_of_another_original_is_found_out(node: Node) -> None:
    protection = DATASET.manifest.protection
    assert protection is not None
    other = protect(noise(18 * SIZE, "other"), 4, 2, SIZE).original.tree_cid
    manifest = evolve(DATASET.manifest, protection=evolve(protection, original_tree_cid=other))
    liar = evolve(DATASET, manifest=manifest)
    await liar.keep(store_of(node), DATASET.others(DATASET.leaves(1, 5)))
    content = DATASET.content
    # A part of it is what the protected dataset has; before the last bytes of all of it, the lie is seen.
    async with node.retrieve(liar.cid, offset=SIZE, local=True) as found:
        assert await found.read() == content[SIZE:]
    got = bytearray()

    async def gather() -> None:
        async with node.retrieve(liar.cid, local=True) as found:
            async for piece in found:
                got.extend(piece)

    with pytest.raises(NotADataset, match=f"are not the original {other}"):
        await gather()
    assert len(got) < len(content)
    assert content.startswith(bytes(got))
    view = await (await node.verify(liar.cid, repair=True)).wait()
    assert view.error is not None
    assert view.error.code == "not-a-dataset"
    await liar.put(store_of(node), range(DATASET.layout.total))
    view = await (await node.verify(liar.cid)).wait()
    assert view.error is not None
    assert view.error.code == "not-a-dataset"
    assert f"are not the original {other}" in view.error.message


async def test_a_part_is_compared_with_the_original_where_that_is_here(node: Node) -> None:
    protection = DATASET.manifest.protection
    assert protection is not None
    store = store_of(node)
    # The same content but for one block, and somebody who says that it is what was protected.
    changed = bytearray(DATASET.content)
    changed[7 * SIZE] ^= 1
    original = protect(bytes(changed), 4, 2, SIZE).original
    manifest = evolve(DATASET.manifest, protection=evolve(protection, original_tree_cid=original.tree_cid))
    liar = evolve(DATASET, manifest=manifest)
    await liar.keep(store, DATASET.others(DATASET.leaves(1)))

    async def read(first: int, stop: int) -> bytes:
        async with node.retrieve(liar.cid, offset=first * SIZE, length=(stop - first) * SIZE) as found:
            return await found.read()

    assert await read(6, 9) == DATASET.content[6 * SIZE : 9 * SIZE]  # nobody knows better
    blocks = hash_blocks(bytes(changed[at : at + SIZE]) for at in range(0, len(changed), SIZE))
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    assert tree.root_cid == original.tree_cid
    await store.put_leaves(
        tree.root_cid, [Leaf(i, blocks[i].cid, tree.proof(i)) for i in range(4, 8)], blocks[4:8]
    )
    assert await read(3, 7) == DATASET.content[3 * SIZE : 7 * SIZE]
    with pytest.raises(NotADataset, match=f"leaf 7 .* is not that of the original {original.tree_cid}"):
        await read(6, 9)


async def test_all_of_a_part_is_compared_but_what_has_a_damaged_proof() -> None:
    manifest, named = DATASET.manifest, DATASET.original.tree_cid

    class Trees:
        """Two trees that differ in a leaf."""

        def __init__(self, differs: int, damaged: range = range(0)) -> None:
            self.differs = differs
            self.damaged = damaged

        async def check_original(self, manifest: Manifest) -> bool:
            raise AssertionError("a part of it cannot be checked so")

        async def leaves(self, tree: Cid, first: int, count: int) -> list[Leaf]:
            if first in self.damaged:
                raise CorruptData("a proof is damaged")
            odd = tree == named
            proof = DATASET.tree.proof(0)
            return [
                Leaf(index, DATASET.blocks[int(odd and index == self.differs)].cid, proof)
                for index in range(first, first + count)
            ]

    first, stop = 3, 3 * COMPARED
    await check(Trees(stop), manifest, first, stop)
    for differs in (first, first + COMPARED, stop - 1):
        with pytest.raises(NotADataset, match=f"leaf {differs} of the dataset"):
            await check(Trees(differs), manifest, first, stop)
    with pytest.raises(NotADataset, match=f"leaf {stop - 1} of the dataset"):
        await check(Trees(stop - 1, range(first, first + 1)), manifest, first, stop)
    await check(Trees(first, range(first, first + 1)), manifest, first, stop)
