"""The embedded chain's JSON-RPC, over WebSocket and HTTP POST on one port, as wallets and nodes expect it.

Whoever connects may do anything with the chain: it is for this machine. A connection that does not take what
it subscribed to is closed, and whoever it was reads the logs of the time between.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import h11
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_server_stream

from codex.devnet.chain import News
from codex.devnet.errors import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR, Refused
from codex.devnet.methods import Methods
from codex.devnet.polling import added, news_of
from codex.devnet.values import Filter
from codex.devnet.wire import Json, data, json_header, quantity, read_filter
from codex.errors import PortTaken
from codex.logs import get_logger
from codex.runtime import Broadcast, Lagged

HEAD = 16 * 1024
"""Bytes of a request's head."""
LARGEST = 4 << 20
"""Bytes of a request's body or a message."""
BATCH = 1000
"""Requests in one message."""
BEHIND = 1024
"""Blocks that a subscriber may be behind."""
SUBSCRIPTIONS = 1000
"""Of one connection."""
PATIENCE = 10.0
"""Seconds for the head of a request."""

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)

log = get_logger("devnet")


class Server:
    """Answers on connections, of either kind, about one chain."""

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        self._news: Broadcast[News] = Broadcast()
        methods.chain.listeners.append(self._news.publish)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until it ends; then the stream is closed."""
        async with stream:
            try:
                head = b""
                with trio.move_on_after(PATIENCE):
                    head = await _head(stream)
                if _UPGRADE.search(head):
                    await self._serve_socket(_Resumed(head, stream))
                elif head:
                    await self._serve_http(_Resumed(head, stream))
            except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError) as error:
                log.debug("connection ended", why=str(error))

    # WebSocket.

    async def _serve_socket(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            try:
                with trio.fail_after(PATIENCE):
                    request = await wrap_server_stream(
                        nursery, stream, max_message_size=LARGEST, receive_buffer_size=65536
                    )
                    socket = await request.accept()
                await self._converse(socket)
            except (ConnectionClosed, HandshakeError, trio.TooSlowError) as error:
                log.debug("connection ended", why=str(error) or type(error).__name__)
            nursery.cancel_scope.cancel()

    async def _converse(self, socket: WebSocketConnection) -> None:
        wanted = _Wanted()
        async with self._news.subscribe(BEHIND) as news, trio.open_nursery() as nursery:
            nursery.start_soon(self._push, socket, wanted, news, nursery.cancel_scope)
            try:
                while True:
                    answer = await self._answer(await socket.get_message(), wanted)
                    if answer is not None:
                        await socket.send_message(answer)
            except ConnectionClosed:
                nursery.cancel_scope.cancel()

    async def _push(
        self,
        socket: WebSocketConnection,
        wanted: "_Wanted",
        news: AsyncIterator[News | Lagged],
        connection: trio.CancelScope,
    ) -> None:
        async for item in news:
            if isinstance(item, Lagged):
                log.warning("a subscriber is too slow and is disconnected", blocks_behind=BEHIND)
                connection.cancel()
                return
            try:
                for message in wanted.told(item):
                    await socket.send_message(message)
            except ConnectionClosed:
                connection.cancel()
                return

    # HTTP.

    async def _serve_http(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD)

        async def event() -> h11.Event | type[h11.PAUSED]:
            while True:
                found = connection.next_event()
                if found is not h11.NEED_DATA:
                    return found  # type: ignore[return-value]
                if connection.they_are_waiting_for_100_continue:
                    await send(h11.InformationalResponse(status_code=100, headers=[]))
                connection.receive_data(bytes(await stream.receive_some(65536)))

        async def send(*events: h11.Event) -> None:
            await stream.send_all(b"".join(connection.send(item) or b"" for item in events))

        while True:
            request = await event()
            if not isinstance(request, h11.Request):
                return
            body = bytearray()
            while isinstance(part := await event(), h11.Data):
                body += part.data
                if len(body) > LARGEST:
                    await send(*_response(413, b"the request is too large\n"))
                    return
            if request.method == b"POST":
                answer = await self._answer(bytes(body), None)
                await send(*_response(200, b"" if answer is None else answer.encode()))
            else:
                await send(*_response(405, b"JSON-RPC is asked by POST or over a WebSocket\n"))
            if connection.our_state is h11.MUST_CLOSE:
                return
            connection.start_next_cycle()

    # Both.

    async def _answer(self, text: str | bytes, wanted: "_Wanted | None") -> str | None:
        """What is answered to a message; None when nothing is (notifications only)."""
        try:
            given = json.loads(text)
        except (ValueError, RecursionError):
            return json.dumps(_error(None, Refused(PARSE_ERROR, "parse error")))
        if not isinstance(given, list):
            answer = await self._one(given, wanted)
            return None if answer is None else json.dumps(answer)
        if not 0 < len(given) <= BATCH:
            return json.dumps(_error(None, Refused(INVALID_REQUEST, f"a batch has 1 to {BATCH} requests")))
        answers = [answer for item in given if (answer := await self._one(item, wanted)) is not None]
        return json.dumps(answers) if answers else None

    async def _one(self, given: Json, wanted: "_Wanted | None") -> Json:
        method, params = (
            (given.get("method"), given.get("params") or []) if isinstance(given, dict) else ("", 0)
        )
        if not isinstance(method, str) or not isinstance(params, list):
            return _error(None, Refused(INVALID_REQUEST, "invalid request"))
        id = given.get("id")
        try:
            if wanted is not None and method in ("eth_subscribe", "eth_unsubscribe"):
                result = wanted.subscribe(*params) if method == "eth_subscribe" else wanted.end(*params)
            else:
                result = await self._methods.answer(method, params)
        except Refused as refused:
            answer = _error(id, refused)
        except Exception:
            # A chain for development answers on: what is wrong is logged with its stack.
            log.exception("a request failed", method=method)
            answer = _error(id, Refused(INTERNAL_ERROR, "internal error"))
        else:
            answer = {"jsonrpc": "2.0", "id": id, "result": result}
        return answer if "id" in given else None


class _Wanted:
    """What one connection has subscribed to: headers of blocks (None), or logs."""

    def __init__(self) -> None:
        self._filters: dict[str, Filter | None] = {}
        self._named = 0

    def subscribe(self, *params: Json) -> Json:
        match params:
            case ("newHeads",):
                wanted = None
            case ("logs",):
                wanted = Filter()
            case ("logs", given):
                wanted = read_filter(given)
            case _:
                raise Refused(INVALID_PARAMS, f"there are subscriptions to newHeads and logs, not {params}")
        if len(self._filters) >= SUBSCRIPTIONS:
            raise Refused(INVALID_REQUEST, f"more than {SUBSCRIPTIONS} subscriptions are not kept")
        self._named += 1
        name = quantity(self._named)
        self._filters[name] = wanted
        return name

    def end(self, *params: Json) -> Json:
        match params:
            case (str(name),) if name in self._filters:
                del self._filters[name]
                return True
        return False

    def told(self, news: News) -> list[str]:
        """The messages that `news` is to this connection."""
        messages = []
        for name, wanted in self._filters.items():
            items = [json_header(block) for block in added(news)] if wanted is None else news_of(wanted, news)
            for item in items:
                params = {"subscription": name, "result": item}
                messages.append(
                    json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})
                )
        return messages


class _Resumed(trio.abc.Stream):
    """A stream of which something was read already."""

    def __init__(self, head: bytes, stream: trio.abc.Stream) -> None:
        self._head = head
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self._head:
            return bytes(await self._stream.receive_some(max_bytes))
        await trio.lowlevel.checkpoint()
        cut = len(self._head) if max_bytes is None else max_bytes
        taken, self._head = self._head[:cut], self._head[cut:]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _head(stream: trio.abc.Stream) -> bytes:
    """What there is up to the end of a head, or at least of what may be one; b"" at the end of the stream."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD:
        more = await stream.receive_some(HEAD)
        if not more:
            return b""
        head += more
    return head


def _response(status: int, body: bytes) -> tuple[h11.Event, ...]:
    kind = b"application/json" if status == 200 else b"text/plain"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    return h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()


def _error(id: Json, refused: Refused) -> Json:
    error: dict[str, Json] = {"code": refused.code, "message": refused.message}
    if refused.data is not None:
        error["data"] = data(refused.data)
    return {"jsonrpc": "2.0", "id": id, "error": error}


@asynccontextmanager
async def listening(server: Server, host: str, port: int) -> AsyncIterator[int]:
    """Serve on that address for the length of the block; yields the port, which with 0 is any that is free.

    Raises PortTaken.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise PortTaken(
            f"the embedded chain cannot listen on {host}:{port}: {error.strerror or error}",
            remedy="Choose another port with --port, or end what uses this one.",
        ) from error
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, server.serve, listeners))
        try:
            yield listeners[0].socket.getsockname()[1]
        finally:
            nursery.cancel_scope.cancel()
