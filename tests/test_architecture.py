"""The shape of the house: who may import whom, and who may touch threads, sockets, clocks and chance.

Reads the sources without running them. A rule stands here as data; an exception stands beside it, with its
reason.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "codex"

# From the ground up: a part imports only from rows above its own here. "" is the face of the whole package.
ROWS = [
    ["errors", "version"],
    ["units", "logs", "metrics", "lock"],
    ["codec", "runtime", "config"],
    ["kernels"],
    ["data", "market"],
    ["erasure"],
    ["slots"],
    ["proofs"],
    ["p2p"],
    ["discovery", "store", "chain"],
    ["exchange", "purchasing", "sales", "validation"],
    ["node"],
    [""],
    ["api", "client", "devnet", "testing"],
    ["cli"],
    ["__main__"],
]
# Within a row: a local cluster and the demo are made of the others, and so are the shared test worlds.
SIBLINGS = {"devnet": ["api", "client", "testing"], "testing": ["api", "client"]}

PURE = ["codec", "data", "market", "erasure", "slots"]
PURE_MAY_IMPORT = [*PURE, "errors", "units", "kernels"]

SERVICES = ["p2p", "discovery", "store", "chain", "exchange", "purchasing", "sales", "validation", "api"]
INNER_ROOMS = ["service", "calls"]
CHOOSERS = ["codex.node.wiring", "codex.testing"]
NODE_USERS = ["node", "", "api", "devnet", "testing", "cli"]

# What is touched by naming a name, and the modules and packages where the name may stand.
SOCKETS = [
    "socket",
    "ssl",
    "select",
    "selectors",
    "socketserver",
    "asyncio",
    "http.client",
    "http.server",
    "urllib.request",
    "httpx",
    "httpcore",
    "hypercorn.run",
    "hypercorn.asyncio",
    "hypercorn.trio.serve",
    "hypercorn.trio.run",
    "trio_websocket",
    "trio.socket",
    "trio.SocketStream",
    "trio.SocketListener",
    "trio.open_tcp_stream",
    "trio.open_tcp_listeners",
    "trio.open_unix_socket",
    "trio.serve_tcp",
    "trio.open_ssl_over_tcp_stream",
    "trio.open_ssl_over_tcp_listeners",
    "trio.serve_ssl_over_tcp",
]
THREADS = [
    "threading",
    "_thread",
    "concurrent.futures",
    "multiprocessing",
    "trio.to_thread",
    "trio.from_thread",
]
CLOCK_OR_CHANCE = [
    "time.time",
    "time.time_ns",
    "time.monotonic",
    "time.monotonic_ns",
    "time.sleep",
    "time.localtime",
    "random",
    "secrets",
    "uuid",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "os.urandom",
    "os.getrandom",
]
SOCKET_PLACES = [
    "codex.p2p",
    "codex.discovery",
    "codex.chain.provider",
    "codex.api.server",
    "codex.metrics",
    "codex.client",
    "codex.devnet.server",
    "codex.cli",
    "codex.testing.http",  # a client that shows what came over the wire cannot stand above the wire
]
TOUCHES = [
    ("sockets", SOCKETS, SOCKET_PLACES),
    # testing.counting counts threads and starts none.
    ("threads", THREADS, ["codex.runtime.threads", "codex.testing.counting"]),
    # A line of the log carries the machine's own time.
    ("the clock or chance", CLOCK_OR_CHANCE, ["codex.runtime.clock", "codex.logs"]),
]
IMPURE = ["trio", "logging", "structlog", "time", "subprocess", *SOCKETS, *THREADS, *CLOCK_OR_CHANCE]

MADE_UP = "a name made up at run time"


def within(name: str, roots: Iterable[str]) -> bool:
    """Whether `name` is one of `roots` or inside one."""
    return any(name == root or name.startswith(root + ".") for root in roots)


def part(module: str) -> str:
    """The part of the house that a module is in: "store" for codex.store.index, "" for codex itself."""
    return [*module.split("."), ""][1]


def row(module: str) -> int | None:
    """How high the part of a module stands, from the ground up."""
    return next((number for number, parts in enumerate(ROWS) if part(module) in parts), None)


def imports(module: str, is_package: bool, tree: ast.AST) -> Iterator[tuple[int, str, str, str]]:
    """Yield (line, module, name in full, name it is bound to) for every import, wherever it stands.

    The name in full is the module's, or that of something in it, which may be a module again.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, alias.name, alias.asname or alias.name
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            base = base[: len(base) - node.level + is_package] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, source, f"{source}.{alias.name}", alias.asname or alias.name
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else MADE_UP
            yield node.lineno, name, name, ""


