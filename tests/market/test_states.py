"""States: the numbers of the chain, and what they mean."""

from collections.abc import Callable
from typing import Any

from codex.market import RequestState, SlotState

Vectors = Callable[[str], Any]


def test_states_have_the_numbers_of_the_contract(vectors: Vectors) -> None:
    enums = vectors("contracts_abi")["enums"]
    assert [state.name.capitalize() for state in RequestState] == enums["RequestState"]
    assert [state.name.capitalize() for state in SlotState] == enums["SlotState"]


def test_what_states_mean() -> None:
    assert [state for state in RequestState if not state.over] == [RequestState.NEW, RequestState.STARTED]
    assert [state for state in SlotState if state.fillable] == [SlotState.FREE, SlotState.REPAIR]
