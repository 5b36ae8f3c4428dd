"""`codex ls`, `codex rm`, `codex pin`, `codex unpin`, `codex space`: what a node has, and how much room."""

import json
from typing import Any

from codex.cli.connection import OF_A_CID, ask, ask_json, data_path, read_text, understood
from codex.cli.exits import Failed
from codex.cli.finding import Target
from codex.cli.output import Column, printable, table
from codex.units import human_size


def datasets(node: Target, only_pinned: bool = False) -> dict[str, Any]:
    """The node's list of datasets, as its API gives it, and for each whether it is `pinned`, which not every
    node tells. Raises Failed, NoNode.
    """
    listed = ask_json(node, "GET", "/data", "the list of datasets")
    with understood():
        content = list(listed["content"])  # who is no node is not asked further
    kept = _pins(node)
    if kept is None:
        if only_pinned:
            raise Failed("the node does not tell which datasets are pinned")
        return listed
    with understood():
        items = [{**item, "pinned": item["cid"] in kept} for item in content]
    return {**listed, "content": [item for item in items if item["pinned"] or not only_pinned]}


def _pins(node: Target) -> set[str] | None:
    """The CIDs of pinned datasets; None when the node has no such call."""
    with ask(node, "GET", "/pins") as reply:
        if reply.status == 404:
            return None
        text = read_text(reply, "the list of pinned datasets", accepted=(200,))
    with understood():
        return set(json.loads(text)["cids"])


def datasets_table(listed: dict[str, Any], width: int | None = None) -> str:
    """The list for reading: a line for each dataset, in the node's order; empty when there is none.

    In lines of `width` cells types are left out and names shortened where they do not fit; CIDs stay whole.
    """
    rows = []
    with understood():
        for item in listed["content"]:
            manifest = item["manifest"]
            size = human_size(manifest["datasetSize"])
            mark = "*" if item.get("pinned") else ""
            words = (item["cid"], mark, size, manifest["filename"] or "-", manifest["mimetype"] or "-")
            # Names come from whoever stored the dataset.
            rows.append([printable(word) for word in words])
    columns = [
        Column("CID"),
        Column(),
        Column("SIZE", right=True),
        Column("NAME", least=10),
        Column("TYPE", least=0),
    ]
    if not any(row[1] for row in rows):  # no place is kept for what is not there
        columns, rows = [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
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
