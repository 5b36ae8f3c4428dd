"""JSON over WebSocket: the same calls as over REST, data both ways beside them, and events.

`protocol.md` describes it to whoever writes a client; `table` is what that page, the dispatch and the tests
are made of.
"""

import trio

from codex.api.problems import Refusal
from codex.api.rpc.hub import Hub
from codex.api.rpc.limits import MAX_SOCKETS
from codex.api.rpc.session import Session, Socket
from codex.logs import get_logger
from codex.node import Node
from codex.runtime.groups import lone

BROKEN = 1011

log = get_logger("api")

FULL = Refusal(
    503,
    "Too many WebSockets are open",
    code="too-much-at-once",
    remedy="close some, or use one for more than one thing",
)


class Sockets:
    """The WebSockets that are open to one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._hub = Hub(node)
        self._stopping = trio.Event()
        self._open = 0

    @property
    def full(self) -> bool:
        """Whether there are as many as may be."""
        return self._open >= MAX_SOCKETS

    async def run(self) -> None:
        """Tell those who have subscribed what happens on the node, until cancelled."""
        await self._hub.run()

    async def serve(self, socket: Socket) -> None:
        """Serve one until it is closed."""
        self._open += 1
        try:
            await Session(self._node, self._hub, socket, self._stopping).run()
        except Exception as error:
            # A bug in one connection ends it, and not the others.
            log.error("a WebSocket failed over a bug", exc_info=lone(error))
            await socket.close(BROKEN, "the node failed over a bug of its own")
        finally:
            self._open -= 1

    def stop(self) -> None:
        """Let requests under way finish for a moment, and close every connection then, with 1001."""
        self._stopping.set()


__all__ = ["FULL", "Sockets"]
