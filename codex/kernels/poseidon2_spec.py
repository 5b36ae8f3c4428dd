"""Poseidon2 in Python's own integers: what the kernel computes, said plainly.

A hash for proofs: it is made of few multiplications in a prime field, so that a circuit can follow it. At its
heart is a *permutation* of three field elements:

    mix, 4 external rounds, 56 internal rounds, 4 external rounds
    external round:  add a constant to every word, raise every word to the 5th power, mix
    internal round:  add a constant to the first word, raise it to the 5th power, mix with weights 1, 1, 2

To mix is to add the sum of the three words to each of them; the internal mix counts the last word double
before it adds. Raising to the 5th power is what is not linear. It can be undone because 5 does not divide
PRIME - 1; and mixing can be undone, too, so that no two states become the same.

Two hashes are made of it. *Compression* makes one element of two, with a key that tells layers of a tree
apart; it is the first word of what the permutation makes of them. The *sponge* makes one element of any
number: it adds two elements at a time to the first two words, permutes, and goes on.

Here is the oracle of the tests, and what is used where no kernel can be had, at a few thousand permutations a
second.
"""

from collections.abc import Sequence

from codex.errors import DecodeError
from codex.kernels.poseidon2_constants import EXTERNAL, INTERNAL, PRIME

ELEMENT_SIZE = 32
"""Bytes of a field element: an integer below PRIME, little endian."""

CHUNK_SIZE = 31
"""Bytes of data in a field element: as many as are below PRIME whatever they are."""

BOTTOM_KEY = 1
"""Key of a tree's bottom layer; other layers have 0."""

ODD_KEY = 2
"""Added to the key of a layer's last node when that has no neighbour."""


def permute(x: int, y: int, z: int) -> tuple[int, int, int]:
    """Permute three field elements. Any integer stands for its residue."""
    x, y, z = _mix(x, y, z)
    x, y, z = _external(x, y, z, EXTERNAL[:4])
    for constant in INTERNAL:
        x = pow(x + constant, 5, PRIME)
        total = x + y + z
        x, y, z = (total + x) % PRIME, (total + y) % PRIME, (total + 2 * z) % PRIME
    return _external(x, y, z, EXTERNAL[4:])


def _external(x: int, y: int, z: int, rounds: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    for a, b, c in rounds:
        x, y, z = _mix(pow(x + a, 5, PRIME), pow(y + b, 5, PRIME), pow(z + c, 5, PRIME))
    return x, y, z


def _mix(x: int, y: int, z: int) -> tuple[int, int, int]:
    total = x + y + z
    return (total + x) % PRIME, (total + y) % PRIME, (total + z) % PRIME


def compress(left: int, right: int, key: int) -> int:
    """Make one field element of two. A tree uses the keys 0 to 3."""
    return permute(left, right, key)[0]


def sponge_start(rate: int) -> int:
    """What the third word of a sponge begins with: it tells sponges apart by their width, 3, and rate."""
    return (1 << 64) + (3 << 8) + rate


def sponge(elements: Sequence[int], rate: int = 2) -> int:
    """Hash any number of field elements, `rate` (1 or 2) of them at a time.

    A one and as many zeros as fill up the last group are added behind, so that no two sequences look alike.
    """
    state = [0, 0, sponge_start(rate)]
    padded = [*elements, 1]
    padded += [0] * (-len(padded) % rate)
    for first in range(0, len(padded), rate):
        for word in range(rate):
            state[word] += padded[first + word]
        state = [*permute(*state)]
    return state[0]


def to_elements(data: bytes | memoryview) -> list[int]:
    """Cut data into field elements, little endian: 31 bytes each, and the 0 to 30 that are left in one more.

    The last one has a 1 behind its bytes, so that every end is seen: 2048 bytes make 67 elements.
    """
    whole = len(data) // CHUNK_SIZE * CHUNK_SIZE
    chunks = [data[at : at + CHUNK_SIZE] for at in range(0, whole, CHUNK_SIZE)]
    return [int.from_bytes(chunk, "little") for chunk in (*chunks, bytes(data[whole:]) + b"\x01")]


def encode(element: int) -> bytes:
    """Write a field element as 32 bytes, little endian. The element is below PRIME."""
    return element.to_bytes(ELEMENT_SIZE, "little")


def decode(data: bytes | memoryview) -> int:
    """Read a field element. Raises DecodeError unless it has 32 bytes and is below PRIME."""
    if len(data) != ELEMENT_SIZE:
        raise DecodeError(f"a field element has {ELEMENT_SIZE} bytes, not {len(data)}")
    element = int.from_bytes(data, "little")
    if element >= PRIME:
        raise DecodeError(f"{element:#x} is no field element: those are below {PRIME:#x}")
    return element


def compress_pairs(pairs: bytes | memoryview, key: int) -> bytes:
    """Compress encoded pairs, 64 bytes each, with one key: 32 bytes each. Raises DecodeError as `decode`."""
    elements = [decode(pairs[at : at + ELEMENT_SIZE]) for at in range(0, len(pairs), ELEMENT_SIZE)]
    two = zip(elements[::2], elements[1::2], strict=True)
    return b"".join([encode(compress(left, right, key)) for left, right in two])


def hash_cells(data: bytes | memoryview, cell_size: int) -> bytes:
    """Hash `data` in cells of `cell_size` bytes, which divides its length: 32 bytes a cell."""
    cells = [data[at : at + cell_size] for at in range(0, len(data), cell_size)]
    return b"".join([encode(sponge(to_elements(cell))) for cell in cells])


def block_root(data: bytes | memoryview, cell_size: int) -> bytes:
    """Build the tree over the hashes of the cells of a block, and return its root (32 bytes).

    The bottom layer is compressed even when it is a single leaf.
    """
    layer, key = hash_cells(data, cell_size), BOTTOM_KEY
    while key or len(layer) > ELEMENT_SIZE:
        odd = len(layer) % (2 * ELEMENT_SIZE)
        above = compress_pairs(layer[: len(layer) - odd], key)
        if odd:
            above += compress_pairs(layer[-odd:] + bytes(ELEMENT_SIZE), key | ODD_KEY)
        layer, key = above, 0
    return layer
