"""The embedded chain: a development chain with the marketplace's contracts, that needs no installation.

It stands on a real virtual machine (`pyrevm`) and simulates the rest of a chain: blocks, fees, time. It
speaks JSON-RPC over WebSocket and HTTP, so that several nodes and foreign tools share one.
"""

from codex.devnet.chain import Chain, Reorganised
from codex.devnet.deploying import CONFIG
from codex.devnet.errors import NoEmbeddedChain
from codex.devnet.opening import Devnet, Funded, open_devnet

__all__ = ["CONFIG", "Chain", "Devnet", "Funded", "NoEmbeddedChain", "Reorganised", "open_devnet"]
