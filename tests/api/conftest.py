"""A node whose API is served on a free port, for each test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex.testing.http import Client
from codex.testing.nodes import ServedNode, open_served_node


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedNode]:
    """A node on an empty directory, and its API."""
    async with open_served_node(tmp_path / "alice") as served:
        yield served


@pytest.fixture
def client(served: ServedNode) -> Client:
    """A client of that node."""
    return served.client
