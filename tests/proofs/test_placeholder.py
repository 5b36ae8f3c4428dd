"""What stands in the place of a proof: its form, and what it follows from."""

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from codex.proofs import PlaceholderProver
from codex.proofs.placeholder import FIELD, placeholder
from codex.runtime import Inline
from codex.slots import ProofInputs
from codex.slots.proof_inputs import SampleInput

INPUTS = ProofInputs(
    entropy=1,
    dataset_root=2,
    slot_root=3,
    cells_per_slot=32,
    slots_per_dataset=3,
    slot_index=0,
    slot_proof=(4,) * 8,
    samples=(SampleInput((5,) * 67, (6,) * 32),) * 5,
)


async def test_it_is_made_off_the_loop_and_the_same_for_the_same_inputs() -> None:
    made = await PlaceholderProver(Inline()).prove(INPUTS)
    assert made == placeholder(INPUTS) == placeholder(evolve(INPUTS))


@given(
    entropy=st.integers(0, 2**248),
    root=st.integers(0, FIELD // 4),
    index=st.integers(0, 255),
    cell=st.integers(0, 2**200),
)
def test_it_has_the_form_of_a_proof(entropy: int, root: int, index: int, cell: int) -> None:
    sample = SampleInput((cell,) * 67, (6,) * 32)
    proof = placeholder(
        evolve(INPUTS, entropy=entropy, slot_root=root, slot_index=index, samples=(sample,) * 5)
    )
    a, b, c = (proof.a.x, proof.a.y), (*proof.b.x, *proof.b.y), (proof.c.x, proof.c.y)
    coordinates = (*a, *b, *c)
    assert all(0 < coordinate < FIELD for coordinate in coordinates)
    assert len(set(coordinates)) == 8


def test_it_follows_from_each_number() -> None:
    one = INPUTS.samples[0]
    others = [
        evolve(INPUTS, entropy=9),
        evolve(INPUTS, dataset_root=9),
        evolve(INPUTS, slot_root=9),
        evolve(INPUTS, slot_index=1),
        evolve(INPUTS, slot_proof=(9,) * 8),
        evolve(INPUTS, samples=(*INPUTS.samples[:4], evolve(one, cell=(9, *one.cell[1:])))),
        evolve(INPUTS, samples=(*INPUTS.samples[:4], evolve(one, path=(*one.path[:31], 9)))),
    ]
    made = {placeholder(inputs) for inputs in (INPUTS, *others)}
    assert len(made) == 1 + len(others)
