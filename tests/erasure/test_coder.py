"""Columns: the parity blocks of recorded datasets, and any K of K + M bring the others back.

That property is also held to two strangers: a code made of matrices over a field of its own arithmetic, and
reedsolo. Their parity is another one; what they bring back is the same.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import EMPTY_BLOCK
from codex.data import BLOCK_SIZE, Block, Manifest, MerkleTree
from codex.erasure import MAX_BATCH, Layout, columns_at_once, encode, recover
from codex.errors import InvalidInput, NotFound

Vectors = Callable[[str], Any]

SIZE = 64


def content(formula: str, size: int) -> bytes:
    """What the recorded datasets contain."""
    if formula == "repeat":
        return (bytes((31 * i + 7) & 255 for i in range(256)) * (size // 256 + 1))[:size]
    state, made = size, bytearray()
    for _ in range(size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        made.append(state >> 24)
    return bytes(made)


def protect(layout: Layout, size: int, data: Sequence[bytes], columns: int = 3) -> list[Block]:
    """All blocks of the protected dataset, by leaf."""
    padded = [*data, *[b""] * len(layout.padding)]
    parity: list[list[Block]] = [[] for _ in range(layout.m)]
    for batch in layout.batches(columns):
        rows = [[padded[index] for index in layout.row(row, batch)] for row in range(layout.k)]
        for row, blocks in zip(parity, encode(layout, size, rows), strict=True):
            row += blocks
    return [*map(Block.of, padded), *itertools.chain.from_iterable(parity)]


def noise(blocks: int, size: int = SIZE, seed: int = 0) -> list[bytes]:
    return [hashlib.shake_128(f"{seed} {block}".encode()).digest(size) for block in range(blocks)]


def recorded(limit: int) -> Callable[[dict[str, Any]], bool]:
    return lambda case: case["content"] == "repeat" or case["bytes"] <= limit


def test_the_trees_of_recorded_datasets(vectors: Vectors) -> None:
    cases = list(filter(recorded(1_000_000), vectors("protected")["cases"]))
    assert len(cases) > 10
    for case in cases:
        whole = content(case["content"], case["bytes"])
        assert hashlib.sha256(whole).hexdigest() == case["content_sha256"]
        manifest = Manifest.from_bytes(bytes.fromhex(case["verifiable_manifest"]["hex"]))
        layout = Layout.of(manifest)
        padded = whole.ljust(layout.blocks * BLOCK_SIZE, b"\x00")
        data = [padded[at : at + BLOCK_SIZE] for at in range(0, len(padded), BLOCK_SIZE)]
        blocks = protect(layout, BLOCK_SIZE, data, columns_at_once(layout, BLOCK_SIZE))
        digests = [block.cid.digest for block in blocks]
        parity = [[digests[index] for index in layout.row(row)] for row in range(layout.k, layout.rows)]
        tree = MerkleTree.of(layout.digests(digests[: layout.blocks], parity))
        assert tree.root_cid == manifest.tree_cid, case["name"]


@st.composite
def losses(draw: st.DrawFn) -> tuple[Layout, list[Block], set[int], int]:
    """A protected dataset, and leaves of which each column has lost no more than it can do without."""
    k = draw(st.integers(1, 12))
    layout = Layout(draw(st.integers(k, 60)), k, draw(st.integers(1, k)))
    size = SIZE * draw(st.integers(1, 4))
    blocks = protect(layout, size, noise(layout.blocks, size, draw(st.integers(0, 2**32))))
    lost: set[int] = set()
    for column in range(layout.steps):
        lost |= draw(st.sets(st.sampled_from(layout.column(column)), max_size=layout.m))
    return layout, blocks, lost, size


@settings(max_examples=80, deadline=None)
@given(losses(), st.randoms(use_true_random=False))
def test_what_is_lost_anywhere_comes_back(
    case: tuple[Layout, list[Block], set[int], int], chance: random.Random
) -> None:
    layout, blocks, lost, size = case
    kept = [index for index in range(layout.total) if index not in lost]
    chance.shuffle(kept)
    wanted = list(lost)
    chance.shuffle(wanted)
    found = recover(layout, size, {index: blocks[index].data for index in kept}, wanted)
    assert found == [blocks[index] for index in wanted]


def test_whole_rows_come_back_whichever_they_are() -> None:
    layout = Layout(11, 4, 2)
    blocks = protect(layout, SIZE, noise(11))
    for rows in itertools.combinations(range(6), 2):
        wanted = [index for row in rows for index in layout.row(row)]
        known = {index: block.data for index, block in enumerate(blocks) if index not in wanted}
        assert recover(layout, SIZE, known, wanted) == [blocks[index] for index in wanted]


def test_padding_helps_without_being_given() -> None:
    # Two blocks in five rows: three are padding, so that one real block is enough.
    layout = Layout(6, 5, 2)
    assert list(layout.padding) == [6, 7, 8, 9]
    blocks = protect(layout, SIZE, noise(6))
    known = {index: blocks[index].data for index in (1, 3, 10)}
    # Column 0 has leaves 0, 2, 4 and padding 6, 8; column 1 has 1, 3, 5 and padding 7, 9.
    with pytest.raises(NotFound, match="column 0 has 3 blocks that are at hand, and takes K = 5 of its 7"):
        recover(layout, SIZE, known, [0])
    known = {index: blocks[index].data for index in (1, 3, 11)}
    assert recover(layout, SIZE, known, [5, 13]) == [blocks[5], blocks[13]]


def test_padding_that_is_wanted_is_the_empty_block() -> None:
    layout = Layout(3, 2, 1)
    assert recover(layout, SIZE, {}, [3]) == [Block(EMPTY_BLOCK, b"")]
    # Some nodes keep it as a block of zeros, and might give that.
    blocks = protect(layout, SIZE, noise(3))
    assert recover(layout, SIZE, {3: bytes(SIZE), 5: blocks[5].data}, [1]) == [blocks[1]]


def test_what_is_asked_for_twice_is_given_twice() -> None:
    layout = Layout(2, 2, 1)
    blocks = protect(layout, SIZE, noise(2))
    assert recover(layout, SIZE, {1: blocks[1].data, 2: blocks[2].data}, [0, 0]) == [blocks[0]] * 2


def test_a_block_that_is_wrong_shows_in_the_names_of_others() -> None:
    layout = Layout(4, 4, 2)
    blocks = protect(layout, SIZE, noise(4))
    known = {index: blocks[index].data for index in (1, 2, 3)} | {4: noise(1, seed=1)[0]}
    (found,) = recover(layout, SIZE, known, [0])
    assert found.cid != blocks[0].cid
    assert found.verify()


@pytest.mark.parametrize(
    ("known", "wanted", "said"),
    [
        ({0: b"x" * SIZE, 1: b"x" * SIZE}, [6], "no leaf 6"),
        ({-1: b"x" * SIZE}, [0], "no leaf -1"),
        ({0: b"x" * SIZE}, [0], "leaf 0 is wanted, and known"),
        ({2: b"x" * 65, 4: b"x" * SIZE}, [0], "65 bytes, not 64"),
    ],
)
def test_what_cannot_be_meant_is_refused(known: dict[int, bytes], wanted: list[int], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        recover(Layout(4, 2, 1), SIZE, known, wanted)


def test_without_parity_nothing_is_coded() -> None:
    with pytest.raises(InvalidInput, match="M = 0"):
        encode(Layout(4, 2, 0), SIZE, [noise(2), noise(2)])
    with pytest.raises(NotFound, match=r"column 1 has 1 blocks .* K = 2 of its 2"):
        recover(Layout(4, 2, 0), SIZE, {3: bytes(SIZE), 0: bytes(SIZE)}, [1])


def test_a_batch_has_a_bound_but_at_least_a_column() -> None:
    layout = Layout(100_000, 4, 2)
    columns = columns_at_once(layout, BLOCK_SIZE)
    assert columns * layout.rows * BLOCK_SIZE <= MAX_BATCH < (columns + 1) * layout.rows * BLOCK_SIZE
    assert columns_at_once(Layout(100_000, 10_000, 5_000), BLOCK_SIZE) == 1


# A stranger: numbers are polynomials over GF(2) modulo 0x11d, and products are made bit by bit.

CANTOR = [0x01, 0xD6, 0x98, 0x92, 0x56, 0xC8, 0x58, 0xE6]


def times(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return product


def inverse(a: int) -> int:
    result = 1
    for _ in range(254):
        result = times(result, a)
    return result


def inverted(matrix: list[list[int]]) -> list[list[int]]:
    """By elimination. Raises ZeroDivisionError for a matrix that has no inverse."""
    count = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(count))] for i, row in enumerate(matrix)]
    for pivot in range(count):
        swap = next((row for row in range(pivot, count) if rows[row][pivot]), None)
        if swap is None:
            raise ZeroDivisionError
        rows[pivot], rows[swap] = rows[swap], rows[pivot]
        factor = inverse(rows[pivot][pivot])
        rows[pivot] = [times(factor, value) for value in rows[pivot]]
        for row in range(count):
            if row != pivot and (factor := rows[row][pivot]):
                rows[row] = [
                    value ^ times(factor, other) for value, other in zip(rows[row], rows[pivot], strict=True)
                ]
    return [row[count:] for row in rows]


def applied(matrix: list[list[int]], rows: Sequence[bytes]) -> list[bytes]:
    made = []
    for factors in matrix:
        total = 0
        for factor, row in zip(factors, rows, strict=True):
            scaled = row.translate(bytes(times(factor, value) for value in range(256)))
            total ^= int.from_bytes(scaled, "big")
        made.append(total.to_bytes(len(rows[0]), "big"))
    return made


def vandermonde(k: int, m: int) -> list[list[int]]:
    """A matrix of k + m rows that begins with ones on its diagonal, of which any k rows have an inverse."""
    powers = [[1] for _ in range(k + m)]
    for number, row in enumerate(powers):
        while len(row) < k:
            row.append(times(row[-1], number))
    top = inverted(powers[:k])
    columns = list(zip(*top, strict=True))
    return [[_dot(row, column) for column in columns] for row in powers]


def _dot(row: Sequence[int], column: Sequence[int]) -> int:
    total = 0
    for a, b in zip(row, column, strict=True):
        total ^= times(a, b)
    return total


def generator(k: int, m: int) -> list[list[int]]:
    """The matrix that the parity of the coder is made by, read off what it does to single ones."""
    layout = Layout(k, k, m)
    columns = []
    for row in range(k):
        data = [[bytes([at == row]) * SIZE] for at in range(k)]
        columns.append([blocks[0].data[0] for blocks in encode(layout, SIZE, data)])
    unit = [[int(i == j) for j in range(k)] for i in range(k)]
    return unit + [[_written(column[row]) for column in columns] for row in range(m)]


def _written(number: int) -> int:
    """From coordinates in the Cantor basis to a polynomial."""
    total = 0
    for bit, vector in enumerate(CANTOR):
        if number >> bit & 1:
            total ^= vector
    return total


def _choices(k: int, m: int) -> Iterator[Sequence[int]]:
    """Ways to keep k of k + m rows: all if they are few, else some."""
    if k + m <= 9:
        yield from itertools.combinations(range(k + m), k)
    else:
        chance = random.Random(k * m)
        yield from (sorted(chance.sample(range(k + m), k)) for _ in range(6))


@pytest.mark.parametrize(("k", "m"), [(2, 2), (3, 2), (4, 3), (5, 4), (6, 1), (10, 5), (20, 10), (24, 24)])
def test_any_k_rows_of_the_code_have_an_inverse(k: int, m: int) -> None:
    matrix = generator(k, m)
    for kept in _choices(k, m):
        inverted([matrix[row] for row in kept])


def test_the_stranger_sees_a_code_that_cannot_do_it() -> None:
    with pytest.raises(ZeroDivisionError):
        inverted([[1, 2, 3], [2, 4, 6], [0, 0, 1]])


@pytest.mark.parametrize(("k", "m"), [(4, 2), (3, 3), (5, 2), (10, 4)])
def test_strangers_bring_the_same_back(k: int, m: int) -> None:
    data = noise(k, seed=k)
    layout = Layout(k, k, m)
    own = [bytes(block.data) for block in protect(layout, SIZE, data)]
    matrix = vandermonde(k, m)
    theirs = applied(matrix, data)
    assert theirs[:k] == data
    codec = reedsolo.RSCodec(m)
    words = [codec.encode(bytes(row[at] for row in data)) for at in range(SIZE)]
    for kept in _choices(k, m):
        lost = [row for row in range(k + m) if row not in kept]
        wanted = [row for row in lost if row < k]
        found = [block.data for block in recover(layout, SIZE, {row: own[row] for row in kept}, wanted)]
        solved = applied(inverted([matrix[row] for row in kept]), [theirs[row] for row in kept])
        mended = [bytes(codec.decode(_holed(word, lost), erase_pos=lost)[0]) for word in words]
        assert found == [solved[row] for row in wanted]
        assert found == [bytes(word[row] for word in mended) for row in wanted]
        assert found == [data[row] for row in wanted]


def _holed(word: bytearray, lost: Sequence[int]) -> bytearray:
    return bytearray(0 if row in lost else value for row, value in enumerate(word))
