"""Fixtures that every test may ask for."""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

_VECTORS = Path(__file__).parent / "vectors"


@cache
def _load(name: str) -> Any:
    return json.loads((_VECTORS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """Load a file of known values: `vectors("merkle")` is the content of tests/vectors/merkle.json. Do not
    change it.
    """
    return _load


@pytest.fixture(autouse=True)
def _recursion() -> Iterator[None]:
    """Take back what libraries that only tests use do to the whole process when they are imported: with their
    limit, nested input would end the test run and not be refused.
    """
    limit = sys.getrecursionlimit()
    yield
    sys.setrecursionlimit(limit)


@cache
def _has_chain() -> bool:
    """Whether the devnet extra asks for pyrevm on this platform. Where it does and it is not there, tests
    fail.
    """
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    extra = map(Requirement, project["project"]["optional-dependencies"]["devnet"])
    [needed] = [one for one in extra if one.name == "pyrevm"]
    return needed.marker is None or needed.marker.evaluate()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("embedded_chain") is not None and not _has_chain():
        pytest.skip("pyrevm, the embedded chain's machine, has no wheel for this platform")
