"""What stands in the place of a proof where the marketplace names no proving key, as on the embedded chain.

It is no proof: nobody can learn from it that a slot is held. It has the form of one, and follows from all the
numbers that a proof would be made of, so that whoever cannot put those together cannot make it either. Only a
verifier that looks at nothing but the form accepts it.
"""

import hashlib
import json

from codex.market import G1, G2, Groth16Proof
from codex.runtime import Offload
from codex.slots import ProofInputs

FIELD = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""The prime of the field that BN254's coordinates are in."""


class PlaceholderProver:
    """Makes what has the form of a proof: eight coordinates, none of them zero."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload

    async def prove(self, inputs: ProofInputs) -> Groth16Proof:
        """See `Prover`; the same inputs give the same coordinates. Raises nothing."""
        return await self._offload.run(placeholder, inputs)


def placeholder(inputs: ProofInputs) -> Groth16Proof:
    """Eight coordinates that follow from the inputs. Takes about a millisecond."""
    seed = hashlib.sha256(json.dumps(inputs.to_json(), separators=(",", ":")).encode("ascii")).digest()
    a, b, c, d, e, f, g, h = (_coordinate(seed, number) for number in range(8))
    return Groth16Proof(G1(a, b), G2((c, d), (e, f)), G1(g, h))


def _coordinate(seed: bytes, number: int) -> int:
    digest = hashlib.sha512(seed + bytes([number])).digest()
    return int.from_bytes(digest, "big") % (FIELD - 1) + 1
