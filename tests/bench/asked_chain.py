"""A development chain with so many storage requests on it, in a process of its own.

Takes their number; prints `chain {…}` when they are there: the URLs, the marketplace's address, the newest
block, and the first slot of the last request. Runs until SIGTERM.
"""

import json
import signal
import sys

import trio
from asked import send_directly

from codex.devnet import open_devnet

SAYS = "chain "
CLIENT = 2  # the account that asks; a host has another


async def _run(count: int) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with open_devnet() as devnet:
            last = send_directly(devnet, CLIENT, count)
            told = {
                "url": devnet.url,
                "http_url": devnet.http_url,
                "marketplace": devnet.marketplace,
                "blocks": devnet.chain.latest.number,
                "last": None if last is None else str(last),
            }
            print(SAYS + json.dumps(told), flush=True)
            await anext(aiter(signals))


if __name__ == "__main__":
    trio.run(_run, int(sys.argv[1]))
