"""The peer of the node's API: stock hypercorn on trio, serving an ASGI callable that does next to nothing.

`POST` reads a body and drops it. `GET /bytes/N` gives N bytes in chunks of 256 KiB, each from memory of its
own: one chunk again and again would come out of the processor's cache, as no dataset does. `GET /json` gives
a small JSON object.

A program of its own: prints the port it listens on, and runs until SIGTERM. With `--watch` it answers SIGUSR1
with the longest step of its loop (see watching.py).
"""

import os
import signal
import sys
from functools import lru_cache, partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from watching import watch_on_signal

from codex.runtime.stall import LoopWatch

CHUNK = 262_144  # bytes
JSON = b'{"totalBlocks":4096,"quotaMaxBytes":21474836480,"quotaUsedBytes":268435456,"quotaReservedBytes":0}'


async def application(scope: Any, receive: Any, send: Any) -> None:
    """The whole of it, as ASGI 3."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["method"] == "POST":
        size = await _swallow(receive)
        await _answer(send, b"text/plain", b"%d" % size)
    elif scope["path"].startswith("/bytes/"):
        await _pour(send, int(scope["path"].removeprefix("/bytes/")))
    else:
        await _answer(send, b"application/json", JSON)


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _swallow(receive: Any) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            return size


@lru_cache(maxsize=1)
def _chunks(size: int) -> list[bytes]:
    random = os.urandom(CHUNK)
    # A copy through bytearray is memory of its own; a slice of the whole would not be.
    return [bytes(bytearray(random[: size - at])) for at in range(0, size, CHUNK)]


async def _pour(send: Any, size: int) -> None:
    chunks = _chunks(size)
    await send(_start(b"application/octet-stream", size))
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _answer(send: Any, kind: bytes, body: bytes) -> None:
    await send(_start(kind, len(body)))
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _start(kind: bytes, size: int) -> dict[str, Any]:
    headers = [(b"content-type", kind), (b"content-length", b"%d" % size)]
    return {"type": "http.response.start", "status": 200, "headers": headers}


async def _main(watch: LoopWatch | None) -> None:
    if watch is not None:
        trio.lowlevel.add_instrument(watch)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    with trio.open_signal_receiver(signal.SIGTERM) as signals:

        async def told() -> None:
            await anext(signals)

        async with trio.open_nursery() as nursery:
            run = partial(serve, application, config, shutdown_trigger=told)
            [url] = await nursery.start(run)
            print(f"listening on {url.rpartition(':')[2]}", flush=True)


if __name__ == "__main__":
    trio.run(_main, watch_on_signal() if "--watch" in sys.argv else None)
