"""A node in this process, for each test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex.node import Node
from codex.testing.nodes import open_test_node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A node on an empty directory, without threads."""
    async with open_test_node(tmp_path / "alice") as node:
        yield node
