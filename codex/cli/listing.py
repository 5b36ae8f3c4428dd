"""`codex ls`, `codex rm`, `codex pin`, `codex unpin`, `codex space`: what a node has, and how much room."""

from typing import Any

from codex.cli.connection import OF_A_CID, ask, ask_json, data_path, read_text, understood
from codex.cli.finding import Target
from codex.cli.output import Column, printable, table
from codex.units import human_size


def datasets(node: Target) -> dict[str, Any]:
    """The node's list of datasets, as its API gives it. Raises Failed, NoNode."""
    return ask_json(node, "GET", "/data", "the list of datasets")


def datasets_table(listed: dict[str, Any], width: int | None = None) -> str:
    """The list for reading: a line for each dataset, in the node's order; empty when there is none.

    In lines of `width` cells types are left out and names shortened where they do not fit; CIDs stay whole.
    """
    rows = []
    with understood():
        for item in listed["content"]:
            manifest = item["manifest"]
            size = human_size(manifest["datasetSize"])
            words = (item["cid"], size, manifest["filename"] or "-", manifest["mimetype"] or "-")
            # Names come from whoever stored the dataset.
            rows.append([printable(word) for word in words])
    columns = [Column("CID"), Column("SIZE", right=True), Column("NAME", least=10), Column("TYPE", least=0)]
    return table(columns, rows, width) if rows else ""


def remove(node: Target, cid: str) -> None:
    """Delete the dataset or block `cid` from this node; nothing happens when it has none. Raises Failed,
    NoNode.
    """
    _told(node, "DELETE", cid)


def pin(node: Target, cid: str) -> None:
    """Keep the dataset `cid` on this node until it is unpinned or removed. Raises Failed, NoNode."""
    _told(node, "PUT", cid, "pin")


def unpin(node: Target, cid: str) -> None:
    """Let the dataset `cid` expire again. Raises Failed, NoNode."""
    _told(node, "DELETE", cid, "pin")


def _told(node: Target, method: str, cid: str, *more: str) -> None:
    headers = {"Content-Length": "0"} if method == "PUT" else {}
    with ask(node, method, data_path(cid, *more), headers=headers) as reply:
        read_text(reply, cid, remedies=OF_A_CID)


def space(node: Target) -> dict[str, Any]:
    """The node's room, as its API gives it: blocks, and bytes. Raises Failed, NoNode."""
    return ask_json(node, "GET", "/space", "the node's space")


def space_table(room: dict[str, Any]) -> str:
    """The room for reading."""
    with understood():
        quota, used, reserved = (int(room[f"quota{name}Bytes"]) for name in ("Max", "Used", "Reserved"))
        sizes = {"quota": quota, "used": used, "reserved": reserved, "free": quota - used - reserved}
        rows = [
            [name, human_size(size), f"{100 * size / max(quota, 1):.1f} %"] for name, size in sizes.items()
        ]
        rows.append(["blocks", str(int(room["totalBlocks"])), ""])
    return table([Column(), Column(right=True), Column(right=True)], rows)
