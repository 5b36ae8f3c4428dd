"""What the node tells comes out as the exception that it was there."""

import pytest

from codex import errors
from codex.client.errors import Failed, as_error
from codex.errors import CodexError, Problem

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CodexError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_node_is_itself_again(kind: type[CodexError]) -> None:
    error = as_error(kind("what is wrong", remedy="what to do").as_problem())
    assert (type(error), error.message, error.remedy) == (kind, "what is wrong", "what to do")


def test_one_that_is_not_known_keeps_its_code() -> None:
    problem = Problem("slot-taken", "what is wrong", "what to do")
    error = as_error(problem)
    assert isinstance(error, Failed)
    assert (error.as_problem(), error.told, str(error)) == (problem, "slot-taken", "what is wrong")
    assert Failed.told == "failed"
