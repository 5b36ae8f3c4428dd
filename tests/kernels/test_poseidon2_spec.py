"""The specification of Poseidon2 against known values, and what it refuses."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.errors import DecodeError
from codex.kernels import poseidon2_spec as spec
from codex.kernels.poseidon2_constants import EXTERNAL, INTERNAL, PRIME

Vectors = Callable[[str], Any]

elements = st.integers(0, PRIME - 1) | st.sampled_from([0, 1, PRIME - 1, 1 << 253])


def test_the_numbers_are_those_of_the_network(vectors: Vectors) -> None:
    known = vectors("poseidon2")
    assert str(PRIME) == known["prime"]
    assert sum(EXTERNAL, ()) == tuple(int(text, 16) for text in known["external_round_constants"])
    assert tuple(int(text, 16) for text in known["internal_round_constants"]) == INTERNAL
    assert [hex(spec.sponge_start(rate)) for rate in (1, 2)] == [
        known["sponge_iv"]["rate1"],
        known["sponge_iv"]["rate2"],
    ]
    assert known["tree_keys"]["bottom_layer"] == spec.BOTTOM_KEY
    assert known["tree_keys"]["odd_node"] == spec.ODD_KEY


def test_known_permutations(vectors: Vectors) -> None:
    for row in vectors("poseidon2")["permutation"]:
        x, y, z = map(int, row["input"])
        assert [str(word) for word in spec.permute(x, y, z)] == row["output"]


def test_known_compressions(vectors: Vectors) -> None:
    rows = vectors("poseidon2")["compression"]
    assert {row["key"] for row in rows} > {0, 1, 2, 3}
    for row in rows:
        assert spec.compress(int(row["x"]), int(row["y"]), row["key"]) == int(row["output"])


def test_known_sponges(vectors: Vectors) -> None:
    rows = vectors("poseidon2")["sponge_of_elements"]
    assert {row["rate"] for row in rows} == {1, 2}
    for row in rows:
        assert spec.sponge([int(text) for text in row["input"]], row["rate"]) == int(row["output"])
    for row in vectors("poseidon2")["sponge_rate2_of_bytes"]:
        assert spec.sponge(spec.to_elements(bytes.fromhex(row["bytes_hex"]))) == int(row["digest"])


@given(elements, elements, elements)
def test_a_permutation_takes_residues(x: int, y: int, z: int) -> None:
    words = spec.permute(x, y, z)
    assert all(0 <= word < PRIME for word in words)
    assert spec.permute(x + PRIME, y - PRIME, z + 5 * PRIME) == words


@given(st.binary(max_size=200))
def test_data_can_be_had_back_from_its_elements(data: bytes) -> None:
    found = spec.to_elements(data)
    assert len(found) == len(data) // spec.CHUNK_SIZE + 1
    assert all(0 <= element < 1 << 248 for element in found)
    joined = b"".join(element.to_bytes(31, "little") for element in found)
    assert joined.rstrip(b"\x00") == data + b"\x01"


def test_cells_have_67_elements(vectors: Vectors) -> None:
    cells = {
        "zeros": bytes(2048),
        "ones (0xff)": b"\xff" * 2048,
        '"some file contents" zero padded': b"some file contents".ljust(2048, b"\x00"),
        "pattern i=0": _pattern(0, 2048),
        "pattern i=1": _pattern(1, 2048),
    }
    rows = vectors("poseidon2")["cells"]
    assert {row["cell"] for row in rows} == cells.keys()
    for row in rows:
        cell = cells[row["cell"]]
        assert hashlib.sha256(cell).hexdigest() == row["sha256"]
        found = spec.to_elements(cell)
        assert len(found) == row["elements"] == 67
        assert (str(found[0]), str(found[-1])) == (row["first_element"], row["last_element"])
        assert spec.hash_cells(cell, 2048).hex() == row["digest_le_hex"]


@given(elements)
def test_elements_are_written_and_read(element: int) -> None:
    assert spec.decode(spec.encode(element)) == element


@pytest.mark.parametrize("number", [PRIME, PRIME + 1, (1 << 256) - 1])
def test_what_is_not_below_the_prime_is_no_element(number: int) -> None:
    with pytest.raises(DecodeError, match=f"{number:#x} is no field element.*{PRIME:#x}"):
        spec.decode(number.to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_an_element_has_32_bytes(size: int) -> None:
    with pytest.raises(DecodeError, match=f"32 bytes, not {size}"):
        spec.decode(bytes(size))


def _pattern(number: int, size: int) -> bytes:
    return bytes((131 * number + 7 * j + 13 * (j >> 8) + (j >> 16) + 5) & 255 for j in range(size))