def names(module: str, is_package: bool, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, name in full) for everything foreign that is named: imports, and what is in them."""
    bound = {}
    for line, _, full, local in imports(module, is_package, tree):
        yield line, full
        bound[local.split(".")[0]] = full.split(".")[0] if "." in local else full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, *rest = ast.unparse(node).split(".")
            if root in bound:
                yield node.lineno, ".".join([bound[root], *rest])


def faults(house: Mapping[str, str], packages: Iterable[str] = ()) -> list[str]:
    """Return what is wrong with the modules of `house` (name -> source), of which some are `packages`."""
    found: list[str] = []
    edges: dict[str, set[str]] = {}
    for module, text in house.items():
        tree = ast.parse(text)
        if row(module) is None:
            found.append(f"{module}: no row says where {part(module)} belongs")
            continue
        for line, name in sorted(set(names(module, module in packages, tree))):
            for what, roots, places in TOUCHES:
                if within(name, roots) and not within(module, places):
                    found.append(f"{module}:{line}: touches {what} ({name})")
            if part(module) in PURE and within(name, IMPURE):
                found.append(f"{module}:{line}: is pure, and uses {name}")
        for line, source, full, _ in sorted(set(imports(module, module in packages, tree))):
            if full == MADE_UP:
                found.append(f"{module}:{line}: imports {MADE_UP}, which cannot be checked")
            elif within(full, ["codex"]):
                target = full if full in house else source
                edges.setdefault(module, set()).add(target)
                found += [f"{module}:{line}: {fault}" for fault in import_faults(module, target)]
    return found + [f"circle: {' -> '.join(circle)}" for circle in circles(edges)]


def import_faults(module: str, target: str) -> Iterator[str]:
    """Yield what is wrong with `module` importing `target`, both of this house."""
    here, there = part(module), part(target)
    mine, its = row(module), row(target)
    inside = target.split(".")[2:]
    if its is None:
        yield f"imports {target}, and no row says where that belongs"
    elif mine is not None and here != there and mine <= its and there not in SIBLINGS.get(here, []):
        yield f"imports {target}, which does not stand below it"
    if here in PURE and there not in PURE_MAY_IMPORT:
        yield f"is pure, and imports {target}"
    if there == "node" and here not in NODE_USERS:
        yield f"imports {target}, and is none of those who may"
    if there != here and there in SERVICES and inside:
        if len(inside) > 1 or inside[0] not in INNER_ROOMS:
            yield f"imports {target}, and not the service's face"
        elif not within(module, CHOOSERS):
            yield f"imports {target}, an inner room"


def circles(edges: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield the way round for circles of imports: at least one wherever there are any."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> Iterator[list[str]]:
        if module in path:
            yield [*path[path.index(module) :], module]
        elif module not in done:
            for target in sorted(edges.get(module, ())):
                yield from walk(target, [*path, module])
            done.add(module)

    for module in sorted(edges):
        yield from walk(module, [])


def test_the_house_stands() -> None:
    house, packages = {}, []
    for path in HOUSE.rglob("*.py"):
        module = ".".join(["codex", *path.relative_to(HOUSE).with_suffix("").parts])
        if module.endswith(".__init__"):
            module = module.removesuffix(".__init__")
            packages.append(module)
        house[module] = path.read_text("utf-8")
    assert {"codex.errors", "codex.runtime.mailbox", "codex.testing.counting"} <= house.keys()
    found = faults(house, packages)
    assert not found, "\n".join(found)


# What else there is, beside the one module that a case below is about.
EMPTY_ROOMS = dict.fromkeys(["codex", "codex.config", "codex.store", "codex.store.calls"], "")

VIOLATIONS = [
    # Direction.
    ("codex.store.index", "from codex.node import Node", "does not stand below it"),
    ("codex.errors", "import codex.units", "does not stand below it"),
    ("codex.discovery.table", "from codex.store import BlockStore", "does not stand below it"),
    ("codex.sales.agent", "def f():\n  from codex.purchasing import Purchase", "does not stand below it"),
    ("codex.sales.agent", "if T:\n  from codex.purchasing import Purchase", "does not stand below it"),
    ("codex.runtime.mailbox", "from codex import config", "does not stand below it"),
    ("codex.store.index", "from ..node import Node", "does not stand below it"),
    ("codex.store.index", "from codex import Node", "does not stand below it"),
    ("codex.store.index", "import importlib as i\ni.import_module('codex.node')", "does not stand below it"),
    ("codex.store.index", "from importlib import import_module\nimport_module(x)", "made up at run time"),
    ("codex.attic", "", "no row says where attic belongs"),
    ("codex.node.node", "import codex.attic", "no row says where that belongs"),
    ("codex.client.link", "from codex.node import Node", "none of those who may"),
    # Faces and inner rooms.
    ("codex.node.node", "from codex.store.index import Index", "not the service's face"),
    ("codex.node.node", "import codex.store.index", "not the service's face"),
    ("codex.node.wiring", "from codex.store.index import Index", "not the service's face"),
    ("codex.node.node", "from codex.store.service import StoreService", "an inner room"),
    ("codex.node.node", "from codex.store import calls", "an inner room"),
    ("codex.cli.running", "from codex.api.service import ApiService", "an inner room"),
    # Pure parts.
    ("codex.codec.cid", "import trio", "is pure, and uses trio"),
    ("codex.data.block", "import logging", "is pure, and uses logging"),
    ("codex.slots.cells", "from time import perf_counter", "is pure, and uses time.perf_counter"),
    ("codex.data.block", "from codex.runtime import Threads", "is pure, and imports codex.runtime"),
    ("codex.market.ids", "from codex.logs import get_logger", "is pure, and imports codex.logs"),
    # What is touched.
    ("codex.store.disk", "import threading", "touches threads (threading)"),
    ("codex.store.disk", "import trio\nrun = trio.to_thread.run_sync", "threads (trio.to_thread.run_sync)"),
    ("codex.store.disk", "import trio as t\nt.from_thread.run(f)", "threads (trio.from_thread.run)"),
    ("codex.store.disk", "from concurrent.futures import Future", "threads (concurrent.futures.Future)"),
    ("codex.api.app", "import socket", "touches sockets (socket)"),
    ("codex.exchange.engine", "import trio\ntrio.open_tcp_stream('a', 1)", "touches sockets"),
    ("codex.exchange.engine", "from trio import socket", "touches sockets (trio.socket)"),
    ("codex.node.node", "import hypercorn.trio as h\nh.serve(app, config)", "sockets (hypercorn.trio.serve)"),
    ("codex.chain.events", "from trio_websocket import open_websocket_url", "touches sockets"),
    ("codex.store.expiry", "import time\nnow = time.time()", "the clock or chance (time.time)"),
    ("codex.store.expiry", "from time import time as now", "the clock or chance (time.time)"),
    ("codex.store.expiry", "import time\ntime.monotonic()", "the clock or chance (time.monotonic)"),
    ("codex.sales.agent", "from datetime import datetime as d\nd.now()", "the clock or chance"),
    ("codex.sales.agent", "import datetime\ndatetime.datetime.now()", "the clock or chance"),
    ("codex.p2p.noise", "import os\nkey = os.urandom(32)", "the clock or chance (os.urandom)"),
    ("codex.p2p.noise", "import secrets", "the clock or chance (secrets)"),
    ("codex.node.jobs", "from uuid import uuid4", "the clock or chance (uuid.uuid4)"),
    ("codex.runtime.supervisor", "import random", "the clock or chance (random)"),
]


@pytest.mark.parametrize(("module", "source", "fault"), VIOLATIONS)
def test_a_violation_is_seen(module: str, source: str, fault: str) -> None:
    found = faults({**EMPTY_ROOMS, module: source})
    assert any(line.startswith(module) and fault in line for line in found), found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("codex.node.wiring", "from codex.store.service import StoreService\nimport codex.store.calls"),
        ("codex.testing.world", "from codex.store import calls\nfrom codex.node import Node"),
        ("codex.store.handle", "from codex.store.calls import GetBlocks\nfrom .index import Index"),
        ("codex.sales.agent", "from codex.slots.builder import Builder\nfrom codex.market import Request"),
        ("codex.api.app", "from codex.node import Node\nfrom codex import __version__"),
        ("codex.devnet.cluster", "from codex.testing import people\nfrom codex.api import start_api"),
        ("codex.runtime.threads", "import trio\ntrio.to_thread.run_sync(f)"),
        ("codex.runtime.clock", "import time, secrets\nnow = time.time()"),
        ("codex.runtime.stall", "import time\ntime.thread_time()"),
        ("codex.p2p.switch", "import trio\ntrio.open_tcp_stream('a', 1)"),
        ("codex.store.expiry", "import os\nimport datetime\nos.fsync(1)\ndatetime.timedelta(1)"),
        ("codex.store.expiry", "def f(self, time):\n  return self.time.time() + self.random"),
        ("codex", "from codex.node import Node, open_node"),
    ],
)
def test_what_is_allowed_is_no_violation(module: str, source: str) -> None:
    assert faults({**EMPTY_ROOMS, module: source}) == []


def test_a_circle_is_seen() -> None:
    house = {
        "codex.store": "from codex.store.handle import BlockStore",
        "codex.store.handle": "from . import calls",
        "codex.store.calls": "def late():\n    from codex.store import BlockStore",
        "codex.store.index": "from codex.store import calls",
    }
    assert faults(house, ["codex.store"]) == [
        "circle: codex.store -> codex.store.handle -> codex.store.calls -> codex.store"
    ]
    house["codex.store.calls"] = ""
    assert faults(house, ["codex.store"]) == []
