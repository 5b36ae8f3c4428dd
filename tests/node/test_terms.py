"""Terms of a request: what is wrong with them, in the network's words and order."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from codex.devnet import CONFIG
from codex.errors import InvalidInput
from codex.node import Terms

GOOD = Terms(duration=600, proof_probability=1, price_per_byte_per_second=1, collateral_per_byte=1, expiry=60)
SHAPE = "Invalid parameters: parameters must satify `1 < (nodes - tolerance) ≥ tolerance`"

# From what is looked at first to what is looked at last.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"expiry": 10**9}, "Expiry must be greater than zero and less than the request's duration"),
    ({"expiry": 0}, "Expiry must be greater than zero and less than the request's duration"),
    ({"proof_probability": 0}, "Proof probability must be greater than zero"),
    ({"collateral_per_byte": 0}, "Collateral per byte must be greater than zero"),
    ({"price_per_byte_per_second": 0}, "Price per byte per second must be greater than zero"),
    ({"duration": 30 * 86400 + 1}, "Duration exceeds limit of 2592000 seconds"),
    ({"tolerance": 0}, "Tolerance needs to be bigger then zero"),
    ({"tolerance": 4}, "Invalid parameters: `tolerance` cannot be greater than `nodes`"),
    ({"tolerance": 3}, SHAPE),
    ({"tolerance": 2}, SHAPE),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_each_is_refused_in_its_words(change: dict[str, Any], message: str) -> None:
    GOOD.check(CONFIG)
    with pytest.raises(InvalidInput) as caught:
        evolve(GOOD, **change).check(CONFIG)
    assert caught.value.message == message
    assert caught.value.remedy


@given(st.data())
def test_of_several_the_first_is_told(data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(WRONG) - 1)] * 2)))
    change = {**WRONG[second][0], **WRONG[first][0]}
    with pytest.raises(InvalidInput) as caught:
        evolve(GOOD, **change).check(CONFIG)
    assert caught.value.message == WRONG[first][1]


@given(st.integers(0, 12), st.integers(0, 12))
def test_nodes_and_tolerance(nodes: int, tolerance: int) -> None:
    fits = 0 < tolerance <= nodes and 1 < nodes - tolerance >= tolerance
    try:
        evolve(GOOD, nodes=nodes, tolerance=tolerance).check(CONFIG)
    except InvalidInput:
        assert not fits
    else:
        assert fits
