"""Proofs in the order of the interface."""

from codex.market.proof import G1, G2, ZERO_PROOF, Groth16Proof


def test_numbers_stand_in_the_order_of_the_interface() -> None:
    proof = Groth16Proof(G1(1, 2), G2((3, 4), (5, 6)), G1(7, 8))
    assert proof.as_tuple() == ((1, 2), ((3, 4), (5, 6)), (7, 8))
    assert not proof.is_zero
    assert ZERO_PROOF.is_zero
