"""A host that starts beside many storage requests: how soon it is there, has judged them all, and has decided
over the first that it looks at closely; and what that takes of memory.

The chain is the embedded one in a process of its own, over its WebSocket on the loopback. The peer is the
same host on a chain with no request, or with one.
"""

import json
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from asked import DAYS, SLOTS
from asked_chain import SAYS as CHAIN_SAYS
from attrs import frozen
from children import HERE, Child, running
from client import Client
from harness import Bench, BenchFailed, Figure, Line, Row, Samples
from memory import resident
from nodes import API, SETTLED, WATCHED, RunningNode, arguments, port_of
from watching import SAYS as STEPS_SAY

from codex.chain.abi import events_by_topic
from codex.devnet.opening import account
from codex.testing.chain_service import key_file

LIMIT = 50.0  # milliseconds of the loop thread's own CPU time that a step may take
QUEUED = 334  # requests, for some thousand slots

_HOST = 1  # account of the chain
_FILL = 600.0  # seconds until a chain must have all its requests
_LOOK = 0.02  # seconds between two looks
_LOOK_AT_MANY = 0.25  # the same where each look has what was decided meanwhile written first
_SCAN = 2048  # blocks of one scan, as the node does it
_OFFER = {
    "totalSize": 1 << 30,
    "duration": 31 * DAYS,
    "minPricePerBytePerSecond": "1",
    "totalCollateral": str(1 << 40),
}


@frozen
class Start:
    """One start of a host. Seconds are counted from the start of its process."""

    answers: float
    decided: float
    memory: float
    """MiB, the most that was resident until then."""
    step: float
    """The longest of the loop's steps since it answered, in milliseconds of CPU time."""


Decided = Callable[[Client], bool]


def figures(bench: Bench) -> Iterator[Figure]:
    """Ten thousand requests and nothing offered; then a thousand slots, all of which are wanted."""
    with ExitStack() as stack:
        directory = stack.enter_context(bench.scratch("disk"))
        empty = stack.enter_context(_chain(bench, 0))
        with _chain(bench, bench.size(10_000, 40)) as full:
            yield _judging(bench, directory, empty, full)
        home = directory / "offering"
        _offer(home, empty)
        few = stack.enter_context(_chain(bench, 1))
        many = stack.enter_context(_chain(bench, bench.size(QUEUED, 10)))
        yield _deciding(bench, directory, home, few, many)


def _judging(bench: Bench, directory: Path, empty: dict[str, Any], full: dict[str, Any]) -> Figure:
    count, last = full["requests"], full["last"]

    def judged(client: Client) -> bool:
        return bool(_decisions(client, f"slot={last}&limit=1"))

    def once(chain: dict[str, Any], decided: Decided) -> Start:
        return _start(directory / f"{bench.stamp()}", chain, decided, settle=True)

    known, none = "all judged", "nothing there"
    found = _rounds(bench, {known: lambda: once(full, judged), none: lambda: once(empty, lambda _: True)})
    bench.say("reading all logs")
    logs = []
    for _ in range(bench.rounds):
        began = time.perf_counter()
        if _logs(full) != count:
            raise BenchFailed("the chain does not tell of every request")
        logs.append(time.perf_counter() - began)
    steps = [start.step for start in found[known]]
    return Figure(
        f"a host that offers nothing starts beside {count:,} requests for {count * SLOTS:,} slots",
        [
            Row("from process start to the first answer", "s", _all(found[known], "answers")),
            Row("  a: the same without any request", "s", _all(found[none], "answers")),
            Row(
                "from process start to the last slot judged, its decision kept",
                "s",
                _all(found[known], "decided"),
            ),
            Row("  b: asking the chain for the logs, and no more", "s", tuple(logs)),
            Row(
                "resident memory at its peak, above a",
                "MiB",
                _above(found, known, none),
            ),
            Row("longest step of the loop since it answered", "CPU ms", tuple(steps)),
        ],
        [Line("longest step of the loop, worst round", (max(steps),), LIMIT, at_most=True, unit="CPU ms")],
        [f"resident without any request: {max(start.memory for start in found[none]):.0f} MiB"],
    )


