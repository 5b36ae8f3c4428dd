"""Error-correcting parity: what it mends, and that it says so when it cannot."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from codex.store.ecc import mend, parity_of


@pytest.mark.parametrize("length", [1, 2, 55, 56, 199, 200, 201, 1000])
def test_a_tenth_of_all_bytes_may_be_wrong_in_one_piece(length: int) -> None:
    data = bytes(n * 7 % 251 for n in range(length))
    parity = parity_of(data)
    wrong = max(1, (length + len(parity)) // 12)
    for start in (0, (length - wrong) // 2, length - wrong):
        damaged = bytearray(data)
        for at in range(start, start + wrong):
            damaged[at] ^= 0xA5
        assert mend(bytes(damaged), parity) == data


@given(st.binary(min_size=1, max_size=300), st.data())
@settings(max_examples=50, deadline=None)
def test_any_four_wrong_bytes_are_mended_wherever_they_are(data: bytes, draw: st.DataObject) -> None:
    whole = bytearray(data + parity_of(data))
    for at in draw.draw(st.sets(st.integers(0, len(whole) - 1), max_size=4)):
        whole[at] ^= draw.draw(st.integers(1, 255))
    assert mend(bytes(whole[: len(data)]), bytes(whole[len(data) :])) == data


def test_parity_takes_about_a_quarter() -> None:
    assert len(parity_of(bytes(56))) == 14
    assert len(parity_of(bytes(200))) == 50
    assert len(parity_of(bytes(4000))) == 1000


def test_too_much_damage_is_not_mended_to_the_original() -> None:
    data = bytes(range(200))
    parity = parity_of(data)
    damaged = bytes(byte ^ 0xFF for byte in data[:100]) + data[100:]
    assert mend(damaged, parity) != data


@pytest.mark.parametrize("parity", [b"", bytes(13), bytes(15)])
def test_parity_of_another_length_mends_nothing(parity: bytes) -> None:
    assert mend(bytes(56), parity) is None
