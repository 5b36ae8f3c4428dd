"""What a dataset is: blocks, their tree, the manifest that describes them, and how a stream is cut. Pure."""

from codex.data.address import BlockAddress, LeafAddress
from codex.data.block import BLOCK_SIZE, Block, hash_blocks
from codex.data.chunker import BATCH_BYTES, Batch, Batcher
from codex.data.manifest import Manifest
from codex.data.merkle import SHA256_TREE, Hashing, MerkleProof, MerkleTree, TreeBuilder
from codex.data.protection import CELL_SIZE, MAX_MANIFEST, Protection, Strategy, Verification

__all__ = [
    "BATCH_BYTES",
    "BLOCK_SIZE",
    "CELL_SIZE",
    "MAX_MANIFEST",
    "SHA256_TREE",
    "Batch",
    "Batcher",
    "Block",
    "BlockAddress",
    "Hashing",
    "LeafAddress",
    "Manifest",
    "MerkleProof",
    "MerkleTree",
    "Protection",
    "Strategy",
    "TreeBuilder",
    "Verification",
    "hash_blocks",
]
