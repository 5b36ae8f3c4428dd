"""The node: a thin orchestrator over the services, and the flows *store* and *retrieve*."""

from codex.node.node import Node, NodeInfo, open_node
from codex.node.retrieving import Retrieval
from codex.node.storing import Source
from codex.node.wiring import Seams

__all__ = ["Node", "NodeInfo", "Retrieval", "Seams", "Source", "open_node"]
