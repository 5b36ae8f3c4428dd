"""Words on the terminal: errors with their remedy, and text of others made harmless."""

import sys

from codex.errors import CodexError


def printable(text: str) -> str:
    """`text` with everything replaced that could move a terminal's cursor, change its colors or hide a
    letter.
    """
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def complain(error: CodexError) -> None:
    """Say on standard error what is wrong, and what to do about it."""
    print(f"error: {printable(error.message)}", file=sys.stderr)
    if error.remedy:
        print(f"  {printable(error.remedy)}", file=sys.stderr)


def table(rows: list[list[str]], right: frozenset[int] = frozenset()) -> str:
    """Lines with the cells of `rows` in columns, two spaces apart; those of the columns in `right` at their
    right edge.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
