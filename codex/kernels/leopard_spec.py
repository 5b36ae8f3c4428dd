"""Leopard's erasure code in plain Python: the specification in code, the oracle in tests, and the fallback.

K rows of data become K + M rows of which any K give back the others. The rows of one code word have the same
size, a multiple of 64 bytes, and every byte column (in the larger field: every pair of bytes) is coded by
itself. So what stands here about *numbers* is done to whole rows at once.

**Field.** GF(2^8), or GF(2^16) when the code word is long. A number is not written as a polynomial in x but
by its coordinates in a *Cantor basis* v0 = 1, v1, v2, ..., where v^2 + v of each is the one before it. Bit i
of a number says whether v_i is in the sum. Addition is xor, as ever; products go by logarithms.

**Why that basis.** Let s_j(x) be the product of x + w over all numbers w < 2^j: zero on that subspace, and
linear. In a Cantor basis s_1(x) = x^2 + x maps every v_i to the one before it, so it shifts a number right by
a bit; and s_j is s_1 done j times. Hence **s_j(x) = x >> j**, and its derivative is 1.

**Code word.** m is the power of two that holds the M parity rows, n the one that holds m + K. The rows are
the values of a polynomial f of degree below n - m at the points 0..n-1: parity at 0..M-1, data at m..m+K-1,
zeros at the points after those. What would stand at the points M..m-1 exists for nobody.

**Transform.** The polynomials X_i, each the product of the s_j for the bits j of i, are a basis (Lin, Chung
and Han, 2014). Going from the values at the 2d points r..r+2d-1 to coefficients, a step splits off bit j,
with d = 2^j and c = s_j(r), on pairs x, y that are d apart:

    values to coefficients: y += x, x += c*y        back: x += c*y, y += x

**Encoding.** On each m points that begin at a multiple of m, f is equal to some polynomial of degree below m,
whose coefficients come from the m values there. Over all n/m such groups these polynomials add up to zero,
because f has degree below n - m: over a whole subspace, only the highest degree has a sum. So that of the
first group is the sum of those of the others, which are data; and its values are the parity.

**Recovering.** Let E be the points whose values are missing, and L(x) the product of x + e over the e in E
other than x. Let g be f times the product of x + e over all of E, of degree below n. It is known everywhere:
zero on E, and f(s) L(s) elsewhere. Lagrange's formula for its derivative at a missing x is the sum of
g(s) / (x + s), for the product of all x + w has the derivative 1; and that derivative is f(x) L(x). Hence

    f(x) = sum over known s of f(s) * L(s) / (L(x) * (x + s))
"""

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TypeAlias

from attrs import field, frozen

from codex.errors import InvalidInput

Buffer: TypeAlias = bytes | bytearray | memoryview

CHUNK = 64
"""Rows are multiples of this many bytes. In GF(2^16) they are 32 numbers: first low bytes, then high ones."""

MAX_LENGTH = 65536
"""Points of the longest code word: as many as the larger field has numbers."""


def _next_power(number: int) -> int:
    """The least power of two that is not below."""
    return 1 << (number - 1).bit_length()


@frozen(slots=True)
class Shape:
    """How many rows of data (k) and of parity (m) a code word has, and what follows from that.

    Rows are numbered with the data first: 0..k-1, then parity k..k+m-1. Raises InvalidInput for numbers that
    the code cannot do: none of data or of parity, more parity than data, or a code word over `MAX_LENGTH`.
    """

    k: int
    m: int
    head: int = field(init=False, eq=False)
    """Points that are kept for parity: the power of two that holds m."""
    length: int = field(init=False, eq=False)
    """Points of the code word, a power of two."""

    def __attrs_post_init__(self) -> None:
        if self.k < 1:
            raise InvalidInput(f"K = {self.k} rows of data: there must be 1 at least")
        if self.m < 1:
            raise InvalidInput(f"M = {self.m} rows of parity: there must be 1 at least")
        if self.m > self.k:
            raise InvalidInput(f"M = {self.m} rows of parity are more than the K = {self.k} rows of data")
        head = _next_power(self.m)
        length = _next_power(head + self.k)
        if length > MAX_LENGTH:
            raise InvalidInput(
                f"K = {self.k} and M = {self.m} make a code word of {length} points,"
                f" more than the limit of {MAX_LENGTH}",
                remedy="Take fewer rows: K and the power of two that holds M may be 65536 together.",
            )
        object.__setattr__(self, "head", head)
        object.__setattr__(self, "length", length)

    @property
    def rows(self) -> int:
        """Rows of data and parity."""
        return self.k + self.m

    @property
    def bits(self) -> int:
        """Bits of a number of the field: 8 or 16. With one row of parity no field is needed, only xor."""
        return 8 if self.length <= 256 else 16

    def point(self, row: int) -> int:
        """Where in the code word a row stands."""
        return self.head + row if row < self.k else row - self.k


class Field:
    """Numbers of 8 or 16 bits by their coordinates in the Cantor basis."""

    def __init__(self, bits: int) -> None:
        polynomial, basis = _FIELDS[bits]
        self.bits = bits
        self.modulus = (1 << bits) - 1
        """Of logarithms: the numbers but zero are the powers of one of them."""
        powers = [0] * (1 << bits)
        state = 1
        for power in range(self.modulus):
            powers[state] = power
            state <<= 1
            if state >> bits:
                state ^= polynomial
        # From coordinates to the polynomial in x whose power is known.
        written = [0] * (1 << bits)
        for bit, vector in enumerate(basis):
            for low in range(1 << bit):
                written[1 << bit | low] = written[low] ^ vector
        self.log = [powers[number] for number in written]
        """By number; what it has for zero means nothing."""
        self.exp = [0] * (1 << bits)
        """By logarithm. Powers of the one number whose power is `modulus` begin again at 0."""
        for number in range(1, 1 << bits):
            self.exp[self.log[number]] = number

    def product(self, a: int, b: int) -> int:
        """The product of two numbers."""
        return self.exp[(self.log[a] + self.log[b]) % self.modulus] if a and b else 0


