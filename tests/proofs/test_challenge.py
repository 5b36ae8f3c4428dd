"""From a challenge to what is proved: which blocks it takes, and what is refused."""

import pytest

from codex.data import BLOCK_SIZE
from codex.errors import InvalidInput
from codex.proofs import Proving
from codex.slots import SlotBuilder, SlotShape, block_root, entropy_of, field_tree

BLOCKS = [bytes([number]) * BLOCK_SIZE for number in (1, 2, 3)]
CHALLENGE = bytes(range(32))


def proving(challenge: bytes = CHALLENGE, index: int = 1) -> Proving:
    """Slot 1 of 3, with three blocks and one that fills it up."""
    builder = SlotBuilder(SlotShape(slot_count=3, block_count=3))
    builder.put(0, b"".join(map(block_root, BLOCKS)))
    slot = builder.finish()
    return Proving(field_tree(bytes(32) + slot.root + bytes(32)), index, slot, challenge)


def test_what_is_proved() -> None:
    asked = proving()
    positions = asked.positions()
    assert positions == tuple(sorted(set(positions)))
    assert set(positions) <= {0, 1, 2}
    assert {asked.slot.shape.split(cell)[0] for cell in asked.cells()} - {3} == set(positions)
    inputs = asked.inputs({position: BLOCKS[position] for position in positions})
    assert inputs.public[0] == entropy_of(CHALLENGE)
    assert (inputs.slot_index, inputs.slots_per_dataset, inputs.cells_per_slot) == (1, 3, 128)
    assert len(inputs.samples) == 5


def test_another_challenge_asks_for_other_cells() -> None:
    assert proving(bytes(32)).cells() != proving().cells()


def test_a_block_that_is_missing_or_another_one_is_refused() -> None:
    asked = proving()
    first, *others = asked.positions()
    with pytest.raises(InvalidInput, match="did not come"):
        asked.inputs({position: BLOCKS[position] for position in others})
    with pytest.raises(InvalidInput, match="has the root"):
        asked.inputs({position: bytes(BLOCK_SIZE) for position in (first, *others)})


def test_what_is_no_challenge_or_not_this_slot_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a challenge has 32 bytes"):
        proving(bytes(31)).positions()
    asked = proving(index=0)
    with pytest.raises(InvalidInput, match="not that of the dataset"):
        asked.inputs({position: BLOCKS[position] for position in asked.positions()})
