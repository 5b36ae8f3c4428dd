"""Fixtures that every test may ask for."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

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
