"""Fixtures that every test may ask for."""

import json
from collections.abc import Callable
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
