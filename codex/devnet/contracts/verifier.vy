# pragma version 0.4.3
# pragma evm-version cancun
"""
@title  The development chain's judge of storage proofs
@notice A stand-in: it looks at the form of a proof and not at what it proves, so that a chain can run without a
        trusted setup. A proof passes when its numbers are coordinates over the curve's base field and not all
        of them are zero; of the public inputs (entropy, root, index) only the number is looked at, and so a proof
        is neither bound to its challenge nor to the data. A verifier that checks the pairing has the same function, and is given to the
        marketplace in this one's place.
"""

struct G1Point:
    x: uint256
    y: uint256

struct Fp2Element:
    real: uint256
    imag: uint256

struct G2Point:
    x: Fp2Element
    y: Fp2Element

struct Groth16Proof:
    a: G1Point
    b: G2Point
    c: G1Point

# The prime of the field that BN254's coordinates are in.
FIELD: constant(uint256) = 21888242871839275222246405745257275088696311157297823662689037894645226208583
# Entropy, root of the dataset, index of the slot.
SIGNALS: constant(uint256) = 3


@external
@view
def verify(proof: Groth16Proof, input: DynArray[uint256, SIGNALS]) -> bool:
    """
    @notice Whether `proof` has the form of one, for as many public inputs as there have to be.
    """
    if len(input) != SIGNALS:
        return False
    coordinates: uint256[8] = [
        proof.a.x,
        proof.a.y,
        proof.b.x.real,
        proof.b.x.imag,
        proof.b.y.real,
        proof.b.y.imag,
        proof.c.x,
        proof.c.y,
    ]
    something: bool = False
    for coordinate: uint256 in coordinates:
        if coordinate >= FIELD:
            return False
        if coordinate != 0:
            something = True
    return something
