"""A world without WebAssembly, for tests of what happens there."""

import sys
from collections.abc import Iterator

import pytest

from codex.kernels.engine import engine


@pytest.fixture
def no_wasmtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Importing wasmtime fails, as on a machine that it has no wheel for."""
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    engine.cache_clear()
    yield
    engine.cache_clear()
