"""What a verification has found of a protected dataset's rows, for reading."""

from collections.abc import Mapping
from typing import Any

from codex.cli.output import Column, printable, table
from codex.units import human_size

NAMED = 20
"""Rows in the table, and lost parts; damaged rows first where there are more. `--json` has all."""

_COLUMNS = [
    Column("ROW", right=True),
    Column("KIND"),
    Column("PRESENT", right=True),
    Column("MISSING", right=True),
    Column("CORRUPT", right=True),
]


def told(found: Mapping[str, Any]) -> list[str]:
    """Lines about the rows that a result has; none when it has none. Raises KeyError, TypeError and
    ValueError when they are not as a node tells of them.
    """
    if "rows" not in found:
        return []
    rows = [
        [printable(str(row["row"])), printable(str(row["kind"]))]
        + [str(int(row[what])) for what in ("present", "missing", "corrupt")]
        for row in found["rows"]
    ]
    shown = rows if len(rows) <= NAMED else sorted(rows, key=lambda row: row[3:] == ["0", "0"])[:NAMED]
    lines = [f"  {line}" for line in table(_COLUMNS, shown).splitlines()]
    left = int(found["data"]) + int(found["parity"]) - len(shown)
    lines += [f"  and {left} more rows"] if left else []
    return [*lines, *_lost(found), *_spare(found)]


def repairable(found: Mapping[str, Any]) -> bool:
    """Whether what is damaged can be brought back from what is here."""
    return "rows" in found and not found["lostBytes"]


def _spare(found: Mapping[str, Any]) -> list[str]:
    spare, whole = int(found["spare"]), not found["lostBytes"]
    if spare:
        return [
            f"  any {spare} more of its rows may be lost" if spare > 1 else "  any one more row may be lost"
        ]
    return ["  no more row may be lost"] if whole else []


def _lost(found: Mapping[str, Any]) -> list[str]:
    if not found["lostBytes"]:
        return []
    lines = [f"  {human_size(int(found['lostBytes']))} cannot be recovered from what is here:"]
    parts = list(found["lost"])
    for part in parts[:NAMED]:
        first, size = int(part["offset"]), int(part["size"])
        lines.append(f"  lost     bytes {first} to {first + size - 1}")
    return lines + ([f"  lost     and {len(parts) - NAMED} more parts"] if len(parts) > NAMED else [])
