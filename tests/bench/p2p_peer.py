"""The far end of the p2p figure: takes streams of bytes and drops them, over Noise and mplex or over TLS.

A program of its own: prints the ports it listens on, says over each stream how much came when it ends, and
runs until SIGTERM. With `watch`, its loop is watched.
"""

import json
import signal
import ssl
import sys
from collections.abc import Collection

import trio
from watching import watch_on_signal

from codex.p2p import Identity
from codex.p2p.connection import open_connection
from codex.p2p.framing import MessageReader
from codex.p2p.limits import Limits
from codex.p2p.negotiating import Handler
from codex.p2p.streams import Stream
from codex.runtime import SystemClock, SystemEntropy

NAME = "/codex/bench/1.0.0"
RECEIVE = 262_144  # bytes read at once from TLS, as from a connection
LIMIT = 4 * 1024 * 1024  # bytes of a message


class Only:
    """A single protocol, and who serves it."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def names(self) -> Collection[str]:
        return (NAME,)

    def handler(self, name: str) -> Handler | None:
        return self._handler if name == NAME else None


async def drop_messages(stream: Stream) -> None:
    """Read messages to the end, as a whole each, and say how many bytes they had."""
    reader = MessageReader(stream, LIMIT)
    came = 0
    while (message := await reader.receive()) is not None:
        came += len(message)
    await stream.send_all(str(came).encode())


async def serve_connection(stream: trio.SocketStream) -> None:
    entropy = SystemEntropy()
    async with open_connection(
        stream,
        identity=Identity.generate(entropy),
        dialer=False,
        expect=None,
        protocols=Only(drop_messages),
        limits=Limits(),
        entropy=entropy,
        clock=SystemClock(),
    ) as connection:
        await connection.closed.wait()


async def serve_tls(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """The first eight bytes say how many follow."""
    head = await stream.receive_some(8)
    size, came = int.from_bytes(head[:8], "big"), len(head) - 8
    while came < size:
        came += len(await stream.receive_some(RECEIVE))
    await stream.send_all(str(came).encode())
    await stream.receive_some(1)


async def main(certificate: str) -> None:
    """Listen until told to stop."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            plain = await trio.open_tcp_listeners(0, host="127.0.0.1")
            sealed = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve_connection, plain)
            nursery.start_soon(trio.serve_listeners, serve_tls, sealed)
            ports = {
                "p2p": plain[0].socket.getsockname()[1],
                "tls": sealed[0].transport_listener.socket.getsockname()[1],
            }
            print("listening on " + json.dumps(ports), flush=True)
            await anext(signals)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    watch = watch_on_signal()
    trio.run(main, sys.argv[1], instruments=[watch] if "watch" in sys.argv[2:] else [])
