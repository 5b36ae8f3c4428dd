"""A node in a process of its own, as a user runs it: `python -m codex`, spoken to over its REST interface."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from children import HERE, Child, running
from client import Client
from harness import BenchFailed

API = "/api/codex/v1"
DATA = f"{API}/data"
SPACE = f"{API}/space"

PROGRAM = ("-m", "codex")
WATCHED = (str(HERE / "watched_node.py"),)
SLOW_DISK = (str(HERE / "slow_node.py"),)  # takes its rate as the next argument

SETTLED = 120.0  # seconds until deleted data must be gone
_STEP = 0.05  # seconds between two looks while waiting for that
_QUOTA = 16 << 40


class RunningNode:
    """A running node and a connection to it. Notes how much room is in use when it is made."""

    def __init__(self, child: Child, port: int, client: Client) -> None:
        self.child = child
        self.port = port
        self.client = client
        self._base = self._used()

    def _used(self) -> int:
        return self.space()["quotaUsedBytes"]

    def space(self) -> dict[str, int]:
        """What GET /space says."""
        said: dict[str, int] = json.loads(self.client.get(SPACE))
        return said

    def upload(self, pieces: Iterable[bytes], size: int) -> str:
        """Upload a dataset over a connection of its own; the text of its CID."""
        with Client(self.port) as client:
            return client.post(DATA, pieces, size).decode("ascii")

    def download(self, cid: str) -> int:
        """Download a dataset over a connection of its own and drop it; its size."""
        with Client(self.port) as client:
            return client.drain(f"{DATA}/{cid}")

    def delete(self, cid: str) -> None:
        """Delete the only dataset but those of the start; return when its room is free and the node idle."""
        self.client.delete(f"{DATA}/{cid}")
        self.wait(lambda: self._used() == self._base, "free the room of a deleted dataset")
        self.settle()

    def settle(self) -> None:
        """Wait until the node uses no CPU time for a moment."""
        seen = [-1.0]

        def idle() -> bool:
            before, seen[0] = seen[0], self.child.cpu()
            return seen[0] == before

        self.wait(idle, "become idle")

    def wait(self, met: Callable[[], bool], what: str) -> None:
        """Look now and then whether `met()`. Raises BenchFailed when it takes too long."""
        end = time.monotonic() + SETTLED
        while not met():
            if time.monotonic() > end:
                raise BenchFailed(f"the node did not {what} within {SETTLED:.0f} s")
            time.sleep(_STEP)


def arguments(data_dir: Path) -> list[str]:
    """The options that a node is run with here: any free port, room enough, and no log but warnings."""
    return [
        f"--data-dir={data_dir}",
        "--api-port=0",
        f"--storage-quota={_QUOTA}",
        "--listen-addrs=/ip4/127.0.0.1/tcp/0",
        "--nat=none",
        "--log-level=warn",
    ]


def port_of(child: Child) -> int:
    """The port of the API, once it listens."""
    port = urlsplit(child.line("The API listens on ")).port
    assert port is not None
    return port


@contextmanager
def running_node(data_dir: Path, program: tuple[str, ...] = PROGRAM, *options: str) -> Iterator[RunningNode]:
    """Run a node on `data_dir` for the length of the block; it must stop in order."""
    with running(*program, *arguments(data_dir), *options) as child:
        port = port_of(child)
        with Client(port) as client:
            node = RunningNode(child, port, client)
            node.settle()
            yield node
