"""A WebSocket's frames, where hypercorn leaves something undone.

hypercorn's stream parses frames (by wsproto) and speaks ASGI with the application. What is overridden, and
why:

- nothing is ever compressed: a few kilobytes could grow into hundreds of megabytes in one step of the loop,
  and what a dataset holds is mostly compressed already;
- whoever breaks the protocol is told how (1002, 1007; 1009 for a message that is too long), and the
  application is told that the client is gone; what still comes then is forgotten, and not kept;
- a goodbye is waited for, for a while, so that the client gets to read ours: closing over unread bytes would
  take it back;
- a client that is silent for five minutes, pings and all, is gone;
- a handshake that was refused ends its connection, and so does an application that has ended.
"""

from base64 import b64decode
from dataclasses import replace
from http import HTTPStatus
from typing import Any, cast

import h11
import trio
from hypercorn.protocol.events import Body, Data, EndBody, Event, Request, Response, StreamClosed
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.typing import ASGISendEvent, H11SendableEvent, WebsocketAcceptEvent
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage

from codex.api.rpc.limits import FAREWELL, MAX_MESSAGE, PING, STALL

TOO_LONG = 1009
BROKEN = 1011  # the application failed
ANSWER = 1.0  # seconds
VERSION = b"13"  # the only one there is
KEY = 16  # bytes


class SocketStream(WSStream):
    """One WebSocket between hypercorn's connection and the application."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.buffer = WebsocketBuffer(MAX_MESSAGE)
        self._heard = trio.current_time()
        self._leaving = False  # our goodbye is said, or not to be said any more
        self._deaf = False  # what comes cannot be understood any more
        self._sending = trio.Lock()  # by the application, a message or its goodbye
        self._cut = False  # a message may have gone out in part
        self._over = trio.Event()  # nothing more will come

    # -- from the client

    async def handle(self, event: Event) -> None:
        """Take what the connection has for this stream."""
        match event:
            case Request():
                event = replace(event, headers=[one for one in event.headers if _is_taken(*one)])
            case Data() | Body():
                self._heard = trio.current_time()
                if self._deaf or self._over.is_set():
                    return
            case StreamClosed():
                self._over.set()
        await super().handle(event)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            match event:
                case TextMessage() | BytesMessage():
                    await self._take(event)
                case Ping():
                    await self._send_wsproto_event(event.response())
                case CloseConnection():
                    if self.connection.state is ConnectionState.REMOTE_CLOSING:
                        await self._send_wsproto_event(event.response())
                        await self._end()
                    elif self.connection.state is ConnectionState.CLOSED:
                        self._over.set()  # the answer to ours
                    else:
                        self._deaf = True
                        await self._dismiss(event.code, event.reason or "")

    async def _take(self, message: TextMessage | BytesMessage) -> None:
        if self._leaving:
            return
        try:
            self.buffer.extend(message)
        except FrameTooLargeError:
            self.buffer.clear()
            await self._dismiss(TOO_LONG, f"a message has at most {MAX_MESSAGE} bytes")
            return
        if message.message_finished:
            whole = self.buffer.to_message()
            self.buffer.clear()
            await self._put(whole)

    async def _dismiss(self, code: int, reason: str) -> None:
        """The client has broken the protocol: tell it, and the application that it is gone."""
        if not self._leaving:
            await self._leave(code, reason)
            await self._put({"type": "websocket.disconnect", "code": code})

    async def _put(self, message: dict[str, object]) -> None:
        if self.app_put is not None:
            await self.app_put(message)

    # -- from the application

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Take what the application has for the client; None when it has ended."""
        if self.closed:
            return
        if message is None:
            await self._app_ended()
        elif message["type"] == "websocket.send":
            await self._pass_on(message)
        elif message["type"] == "websocket.close" and self.state is ASGIWebsocketState.CONNECTED:
            await self._leave(int(message.get("code") or 1000), message.get("reason") or "")
        elif not self._leaving:
            await super().app_send(message)

    async def _pass_on(self, message: ASGISendEvent) -> None:
        async with self._sending:
            if self._leaving:
                return
            try:
                await super().app_send(message)
            except trio.Cancelled:
                self._cut = True
                raise

    async def _app_ended(self) -> None:
        self.app_put = None  # what still comes is for nobody
        if self.state is ASGIWebsocketState.HANDSHAKE:
            await self._send_error_response(500)
            return
        if self.state is ASGIWebsocketState.CONNECTED:
            await self._leave(BROKEN, "the node failed over a bug of its own")
        if self._leaving:
            # An answer that cannot be understood any more is given only the time that it takes to come.
            with trio.move_on_after(ANSWER if self._deaf else FAREWELL):
                await self._over.wait()
        await self._end()

    # -- the connection

    async def _leave(self, code: int, reason: str) -> None:
        """Say goodbye, unless half a message stands before it or the client does not read."""
        self._leaving = True
        self.state = ASGIWebsocketState.CLOSED
        with trio.move_on_after(FAREWELL):
            async with self._sending:
                if not self._cut:
                    await self._send_wsproto_event(CloseConnection(code=code, reason=reason))
                    return
        self._over.set()

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        await super()._accept(message)
        self.task_group.spawn(self._watch)

    async def _watch(self) -> None:
        while not self.closed:
            await trio.sleep(PING)
            if trio.current_time() - self._heard > STALL:
                await self._end()
            else:
                await self._send_wsproto_event(Ping())

    async def _send_error_response(self, status_code: int) -> None:
        if status_code == 400 and self.handshake.version not in (None, VERSION):
            headers = [(b"sec-websocket-version", VERSION), (b"upgrade", b"websocket")]
            headers += [(b"content-length", b"0"), (b"connection", b"close")]
            await self.send(Response(stream_id=self.stream_id, status_code=426, headers=headers))
            await self.send(EndBody(stream_id=self.stream_id))
        else:
            await super()._send_error_response(status_code)
        await self._end()

    async def _end(self) -> None:
        if not self.closed:
            await self.send(StreamClosed(stream_id=self.stream_id))


class SocketProtocol(H11Protocol):
    """hypercorn's HTTP/1.1, with these WebSockets in the place of its own."""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        if isinstance(event, h11.Response) and not event.reason:
            phrase = HTTPStatus(event.status_code).phrase
            event = h11.Response(status_code=event.status_code, headers=event.headers, reason=phrase)
        await super()._send_h11_event(event)

    async def _create_stream(self, request: h11.Request) -> None:
        if not _is_upgrade(request):
            await super()._create_stream(request)
            return
        self.stream = SocketStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.connection = H11WSConnection(cast(h11.Connection, self.connection))
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode("ascii"),
                method="GET",
                raw_path=request.target,
                state=self.connection_state,
            )
        )


def _is_taken(name: bytes, value: bytes) -> bool:
    """Whether a header of a handshake counts: no extensions are spoken, and a key is 16 bytes in Base64."""
    match name.lower():
        case b"sec-websocket-extensions":
            return False
        case b"sec-websocket-key":
            try:
                return len(b64decode(value.strip(), validate=True)) == KEY
            except ValueError:
                return False
    return True


def _is_upgrade(request: h11.Request) -> bool:
    """Whether hypercorn could take it for a WebSocket: where headers come twice it looks at one of them."""
    tokens = [
        token.strip().lower()
        for name, value in request.headers
        if name == b"connection"
        for token in value.split(b",")
    ]
    protocols = [value.strip().lower() for name, value in request.headers if name == b"upgrade"]
    return request.method == b"GET" and b"upgrade" in tokens and b"websocket" in protocols
