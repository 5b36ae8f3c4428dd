"""What a dataset is: blocks, their tree, the manifest that describes them, and how a stream is cut. Pure."""

from codex.data.address import BlockAddress, LeafAddress
from codex.data.block import BLOCK_SIZE, Block, hash_blocks

__all__ = ["BLOCK_SIZE", "Block", "BlockAddress", "LeafAddress", "hash_blocks"]
