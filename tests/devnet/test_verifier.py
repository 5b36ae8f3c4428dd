from typing import Any

import pytest

FIELD = 21888242871839275222246405745257275088696311157297823662689037894645226208583
SIGNALS = [1, 2, 3]


def proof(numbers: list[int]) -> Any:
    a, b, c, d, e, f, g, h = numbers
    return ((a, b), ((c, d), (e, f)), (g, h))


@pytest.mark.parametrize("place", range(8))
def test_a_proof_has_something_in_it(world: Any, place: int) -> None:
    numbers = [0] * 8
    numbers[place] = FIELD - 1
    assert world.verifier.ask("verify", proof(numbers), SIGNALS) is True


def test_nothing_is_no_proof(world: Any) -> None:
    assert world.verifier.ask("verify", proof([0] * 8), SIGNALS) is False


@pytest.mark.parametrize("place", range(8))
def test_a_number_that_is_no_coordinate_is_no_proof(world: Any, place: int) -> None:
    numbers = [1] * 8
    numbers[place] = FIELD
    assert world.verifier.ask("verify", proof(numbers), SIGNALS) is False


@pytest.mark.parametrize("signals", [[], [1, 2]])
def test_without_the_public_inputs_there_is_nothing_to_prove(world: Any, signals: list[int]) -> None:
    assert world.verifier.ask("verify", proof([1] * 8), signals) is False