# For each size: the polynomial that makes the field, and the Cantor basis written as polynomials in x.
_FIELDS = {
    8: (0x11D, (0x01, 0xD6, 0x98, 0x92, 0x56, 0xC8, 0x58, 0xE6)),
    16: (
        0x1002D,
        (
            *(0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012),
            *(0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E),
        ),
    ),
}


@cache
def field_of(bits: int) -> Field:
    """The field of 8 or 16 bits. The larger takes about 0.1 s to make."""
    return Field(bits)


def encode(shape: Shape, data: Sequence[Buffer]) -> list[bytes]:
    """Return the M rows of parity for K rows of data, all of the same size, a multiple of 64 bytes."""
    rows = [_planes(shape.bits, row) for row in data]
    zero = bytes(len(rows[0]))
    sums = [zero] * shape.head
    for first in range(0, shape.k, shape.head):
        group = rows[first : first + shape.head]
        group += [zero] * (shape.head - len(group))
        _to_coefficients(shape.bits, group, shape.head + first)
        sums = [_add(total, row) for total, row in zip(sums, group, strict=True)]
    _to_values(shape.bits, sums)
    return [_chunks(shape.bits, row) for row in sums[: shape.m]]


def recover(shape: Shape, known: Mapping[int, Buffer], wanted: Sequence[int]) -> list[bytes]:
    """Return the `wanted` rows, given K others, by row number, all of the same size as in `encode`."""
    bits = shape.bits
    points = {shape.point(row): _planes(bits, data) for row, data in known.items()}
    # Data behind the last row are known as well: they are zero, and contribute nothing.
    missing = [point for point in range(shape.head + shape.k) if point not in points]
    logs = {point: _locator(bits, missing, point) for point in points}
    found = []
    for row in wanted:
        at = shape.point(row)
        own = _locator(bits, missing, at)
        numbers = field_of(bits)
        total = bytes(len(next(iter(points.values()))))
        for point, data in points.items():
            power = logs[point] - own - numbers.log[point ^ at]
            total = _add(total, _scale(bits, data, numbers.exp[power % numbers.modulus]))
        found.append(_chunks(bits, total))
    return found


def _to_coefficients(bits: int, rows: list[bytes], first: int) -> None:
    """In place, for a power of two of rows with the values at the points from `first` on."""
    distance = 1
    while distance < len(rows):
        for start in range(0, len(rows), 2 * distance):
            twist = (first + start) // distance
            for x in range(start, start + distance):
                y = x + distance
                rows[y] = _add(rows[y], rows[x])
                rows[x] = _add(rows[x], _scale(bits, rows[y], twist))
        distance *= 2


def _to_values(bits: int, rows: list[bytes]) -> None:
    """In place, the way back, to the values at the points from 0 on."""
    distance = len(rows) // 2
    while distance:
        for start in range(0, len(rows), 2 * distance):
            for x in range(start, start + distance):
                y = x + distance
                rows[x] = _add(rows[x], _scale(bits, rows[y], start // distance))
                rows[y] = _add(rows[y], rows[x])
        distance //= 2


def _locator(bits: int, missing: Sequence[int], at: int) -> int:
    """The logarithm of L(at): the product of at + e over the missing points other than `at`."""
    numbers = field_of(bits)
    return sum(numbers.log[at ^ point] for point in missing if point != at) % numbers.modulus


# Rows of 16-bit numbers are kept as all low bytes followed by all high bytes: then a row can be multiplied by
# looking up bytes, as in the smaller field.


def _planes(bits: int, row: Buffer) -> bytes:
    if bits == 8:
        return bytes(row)
    view = memoryview(row)
    half = CHUNK // 2
    starts = range(0, len(view), CHUNK)
    return b"".join([view[at : at + half] for at in starts] + [view[at + half : at + CHUNK] for at in starts])


def _chunks(bits: int, row: bytes) -> bytes:
    if bits == 8:
        return row
    half = CHUNK // 2
    high = len(row) // 2
    return b"".join(row[base + at : base + at + half] for at in range(0, high, half) for base in (0, high))


def _add(a: bytes, b: bytes) -> bytes:
    return (int.from_bytes(a, "little") ^ int.from_bytes(b, "little")).to_bytes(len(a), "little")


def _scale(bits: int, row: bytes, by: int) -> bytes:
    """Multiply every number of a row."""
    if by < 2:
        return row if by else bytes(len(row))
    if bits == 8:
        return row.translate(_tables(bits, by)[0])
    half = len(row) // 2
    low, high = row[:half], row[half:]
    ll, lh, hl, hh = _tables(bits, by)
    return _add(low.translate(ll), high.translate(hl)) + _add(low.translate(lh), high.translate(hh))


@lru_cache(maxsize=1024)
def _tables(bits: int, by: int) -> tuple[bytes, ...]:
    """For each byte of a number, and then each byte of the product: what a value of the one adds to the
    other.
    """
    tables = []
    for source in range(0, bits, 8):
        products = [0]
        for bit in range(source, source + 8):
            more = field_of(bits).product(1 << bit, by)
            products += [product ^ more for product in products]
        tables += [bytes(product >> target & 255 for product in products) for target in range(0, bits, 8)]
    return tuple(tables)
