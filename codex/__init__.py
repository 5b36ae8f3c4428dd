"""Codex: a node of a decentralised, durable storage network.

In a program of your own::

    async with codex.open_node(codex.Config(data_dir=path)) as node:
        cid = await node.store(b"some file contents")

Importing this package is cheap; what a name needs is imported when it is first used.
"""

from typing import TYPE_CHECKING

from codex import version

if TYPE_CHECKING:
    from codex.config import Config
    from codex.node import Node, open_node

__version__ = version.VERSION

__all__ = ["Config", "Node", "__version__", "open_node"]


def __getattr__(name: str) -> object:
    if name == "Config":
        from codex.config import Config

        return Config
    if name in ("Node", "open_node"):
        from codex import node

        return getattr(node, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
