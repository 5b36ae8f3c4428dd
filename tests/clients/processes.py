"""The processes that the published clients are run against: nodes, and a development chain with three that
trade.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

PREFIX = "api/codex/v1"
BLOCK_TIME = 0.5  # seconds; a block takes a second of the chain's time at least, which so runs twice as fast

_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}


class Failed(Exception):
    """Why the clients could not be run; for the person at the terminal."""


@frozen
class Market:
    """A chain, and three nodes on it: alice buys, bob and carol sell."""

    chain: str
    """URL of its JSON-RPC over HTTP."""
    marketplace: str
    alice: str
    bob: str
    carol: str


def record(url: str) -> str:
    """The record of the node at `url`, which another one can ask first."""
    with urllib.request.urlopen(f"{url}/{PREFIX}/spr", timeout=10) as reply:
        return str(json.load(reply)["spr"])


@contextmanager
def running_market() -> Iterator[Market]:
    """Run a development chain and three nodes on it. Raises Failed."""
    with tempfile.TemporaryDirectory() as directory, running_chain(Path(directory)) as told:

        def options(number: int) -> list[str]:
            return [
                "persistence",
                f"--eth-provider={told['url']}",
                f"--eth-private-key={directory}/{number}.key",
                f"--marketplace-address={told['marketplace']}",
            ]

        with running_node(market=options(1)) as alice:
            known = record(alice)
            with running_node(known, options(2)) as bob, running_node(known, options(3)) as carol:
                yield Market(told["httpUrl"], told["marketplace"], alice, bob, carol)


@contextmanager
def running_chain(keys: Path) -> Iterator[dict[str, str]]:
    """Run a development chain whose accounts have their keys in that directory; what it tells of itself."""
    options = ["--port=0", f"--block-time={BLOCK_TIME}", "--json", f"--keys={keys}"]
    command = [sys.executable, "-m", "codex", "devnet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT) as chain:
        assert chain.stdout is not None
        try:
            line = chain.stdout.readline()
            if not line:
                raise Failed("The development chain did not start.")
            yield json.loads(line)
        finally:
            _end(chain)
    if chain.returncode != 0:
        raise Failed(f"The development chain ended with {chain.returncode}.")


@contextmanager
def running_node(bootstrap: str = "", market: Sequence[str] = ()) -> Iterator[str]:
    """Run a node in a process of its own, which asks `bootstrap` first if there is one; its URL. `market` has
    the word persistence and what follows it.

    Raises Failed when it does not start or end well.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        alone = ["--listen-addrs=/ip4/127.0.0.1/tcp/0", "--disc-port=0"]
        if bootstrap:
            alone.append(f"--bootstrap-node={bootstrap}")
        options = [f"--data-dir={directory}/data", "--api-port=0", f"--log-file={log}", *alone]
        command = [sys.executable, "-m", "codex", *options, "--log-format=none", *market]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_ENVIRONMENT) as node:
            assert node.stderr is not None
            try:
                line = node.stderr.readline()
                found = re.search(r"The API listens on (\S+)", line)
                if found is None:
                    raise Failed(f"The node did not start: {line}{node.stderr.read()}")
                yield found[1]
            finally:
                _end(node)
        errors = [
            line for line in log.read_text("utf-8").splitlines() if re.search(r"\[(error|fatal) ", line)
        ]
        if node.returncode != 0 or errors:
            raise Failed("\n".join([f"The node ended with {node.returncode}.", *errors]))


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
