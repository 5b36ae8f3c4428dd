"""Errors as HTTP sees them: each family has its status, and none is left without."""

import inspect

import pytest

from codex import errors
from codex.api.problems import refusal
from codex.errors import CodexError

STATUSES = {
    "Incorrect Cid": (errors.DecodeError, 400),
    "not here": (errors.BlockNotFound, 404),
    "no manifest": (errors.NotAManifest, 404),
    "nowhere": (errors.NotFound, 404),
    "out of range": (errors.InvalidInput, 422),
    "bad option": (errors.ConfigError, 422),
    "nothing": (errors.EmptyDataset, 500),
    "in use": (errors.BlockInUse, 500),
    "full": (errors.QuotaExceeded, 500),
    "no space": (errors.DiskFull, 500),
    "broken": (errors.DiskFailed, 500),
    "rotten": (errors.CorruptData, 500),
    "no network": (errors.NotEnabled, 503),
    "crashed": (errors.ServiceUnavailable, 503),
}


@pytest.mark.parametrize(("text", "expected"), STATUSES.items())
def test_each_family_has_its_status(text: str, expected: tuple[type[CodexError], int]) -> None:
    family, status = expected
    assert (refusal(family(text)).status, refusal(family(text)).text) == (status, text)


def test_an_error_of_this_nodes_own_says_what_to_do() -> None:
    said = refusal(errors.QuotaExceeded("the quota is full", remedy="delete datasets"))
    assert said.text == "the quota is full; delete datasets"


@pytest.mark.parametrize(
    "family",
    [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CodexError)],
    ids=lambda kind: kind.__name__,
)
def test_every_error_has_a_sensible_status(family: type[CodexError]) -> None:
    said = refusal(family("what is wrong", remedy="what to do"))
    assert said.status in (400, 404, 409, 422, 500, 503)
    assert said.text.startswith("what is wrong")
