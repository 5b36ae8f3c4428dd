"""How long the node's loop is kept by a single step, while everything else waits: peers, clients, signals."""

import json
import signal
from collections.abc import Callable, Iterator
from typing import Any

import rows
from children import Child, bare_server
from client import Client
from floors import Content
from harness import MIB, Bench, Figure, Line, Row
from nodes import DATA, WATCHED, RunningNode, running_node
from watching import SAYS

LIMIT = 50.0  # milliseconds of the loop thread's own CPU time
DATASETS = 10_000


class Steps:
    """What a watched process says of its longest steps, round by round."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.worst = (0.0, "")

    def during(self, work: Callable[[], object]) -> None:
        """Note the longest step while `work` runs."""
        self._told()
        work()
        told = self._told()
        self.cpu.append(told["cpu_ms"])
        self.wall.append(told["wall_ms"])
        self.worst = max(self.worst, (told["cpu_ms"], told["cpu_task"]))

    def _told(self) -> dict[str, Any]:
        self._child.notify(signal.SIGUSR1)
        told: dict[str, Any] = json.loads(self._child.line(SAYS))
        return told


def figures(bench: Bench) -> Iterator[Figure]:
    """The longest steps of a node, and of bare hypercorn under the same transfers."""
    content = Content(bench.size(256 * MIB, 32 * MIB))
    size = content.size
    datasets = bench.size(DATASETS, 200)
    with bench.scratch("disk") as directory, bare_server("--watch") as (server, port):
        bench.say(f"making a store of {datasets:,} datasets")
        rows.build(directory / "node" / "repo", datasets, 1)
        with running_node(directory / "node", WATCHED) as node, Client(port) as bare:
            own = {what: Steps(node.child) for what in ("upload", "download", "delete", "list")}
            peer = {what: Steps(server) for what in ("upload", "download")}
            bare.drain(f"/bytes/{size}")  # makes its chunks, which is no part of serving them
            for number in range(bench.rounds):
                bench.say(f"round {number + 1} of {bench.rounds}")
                pieces = list(content.stamped(bench.stamp()))
                _round(node, own, pieces, size)
                _peer_round(bare, peer, pieces, size)
    yield Figure(
        f"longest step of the loop, {size // MIB} MiB, data on disk, a list of {datasets:,} datasets",
        [
            *[Row(f"the node, {what}", "CPU ms", tuple(steps.cpu)) for what, steps in own.items()],
            *[Row(f"a: bare hypercorn, {what}", "CPU ms", tuple(steps.cpu)) for what, steps in peer.items()],
            *[Row(f"the node, {what}, by the clock", "ms", tuple(steps.wall)) for what, steps in own.items()],
        ],
        [
            Line(f"the node, {what}, worst round", (max(steps.cpu),), LIMIT, at_most=True, unit="CPU ms")
            for what, steps in own.items()
        ],
        [f"{what}: the longest was a step of {steps.worst[1]}" for what, steps in own.items()],
    )


def _round(node: RunningNode, steps: dict[str, Steps], pieces: list[bytes], size: int) -> None:
    cids: list[str] = []
    steps["upload"].during(lambda: cids.append(node.upload(pieces, size)))
    steps["download"].during(lambda: node.download(cids[0]))
    steps["delete"].during(lambda: node.client.delete(f"{DATA}/{cids[0]}"))
    node.settle()
    steps["list"].during(lambda: node.client.get(DATA))


def _peer_round(client: Client, steps: dict[str, Steps], pieces: list[bytes], size: int) -> None:
    steps["upload"].during(lambda: client.post("/", pieces, size))
    steps["download"].during(lambda: client.drain(f"/bytes/{size}"))
