"""Words on the terminal: errors with their remedy, columns, and text of others made harmless."""

import errno
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from io import TextIOWrapper
from typing import TextIO

from attrs import frozen

from codex.cli.exits import Failed
from codex.errors import CodexError

ELLIPSIS = "…"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_STREAMS = (("stdin", "r", os.O_WRONLY), ("stdout", "w", os.O_RDONLY), ("stderr", "w", os.O_WRONLY))
"""The standard streams in the order of their descriptors, and what stands in for one that is closed: reading
input and writing output go on to fail, so that nobody takes for done what was not.
"""


def prepare_streams() -> None:
    """Make the standard streams fit for whatever is to be said, before anything else is opened.

    Those that are closed (`>&-`) get something in their place: their descriptors would go to the next files
    and sockets, and what others write to them with it. What the encoding of standard output lacks is shown as
    a question mark.
    """
    for name, mode, way in _STREAMS:
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, way)
            setattr(sys, name, os.fdopen(descriptor, mode, errors="backslashreplace"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def printable(text: str) -> str:
    """`text` with everything replaced that could move a terminal's cursor, change its colors or hide a
    letter.
    """
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def complaint(error: CodexError, json: bool = False) -> str:
    """What is wrong, and on a second line what to do about it; or both as a line of JSON."""
    if json:
        problem = error.as_problem()
        return as_line({"code": problem.code, "message": problem.message, "remedy": problem.remedy})
    said = f"error: {printable(error.message)}"
    # The node's own words begin small, as part of a sentence.
    return f"{said}\n  {printable(error.remedy[:1].upper() + error.remedy[1:])}" if error.remedy else said


def complain(error: CodexError, json: bool = False) -> None:
    """Say on standard error what is wrong, and what to do about it; with `json` for programs."""
    _say(complaint(error, json))


def tell(text: str) -> None:
    """Print `text` on standard output, now. Raises Failed when it cannot be written, but BrokenPipeError when
    whoever read it has gone.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(error) from error


def unwritten(error: OSError) -> Failed:
    """The error that standard output cannot be written to."""
    remedy = "Make room on that disk, or write to another." if error.errno in FULL else ""
    return Failed(f"the output cannot be written: {error.strerror or error}", remedy=remedy)


def drained() -> OSError | None:
    """Have written what was printed; the error when standard output cannot be. What is left is dropped."""
    _written(sys.stderr)  # what cannot be said there can be told nobody
    return _written(sys.stdout)


def _written(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        # The interpreter would try again at its end, and say so in its own words or by its own exit code.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return error
    return None


def hint(words: str) -> None:
    """Say something on standard error that is no error, when somebody looks at the output."""
    if sys.stdout.isatty():
        note(words)


def note(words: str) -> None:
    """Say something on standard error that is no error."""
    _say(printable(words))


def _say(words: str) -> None:
    # What cannot be said can be told nobody; the exit code still tells.
    with suppress(OSError):
        print(words, file=sys.stderr, flush=True)


def as_json(value: object) -> str:
    """`value` for other programs."""
    return _json(value, 2)


def as_line(value: object) -> str:
    """`value` for other programs, on a line: for commands that tell one thing after the other."""
    return _json(value, None)


def _json(value: object, indent: int | None) -> str:
    """`value` as JSON, its letters as they are where the output has them all."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def brief_time(seconds: float) -> str:
    """A span of time for reading: `0:42`, `12:05`, `3:04:05`, `2d 04h`."""
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d {hours % 24:02}h"
    if hours:
        return f"{hours}:{minutes % 60:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}"


def spent(seconds: float) -> str:
    """How long something took, for reading: `0.42 s`, `12.3 s`, and from a minute on as `brief_time`."""
    return brief_time(seconds) if seconds >= 60 else f"{max(seconds, 0):.{2 if seconds < 10 else 1}f} s"


def moment(unix: float) -> str:
    """A moment (unix seconds) for reading, in the time of this machine."""
    return datetime.fromtimestamp(unix).strftime("%Y-%m-%d %H:%M:%S")


def cells(text: str) -> int:
    """The places that `text` takes in a line of a terminal: none for an accent, two for an ideograph."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """`text` in at most `width` cells (1 or more), the middle left out: ends tell more than middles."""
    if cells(text) <= width:
        return text
    head = (width - 1) // 2
    tail = width - 1 - head
    return _within(text, head) + ELLIPSIS + _within(text[::-1], tail)[::-1]


def _within(text: str, width: int) -> str:
    """As much of the start of `text` as fits into `width` cells."""
    taken = 0
    for place, char in enumerate(text):
        taken += _cell(char)
        if taken > width:
            return text[:place]
    return text


def terminal_width() -> int | None:
    """Characters in a line of the terminal that the output goes to; None when it goes elsewhere."""
    return terminal_size(sys.stdout).columns if sys.stdout.isatty() else None


def terminal_size(stream: TextIO) -> os.terminal_size:
    """Columns and lines of the terminal behind `stream`; COLUMNS and LINES in the environment win."""
    try:
        seen = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        seen = os.terminal_size((80, 24))
    # By itself it looks behind standard output only.
    return shutil.get_terminal_size(seen)


@frozen
class Column:
    """A column of a table. `least` is how many cells its words may be shortened to where the terminal is
    narrow; with 0 the column may be left out, with None it stays as it is.
    """

    title: str = ""
    right: bool = False
    least: int | None = None


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Lines with the words of `rows` in columns, two spaces apart, under titles if the columns have any.

    In at most `width` cells where leaving out and shortening the columns that allow it gets there; None is
    without end.
    """
    lines = [[column.title for column in columns], *rows] if any(one.title for one in columns) else rows
    widths = [max(map(cells, words)) for words in zip(*lines, strict=True)]
    excess = 0 if width is None else sum(widths) + 2 * (len(widths) - 1) - width
    shown = []
    for place, column in enumerate(columns):
        if column.least == 0 and excess > 0:
            excess -= widths[place] + 2
        else:
            shown.append(place)
    for place in shown:
        least = columns[place].least
        if least is not None:
            taken = min(max(excess, 0), max(widths[place] - least, 0))
            widths[place] -= taken
            excess -= taken
    return "\n".join(
        _line([(columns[place], words[place], widths[place]) for place in shown]) for words in lines
    )


def _line(parts: Sequence[tuple[Column, str, int]]) -> str:
    shown = []
    for column, word, width in parts:
        fitting = shortened(word, max(width, 1))
        blank = " " * (width - cells(fitting))
        shown.append(blank + fitting if column.right else fitting + blank)
    return "  ".join(shown).rstrip()
