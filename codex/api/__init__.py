"""The node's face over HTTP: the reference network's REST API under /api/codex/v1."""

from collections.abc import Callable

from codex.api.server import Address
from codex.api.service import ApiService
from codex.config import ApiConfig
from codex.node import Node
from codex.runtime.supervisor import Policy

POLICY = Policy(restarts=5, window=60.0)


async def start_api(node: Node, config: ApiConfig, on_listening: Callable[[Address], None]) -> None:
    """Serve `node` until it stops. Raises PortTaken or ConfigError when it cannot listen."""
    await node.supervise("api", lambda: ApiService(node, config, on_listening), POLICY, stop_timeout=15.0)


__all__ = ["Address", "start_api"]
