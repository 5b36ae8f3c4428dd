"""The proof that a slot is held, as the contract takes it: three points of the curve BN254."""

from attrs import frozen


@frozen(slots=True)
class G1:
    x: int
    y: int


@frozen(slots=True)
class G2:
    """Each coordinate has two parts: the real one first, as c0 before c1."""

    x: tuple[int, int]
    y: tuple[int, int]


@frozen(slots=True)
class Groth16Proof:
    """The points of a Groth16 proof. Coordinates are below 2**256."""

    a: G1
    b: G2
    c: G1

    def as_tuple(self) -> tuple[object, ...]:
        """The numbers in the order of the contract's interface."""
        return ((self.a.x, self.a.y), (self.b.x, self.b.y), (self.c.x, self.c.y))

    @property
    def is_zero(self) -> bool:
        """Whether it is nothing but zeros, which proves nothing."""
        return self == ZERO_PROOF


ZERO_PROOF = Groth16Proof(G1(0, 0), G2((0, 0), (0, 0)), G1(0, 0))
