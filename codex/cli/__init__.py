"""The command `codex`: starts a node, or talks to a running one.

What only talks to a node loads neither the node nor its libraries, so that it answers at once.
"""

from codex.cli.app import main

__all__ = ["main"]
