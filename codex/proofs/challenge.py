"""From a challenge of the contract to the numbers that prove a slot, in two steps: which blocks are needed
for it, and what is proved with those. Pure; the second step takes some 50 ms, so it is done off the loop.
"""

from collections.abc import Mapping

from attrs import frozen

from codex.data import MerkleTree
from codex.slots import (
    ProofInputs,
    SlotTree,
    cell_indices,
    entropy_of,
    positions_of,
    proof_inputs,
    prove_all,
)


@frozen
class Proving:
    """One slot, and a challenge for it: `dataset` is the tree over the slot roots, `index` the slot's number
    there.
    """

    dataset: MerkleTree
    index: int
    slot: SlotTree
    challenge: bytes

    def cells(self) -> tuple[int, ...]:
        """The cells that are asked for, by their number in the slot. Raises InvalidInput for a challenge that
        is none.
        """
        return cell_indices(entropy_of(self.challenge), self.slot.root, self.slot.shape.cell_count)

    def positions(self) -> tuple[int, ...]:
        """The blocks that must be at hand, by their place in the slot; none of those that fill it up."""
        return positions_of(self.slot.shape, self.cells())

    def inputs(self, blocks: Mapping[int, bytes | memoryview]) -> ProofInputs:
        """What a prover is given; `blocks` are those of `positions`.

        Raises InvalidInput when a block is missing or is another one, and for what the circuit has no room
        for.
        """
        proofs = prove_all(self.slot, self.cells(), blocks)
        return proof_inputs(entropy_of(self.challenge), self.dataset, self.index, self.slot, proofs)
