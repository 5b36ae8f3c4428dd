"""Protected datasets made in memory, whole or with holes, for tests of what brings lost rows back."""

from collections.abc import Collection, Iterable

from attrs import frozen

from codex.codec import Cid
from codex.data import Block, Manifest, MerkleTree, hash_blocks
from codex.erasure import Layout, encode, protected_manifest
from codex.slots import DatasetBuilder, SlotShape, block_root, verifiable
from codex.store import BlockStore, Leaf


@frozen
class Protected:
    """A protected dataset: the content, the manifest, and every leaf of its tree."""

    content: bytes
    manifest: Manifest
    layout: Layout
    tree: MerkleTree
    blocks: tuple[Block, ...]

    @property
    def cid(self) -> Cid:
        """The CID of its manifest."""
        return self.manifest.cid

    @property
    def original(self) -> Manifest:
        """The manifest of the content alone."""
        return self.manifest.as_original()

    def leaves(self, *rows: int) -> set[int]:
        """The leaves of these rows."""
        return {index for row in rows for index in self.layout.row(row)}

    def others(self, lost: Collection[int]) -> list[int]:
        """All leaves but these, in order."""
        return [index for index in range(self.layout.total) if index not in lost]

    def leaf(self, index: int) -> Leaf:
        """A leaf with its proof."""
        return Leaf(index, self.blocks[index].cid, self.tree.proof(index))

    async def keep(self, store: BlockStore, indices: Iterable[int]) -> None:
        """Store the manifest and these leaves, and no others."""
        await store.put_manifest(self.manifest.to_bytes())
        await self.put(store, indices)

    async def put(self, store: BlockStore, indices: Iterable[int]) -> None:
        """Store these leaves, without the manifest."""
        some = list(indices)
        leaves, blocks = [self.leaf(i) for i in some], [self.blocks[i] for i in some]
        if leaves:
            await store.put_leaves(self.tree.root_cid, leaves, blocks)


def protect(
    content: bytes, k: int, m: int, block_size: int = 1024, cell_size: int | None = None
) -> Protected:
    """Make a protected dataset of `content`, with small blocks so that many are cheap; a verifiable one where
    a `cell_size` is given, in bytes.
    """
    padded = content + bytes(-len(content) % block_size)
    data = hash_blocks(padded[at : at + block_size] for at in range(0, len(padded), block_size))
    original = Manifest(
        tree_cid=MerkleTree.of([block.cid.digest for block in data]).root_cid,
        block_size=block_size,
        dataset_size=len(content),
    )
    layout = Layout.plan(original, k, m)
    blocks = data + [Block.of(b"")] * len(layout.padding)
    rows = [[blocks[index].data for index in layout.row(row)] for row in range(k)]
    for row in encode(layout, block_size, rows):
        blocks += row
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    manifest = protected_manifest(original, layout, tree.root_cid)
    if cell_size is not None:
        builder = DatasetBuilder(SlotShape.of(manifest, cell_size))
        for index, block in enumerate(blocks):
            builder.put(index, block_root(block.data, block_size, cell_size))
        manifest = verifiable(manifest, builder.finish(), cell_size=cell_size)
    return Protected(content, manifest, layout, tree, tuple(blocks))
