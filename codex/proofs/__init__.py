"""Proofs: what is proved for a challenge, and who proves it.

`challenge.py` puts together what a prover is given: the numbers of the circuit, of a slot's tree and of the
cells that a challenge asks for. `Prover` (in prover.py) is the port behind which the proving is done;
placeholder.py has the one for chains whose marketplace names no proving key.
"""

from codex.proofs.challenge import Proving
from codex.proofs.placeholder import PlaceholderProver
from codex.proofs.prover import Prover

__all__ = ["PlaceholderProver", "Prover", "Proving"]
