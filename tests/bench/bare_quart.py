"""The peer of the node's JSON calls: one quart-trio route that returns a small object, on stock hypercorn.

A program of its own: prints the port it listens on, and runs until SIGTERM.
"""

import signal
from functools import partial

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.get("/json")
async def answer() -> dict[str, int]:
    """What the node says of its space, as long as it is."""
    return {"totalBlocks": 4096, "quotaMaxBytes": 1 << 34, "quotaUsedBytes": 1 << 28, "quotaReservedBytes": 0}


async def _main() -> None:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    with trio.open_signal_receiver(signal.SIGTERM) as signals:

        async def told() -> None:
            await anext(signals)

        async with trio.open_nursery() as nursery:
            [url] = await nursery.start(partial(serve, app, config, shutdown_trigger=told))
            print(f"listening on {url.rpartition(':')[2]}", flush=True)


if __name__ == "__main__":
    trio.run(_main)
