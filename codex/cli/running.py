"""`codex` without a command: the node and its API in this process, until a signal or a failure ends them."""

import os
import signal
import sys
from functools import partial

import trio

from codex.api import Address, start_api
from codex.config import Config
from codex.errors import DiskFailed, DiskFull
from codex.logs import configured, get_logger
from codex.node import Node, open_node
from codex.version import VERSION

log = get_logger("node")


def run(config: Config) -> int:
    """Run the node until SIGINT or SIGTERM; the exit code. Raises CodexError when it cannot start or go on.

    A second signal ends the process at once, without waiting for transfers.
    """
    with configured(config.log):
        for warning in config.warnings:
            log.warning(warning)
        trio.run(partial(_run, config))
    return 0


async def _run(config: Config) -> None:
    async with open_node(config) as node:

        def published(address: Address) -> None:
            try:
                node.publish(address.host, address.port)
            except (DiskFull, DiskFailed) as error:
                # On a full disk the node must start all the same, so that things can be deleted.
                log.warning("commands will not find this node by its data directory", reason=error.message)
            print(f"The API listens on {address.url}", file=sys.stderr, flush=True)

        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            if config.metrics.enabled:
                await _measure(node, config)
            await start_api(node, config.api, published)
            _welcome(node, config)
            async for number in signals:
                log.info("stopping", signal=signal.Signals(number).name)
                break
        # Leaving the block has put the handlers before it back, so these come after it.
        signal.signal(signal.SIGINT, _at_once)
        signal.signal(signal.SIGTERM, _at_once)


async def _measure(node: Node, config: Config) -> None:
    from codex.cli.measuring import start_metrics  # loads prometheus-client, which few nodes need

    def listening(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        print(f"The metrics are at http://{shown}:{port}/metrics", file=sys.stderr, flush=True)

    await start_metrics(node, config.metrics, listening)


def _welcome(node: Node, config: Config) -> None:
    info = node.info()
    log.info("node is running", version=VERSION, peer_id=str(info.peer_id), data_dir=str(config.data_dir))


def _at_once(number: int, _frame: object) -> None:
    # Not by an exception, which the scheduler may be in the middle of something to get. What was acknowledged
    # is durable, so this is no worse than a kill.
    os._exit(128 + number)
