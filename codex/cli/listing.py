"""`codex ls`, `codex rm`, `codex space`: what a node has, and how much room."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from codex.cli.connection import ask, data_path, read_json, read_text
from codex.cli.exits import Failed
from codex.cli.output import printable, table
from codex.lock import RunningNode
from codex.units import human_size


def datasets(node: RunningNode) -> dict[str, Any]:
    """The node's list of datasets, as its API gives it. Raises Failed, NoNode."""
    with ask(node, "GET", "/data") as reply:
        return _object(read_json(reply, "the list of datasets"))


def datasets_table(listed: dict[str, Any]) -> str:
    """The list for reading: a line for each dataset, in the node's order; empty when there is none."""
    rows = []
    with _understood():
        for item in listed["content"]:
            manifest = item["manifest"]
            size = human_size(manifest["datasetSize"])
            words = (item["cid"], size, manifest["filename"] or "-", manifest["mimetype"] or "-")
            # Names come from whoever stored the dataset.
            rows.append([printable(word) for word in words])
    return table([["CID", "SIZE", "NAME", "TYPE"], *rows], right=frozenset({1})) if rows else ""


def remove(node: RunningNode, cid: str) -> None:
    """Delete the dataset or block `cid` from this node; nothing happens when it has none. Raises Failed,
    NoNode.
    """
    with ask(node, "DELETE", data_path(cid)) as reply:
        read_text(reply, cid)


def space(node: RunningNode) -> dict[str, Any]:
    """The node's room, as its API gives it: blocks, and bytes. Raises Failed, NoNode."""
    with ask(node, "GET", "/space") as reply:
        return _object(read_json(reply, "the node's space"))


def space_table(room: dict[str, Any]) -> str:
    """The room for reading."""
    with _understood():
        quota, used, reserved = (int(room[f"quota{name}Bytes"]) for name in ("Max", "Used", "Reserved"))
        sizes = {"quota": quota, "used": used, "reserved": reserved, "free": quota - used - reserved}
        rows = [
            [name, human_size(size), f"{100 * size / max(quota, 1):.1f} %"] for name, size in sizes.items()
        ]
        rows.append(["blocks", str(int(room["totalBlocks"])), ""])
    return table(rows, right=frozenset({1, 2}))


def as_json(value: object) -> str:
    """`value` for other programs."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _not_a_node()
    return value


@contextmanager
def _understood() -> Iterator[None]:
    """Say what it means when an answer lacks what a node's answer has."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a_node() from error


def _not_a_node() -> Failed:
    return Failed("the answer is not that of a Codex node", remedy="Check --api-bindaddr and --api-port.")
