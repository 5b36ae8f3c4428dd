"""A node that is served, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex.client import Client, open_client
from codex.testing.nodes import ServedNode, open_served_node


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedNode]:
    """A node on an empty directory, and its API."""
    async with open_served_node(tmp_path / "alice") as served:
        yield served


@pytest.fixture
async def client(served: ServedNode) -> AsyncIterator[Client]:
    """A client of that node."""
    async with open_client(served.address.url) as client:
        yield client
