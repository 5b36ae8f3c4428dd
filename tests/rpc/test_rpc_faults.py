"""Every error of the node has a number and loses nothing on the way."""

from collections.abc import Iterator

import pytest

from codex import errors
from codex.api.rpc import faults
from codex.api.rpc.faults import NUMBERS, Fault, fault, invalid
from codex.errors import CodexError


def family(kind: type[CodexError]) -> Iterator[type[CodexError]]:
    # What the client and the commands raise about a node is nothing that a node tells.
    if not kind.__module__.startswith(("codex.client", "codex.cli")):
        yield kind
    for inner in kind.__subclasses__():
        yield from family(inner)


@pytest.mark.parametrize("kind", sorted(set(family(CodexError)), key=lambda kind: kind.__qualname__))
def test_an_error_is_told_whole(kind: type[CodexError]) -> None:
    said = fault(kind("what is wrong", remedy="what to do")).as_json()
    assert said["code"] in NUMBERS
    assert said["message"] == "what is wrong"
    assert said["data"] == {"code": kind.code, "message": "what is wrong", "remedy": "what to do"}


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (errors.InvalidInput, faults.INVALID_PARAMS),
        (errors.DecodeError, faults.INVALID_PARAMS),
        (errors.EmptyDataset, faults.INVALID_PARAMS),
        (errors.BlockNotFound, faults.NOT_FOUND),
        (errors.NotAManifest, faults.NOT_FOUND),
        (errors.NotEnabled, faults.NOT_ENABLED),
        (errors.ServiceUnavailable, faults.UNAVAILABLE),
        (errors.TooManyJobs, faults.UNAVAILABLE),
        (faults.TooMuchAtOnce, faults.UNAVAILABLE),
        (errors.QuotaExceeded, faults.NO_ROOM),
        (errors.DiskFull, faults.NO_ROOM),
        (errors.JobCancelled, faults.CANCELLED),
        (faults.RequestCancelled, faults.CANCELLED),
        (errors.CorruptData, faults.FAILED),
        (errors.UploadCut, faults.FAILED),
    ],
)
def test_its_number_is_that_of_its_family(kind: type[CodexError], number: int) -> None:
    assert fault(kind("x")).number == number


def test_numbers_keep_to_what_the_specification_leaves_free() -> None:
    of_the_specification = {-32700, *range(-32603, -32599)}
    for number in NUMBERS:
        assert number in of_the_specification or -32099 <= number <= -32000 or number == -32800


def test_no_request_has_its_number() -> None:
    assert invalid("x", "y") == Fault(-32600, errors.Problem("invalid-request", "x", "y"))
