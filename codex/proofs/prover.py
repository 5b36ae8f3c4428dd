"""The port of proving: numbers of the circuit in, a proof that the contract takes out."""

from typing import Protocol

from codex.market import Groth16Proof
from codex.slots import ProofInputs


class Prover(Protocol):
    """Makes proofs for one proving key. Several may be made at the same time."""

    async def prove(self, inputs: ProofInputs) -> Groth16Proof:
        """The proof that `inputs` hold, worked out off the loop. Raises CodexError when none can be made."""
        ...
