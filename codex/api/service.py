"""The API as a service: one life is one set of listeners and the connections that came through them."""

from collections.abc import Callable

import trio

from codex.api.access import Access
from codex.api.server import Address, Server, is_local, listen
from codex.config import ApiConfig, read_token
from codex.logs import get_logger
from codex.node import Node
from codex.runtime.mailbox import Inbox

GRACE = 5.0  # seconds that transfers in progress may still take when the node stops

log = get_logger("api")


class ApiService:
    """Serves the node's API; `on_listening` is told the address once connections are accepted."""

    def __init__(self, node: Node, config: ApiConfig, on_listening: Callable[[Address], None]) -> None:
        self._node = node
        self._config = config
        self._on_listening = on_listening

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen, serve until told to stop, and let transfers in progress finish for a moment."""
        file = self._config.token_file
        access = Access(None if file is None else read_token(file))
        listeners, address = await listen(self._config)
        try:
            server = Server(self._node, self._config, access)
            if not access.guarded and not is_local(listeners):
                log.warning(
                    "EVERYBODY who can reach this machine may store, read and delete here",
                    address=address.url,
                    remedy="give --api-token-file, or listen with --api-bindaddr=127.0.0.1",
                )
            self._on_listening(address)
            log.info("the API is listening", address=address.url)
            task_status.started()
            await server.serve(listeners, inbox.stopping, GRACE)
        finally:
            for listener in listeners:
                listener.socket.close()
