"""Errors as HTTP sees them: each family has its status, and none is left without."""

import inspect
import json
from http import HTTPStatus

import pytest

from codex import errors
from codex.api.problems import IncorrectCid, Refusal, body, refusal
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
    "cut": (errors.UploadCut, 400),
    "cancelled": (errors.JobCancelled, 409),
    "too many": (errors.TooManyJobs, 503),
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


# -- the two forms


def test_an_error_is_text_that_ends_in_no_line() -> None:
    said = refusal(errors.BlockNotFound("it is not here", remedy="look elsewhere"))
    made = body(said, [])
    assert made.data == b"it is not here"
    assert dict(made.headers) == {"Content-Type": "text/plain; charset=utf-8"}


def test_an_error_has_details_for_those_who_prefer_them() -> None:
    said = refusal(errors.BlockNotFound("größe is not here", remedy="look elsewhere"))
    made = body(said, ["application/problem+json"])
    assert dict(made.headers) == {"Content-Type": "application/problem+json", "Vary": "Accept"}
    assert json.loads(made.data) == {
        "type": "urn:codex:error:block-not-found",
        "title": "Block not found",
        "status": 404,
        "detail": "größe is not here",
        "code": "block-not-found",
        "remedy": "look elsewhere",
    }


def test_details_keep_what_to_do_apart() -> None:
    said = refusal(errors.QuotaExceeded("the quota is full", remedy="delete datasets"))
    details = json.loads(body(said, ["application/problem+json"]).data)
    assert (details["detail"], details["remedy"]) == ("the quota is full", "delete datasets")


def test_details_say_what_a_bare_status_does_not() -> None:
    details = json.loads(body(Refusal(415, ""), ["application/problem+json"]).data)
    assert details["detail"] == HTTPStatus(415).phrase
    assert details["type"] == "urn:codex:error:unsupported-media-type"
    told = Refusal(415, "", "empty-media-type", "fill it", "it is empty")
    assert json.loads(body(told, ["application/problem+json"]).data)["detail"] == "it is empty"


def test_what_goes_with_an_error_goes_with_both_forms() -> None:
    said = Refusal(416, "no", headers=(("Content-Range", "bytes */5"),))
    for accept in ([], ["application/problem+json"]):
        assert ("Content-Range", "bytes */5") in body(said, accept).headers


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "<b>&amp;", "größe"])
def test_any_text_can_be_told(text: str) -> None:
    said = Refusal(400, text, detail=text)
    assert isinstance(body(said, []).data, bytes)
    assert json.loads(body(said, ["application/problem+json"]).data)["detail"] == text


def test_details_have_the_same_keys_for_all() -> None:
    for said in (refusal(IncorrectCid("no")), Refusal(500, ""), refusal(errors.DiskFull("full"))):
        details = json.loads(body(said, ["application/problem+json"]).data)
        assert list(details) == ["type", "title", "status", "detail", "code", "remedy"]
        assert details["status"] == said.status
