"""The peer of the node's WebSocket: a bare trio-websocket server that does next to nothing.

A text message comes back as it is, but for two: `give N` is answered by N bytes in messages of 256 KiB, and
`count` by how many bytes have come in binary messages, which are dropped. A program of its own: prints the
port it listens on, runs until SIGTERM.
"""

import signal
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

CHUNK = bytes(262_144)
RECEIVE = 262_144  # bytes read at once, as the node does


async def serve(request: WebSocketRequest) -> None:
    """The whole of it, for one connection."""
    socket = await request.accept()
    came = 0
    try:
        while True:
            message = await socket.get_message()
            if isinstance(message, bytes):
                came += len(message)
            elif message == "count":
                await socket.send_message(str(came))
            elif message.startswith("give "):
                left = int(message.removeprefix("give "))
                while left:
                    chunk = CHUNK if left >= len(CHUNK) else CHUNK[:left]
                    left -= len(chunk)
                    await socket.send_message(chunk)
            else:
                await socket.send_message(message)
    except ConnectionClosed:
        return


async def main() -> None:
    """Listen until told to stop."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            listen = partial(
                serve_websocket, serve, "127.0.0.1", 0, ssl_context=None, receive_buffer_size=RECEIVE
            )
            server = await nursery.start(listen)
            print(f"listening on {server.port}", flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
