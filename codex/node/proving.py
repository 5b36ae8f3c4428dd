"""What a slot on this node is proved with: its tree, and the blocks that a challenge asks for, out of the
store. Every step of more than a millisecond is done off the loop.
"""

from codex.data import LeafAddress, Manifest
from codex.errors import BlockNotFound
from codex.node.filling import root_of, row_of
from codex.proofs import Proving
from codex.runtime import Offload
from codex.slots import ProofInputs, SlotShape, SlotTree, dataset_tree
from codex.store import BlockStore


async def slot_inputs(
    store: BlockStore, offload: Offload, manifest: Manifest, index: int, challenge: bytes
) -> ProofInputs:
    """What a prover is given for slot `index` of a verifiable dataset, and a challenge of 32 bytes.

    Raises BlockNotFound and CorruptData when the slot is not here, or not whole where it is looked at, and
    InvalidInput when there is no such slot or challenge, or no circuit has room for it.
    """
    row, root = row_of(manifest, index), root_of(manifest, index)
    data = await store.get_slot_tree(root)
    if data is None:
        raise BlockNotFound(f"slot {index} of the dataset {manifest.tree_cid} is not hosted on this node")
    slot = await offload.run(SlotTree.from_bytes, SlotShape.of(manifest), data, root.digest)
    proving = Proving(await offload.run(dataset_tree, manifest), index, slot, challenge)
    positions = await offload.run(proving.positions)
    blocks = await store.get_many([LeafAddress(manifest.tree_cid, row.start + at) for at in positions])
    found = {at: block.data for at, block in zip(positions, blocks, strict=True)}
    return await offload.run(proving.inputs, found)
