"""`codex` without a command: the node and its API in this process, until a signal or a failure ends them."""

import gc
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
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        # Before anything is opened, so that a signal during the start is an orderly stop, too.
        async with open_node(config) as node, trio.open_nursery() as nursery:
            nursery.start_soon(_serve, node, config)
            number = await anext(aiter(signals))
            # Leaving the receiver's block puts the handlers before it back, so these stand until then.
            signal.signal(signal.SIGINT, _at_once)
            signal.signal(signal.SIGTERM, _at_once)
            log.info("stopping", signal=signal.Signals(number).name)
            nursery.cancel_scope.cancel()


async def _serve(node: Node, config: Config) -> None:
    """Open the node to the world."""

    def published(address: Address) -> None:
        try:
            node.publish(address.host, address.port)
        except (DiskFull, DiskFailed) as error:
            # On a full disk the node must start all the same, so that things can be deleted.
            log.warning("commands will not find this node by its data directory", reason=error.message)
        _say(f"The API listens on {address.url}")

    if config.metrics.enabled:
        await _measure(node, config)
    await start_api(node, config.api, published)
    _welcome(node, config)
    # What was made for the start stays for good: garbage collection need not go through it again and again.
    gc.freeze()


async def _measure(node: Node, config: Config) -> None:
    from codex.cli.measuring import start_metrics  # loads prometheus-client, which few nodes need

    def listening(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        _say(f"The metrics are at http://{shown}:{port}/metrics")

    await start_metrics(node, config.metrics, listening)


def _welcome(node: Node, config: Config) -> None:
    info = node.info()
    log.info("node is running", version=VERSION, peer_id=str(info.peer_id), data_dir=str(config.data_dir))
    listening = ", ".join(info.addresses) or "nowhere"
    _say(
        f"Peer {info.peer_id} listens on {listening}; discovery on UDP {info.discovery_address or 'nowhere'}"
    )


def _say(line: str) -> None:
    """Tell whoever started the node; that nobody can be told is no reason not to run."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError as error:
        log.warning("standard error cannot be written to", reason=str(error))


def _at_once(number: int, _frame: object) -> None:
    # Not by an exception, which the scheduler may be in the middle of something to get. What was acknowledged
    # is durable, so this is no worse than a kill.
    os._exit(128 + number)
