"""Lines of the log as text on a stream: what structlog renders, and what happens when the stream fails."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeAlias

from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer, JSONRenderer, TimeStamper
from structlog.typing import Processor

Write: TypeAlias = Callable[[str, str, str, dict[str, object]], None]
"""Takes a line: its level, topic, event and fields."""

_STYLES = {
    "trace": "\x1b[2m",
    "debug": "\x1b[36m",
    "info": "\x1b[32m",
    "notice": "\x1b[1;32m",
    "warn": "\x1b[33m",
    "error": "\x1b[31m",
    "fatal": "\x1b[1;31m",
}


class Outlet:
    """Puts lines on a stream. A line that the stream refuses is counted, and told of when it takes lines
    again.
    """

    def __init__(self, stream: TextIO, processors: list[Processor]) -> None:
        self._stream = stream
        self._processors = processors
        self._lost = 0

    def put(self, line: dict[str, Any]) -> None:
        """Write one line: `event`, `level`, `topic` and fields. Never raises for the stream's sake."""
        if self._lost:
            line["lost_lines"] = self._lost
        rendered: Any = line
        for processor in self._processors:
            rendered = processor(None, line["level"], rendered)
        try:
            self._stream.write(rendered + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # A full disk, a closed terminal: the node goes on, and says later that lines are missing.
            self._lost += 1
        else:
            self._lost = 0


def for_stream(stream: TextIO, format: str) -> Outlet:
    """The outlet that writes `format` (auto, colors, nocolors or json) on `stream`."""
    stamp = TimeStamper(fmt="iso", utc=True)
    if format == "json":
        return Outlet(stream, [stamp, ExceptionRenderer(), JSONRenderer(default=str)])
    colors = format == "colors" or (format == "auto" and stream.isatty())
    # Values come from peers too: shown as Python literals, they cannot break lines or reach the terminal.
    console = ConsoleRenderer(
        colors=colors,
        level_styles=_STYLES if colors else dict.fromkeys(_STYLES, ""),
        repr_native_str=True,
        exception_formatter=plain_traceback,
        pad_event_to=0,
    )
    return Outlet(stream, [stamp, console])


@contextmanager
def library_warnings(write: Write) -> Iterator[None]:
    """Turn warnings and errors that libraries log through Python's own logging into lines of ours."""
    handler = _Bridge(write)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _Bridge(logging.Handler):
    """Hands each record on, with the library's name as its topic."""

    def __init__(self, write: Write) -> None:
        super().__init__(logging.WARNING)
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        level = "fatal" if record.levelno >= 50 else "error" if record.levelno >= 40 else "warn"
        fields: dict[str, object] = {"said": record.getMessage(), "exc_info": record.exc_info}
        self._write(level, record.name, "a library reports", fields)