def _deciding(bench: Bench, directory: Path, home: Path, few: dict[str, Any], many: dict[str, Any]) -> Figure:
    def one_decided(client: Client) -> bool:
        return bool(_decisions(client, "limit=1"))

    def once(chain: dict[str, Any]) -> Start:
        data_dir = directory / f"{bench.stamp()}"
        shutil.copytree(home, data_dir)
        return _start(data_dir, chain, one_decided, settle=False)

    known, peer = "many", "few"
    found = _rounds(bench, {known: lambda: once(many), peer: lambda: once(few)})
    slots = many["requests"] * SLOTS
    return Figure(
        f"a host that offers room for all starts beside {slots:,} slots",
        [
            Row(
                f"from process start to the first decision over {slots:,}",
                "s",
                _all(found[known], "decided"),
            ),
            Row(f"  a: the first over {SLOTS}", "s", _all(found[peer], "decided")),
            Row("resident memory by then, above a", "MiB", _above(found, known, peer)),
        ],
        notes=[f"resident beside {SLOTS} slots: {max(start.memory for start in found[peer]):.0f} MiB"],
    )


def _rounds(bench: Bench, starts: Mapping[str, Callable[[], Start]]) -> dict[str, list[Start]]:
    """As `Bench.interleave`, for what has several figures."""
    found: dict[str, list[Start]] = {name: [] for name in starts}
    for number in range(bench.rounds + 1):
        for name in sorted(starts, reverse=bool(number % 2)):
            bench.say(f"round {number} of {bench.rounds}: {name}")
            start = starts[name]()
            if number:
                found[name].append(start)
    return found


def _all(starts: list[Start], what: str) -> Samples:
    return tuple(getattr(start, what) for start in starts)


def _above(found: dict[str, list[Start]], one: str, other: str) -> Samples:
    pairs = zip(found[one], found[other], strict=True)
    return tuple(mine.memory - theirs.memory for mine, theirs in pairs)


# -- the chain


@contextmanager
def _chain(bench: Bench, requests: int) -> Iterator[dict[str, Any]]:
    """A chain with so many requests, and what it says of itself."""
    bench.say(f"a chain with {requests:,} requests")
    with running(str(HERE / "asked_chain.py"), str(requests)) as child:
        told = json.loads(child.line(CHAIN_SAYS, _FILL))
        yield told | {"requests": requests}


def _logs(chain: dict[str, Any]) -> int:
    """The floor of a start: all that the marketplace ever told, scan by scan; how many there are."""
    count = 0
    topics = [["0x" + topic.hex() for topic in events_by_topic()]]
    for first in range(0, chain["blocks"] + 1, _SCAN):
        wanted = {
            "address": chain["marketplace"],
            "fromBlock": hex(first),
            "toBlock": hex(first + _SCAN - 1),
            "topics": topics,
        }
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [wanted]}
        asked = urllib.request.Request(chain["http_url"], json.dumps(call).encode())
        with urllib.request.urlopen(asked, timeout=60) as reply:
            count += len(json.load(reply)["result"])
    return count


# -- the host


def _options(data_dir: Path, chain: dict[str, Any]) -> list[str]:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = key_file(data_dir, account(_HOST).key.hex())
    return [
        *arguments(data_dir),
        "--disc-port=0",
        "persistence",
        f"--eth-provider={chain['url']}",
        f"--eth-private-key={key}",
        f"--marketplace-address={chain['marketplace']}",
    ]


def _offer(data_dir: Path, chain: dict[str, Any]) -> None:
    """Make a data directory with room on offer."""
    with running(*WATCHED, *_options(data_dir, chain)) as child, Client(port_of(child)) as client:
        body = json.dumps(_OFFER).encode()
        client.post(f"{API}/sales/availability", [body], len(body))


def _start(data_dir: Path, chain: dict[str, Any], decided: Decided, *, settle: bool) -> Start:
    """Start a host, wait for what is to be decided, and where it is to settle until it is idle; stop it."""
    began = time.perf_counter()
    with running(*WATCHED, *_options(data_dir, chain)) as child, Client(port_of(child)) as client:
        node = RunningNode(child, 0, client)
        answers = time.perf_counter() - began
        _longest_step(child)  # those of the start
        end = began + SETTLED
        while not decided(client):
            if time.perf_counter() > end:
                raise BenchFailed(f"nothing was decided within {SETTLED:.0f} s")
            time.sleep(_LOOK_AT_MANY if settle else _LOOK)
        took = time.perf_counter() - began
        if settle:
            node.settle()
        start = Start(answers, took, resident(child.pid, "VmHWM"), _longest_step(child))
    shutil.rmtree(data_dir)
    return start


def _longest_step(child: Child) -> float:
    child.notify(signal.SIGUSR1)
    told: dict[str, float] = json.loads(child.line(STEPS_SAY))
    return told["cpu_ms"]


def _decisions(client: Client, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(client.get(f"{API}/sales/decisions?{query}"))["decisions"]
    return found
