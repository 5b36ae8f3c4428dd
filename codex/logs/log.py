"""Loggers, and the one log of the process that they write to."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from attrs import mutable

from codex.errors import ConfigError
from codex.logs.levels import LEVELS, Levels, parse_levels
from codex.logs.repeats import Repeats

if TYPE_CHECKING:
    from codex.logs.outlet import Outlet

# The only state that outlives a call here: None, or the log that is open.
_open: "_Log | None" = None


class Logger:
    """Writes lines about one topic. Cheap to make, safe to keep; silent while no log is open."""

    __slots__ = ("_fields", "topic")

    def __init__(self, topic: str, fields: dict[str, object] | None = None) -> None:
        self.topic = topic
        self._fields = fields or {}

    def bind(self, **fields: object) -> "Logger":
        """A logger that adds `fields` to each of its lines."""
        return Logger(self.topic, self._fields | fields)

    def is_logged(self, level: str) -> bool:
        """Whether a line of `level` would be written: for lines that cost something to make."""
        return _open is not None and _open.levels.admit(LEVELS[level], self.topic)

    def trace(self, event: str, **fields: object) -> None:
        """Log the finest detail. As in all of these, `event` is a fixed sentence; what varies goes in
        `fields`.
        """
        self._write("trace", event, fields)

    def debug(self, event: str, **fields: object) -> None:
        """Log what helps to follow the node's work."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log what an operator may like to know."""
        self._write("info", event, fields)

    def notice(self, event: str, **fields: object) -> None:
        """Log what an operator should know: started, stopped, changed."""
        self._write("notice", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what is not as it should be, and is dealt with."""
        self._write("warn", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log what failed. `exc_info=error` adds a traceback."""
        self._write("error", event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Log the exception that is being handled, as an error with its traceback."""
        self._write("error", event, {"exc_info": True} | fields)

    def fatal(self, event: str, **fields: object) -> None:
        """Log why the node stops."""
        self._write("fatal", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if _open is not None:
            _open.write(level, self.topic, event, self._fields | fields)


@mutable
class _Log:
    """What `configured` opened: from which levels on, where to, and what repeats itself."""

    levels: Levels
    outlets: "list[Outlet]"
    monotonic: Callable[[], float]
    repeats: Repeats[tuple[str, str, str]]

    def write(self, level: str, topic: str, event: str, fields: dict[str, object]) -> None:
        """Write a line, unless its level is too low for its topic or it repeats itself too often."""
        if not self.levels.admit(LEVELS[level], topic):
            return
        withheld: int | None = 0
        # Details are written only when somebody asked for them, and then each one counts.
        if LEVELS[level] >= LEVELS["info"]:
            now = self.monotonic()
            withheld = self.repeats.admit((level, topic, event), now)
            self._tell_of(self.repeats.due(now))
        if withheld is not None:
            self._put(level, topic, event, fields | {"withheld": withheld} if withheld else fields)

    def close(self) -> None:
        """Tell of what was withheld last."""
        self._tell_of(self.repeats.drain())

    def _tell_of(self, left: Iterable[tuple[tuple[str, str, str], int]]) -> None:
        for (level, topic, event), withheld in left:
            self._put(level, topic, event, {"withheld": withheld})

    def _put(self, level: str, topic: str, event: str, fields: dict[str, object]) -> None:
        # A field cannot take the place of these three, nor move them from the front.
        head = {"event": event, "level": level, "topic": topic}
        for outlet in self.outlets:
            outlet.put(head | fields | head)


def get_logger(topic: str) -> Logger:
    """The logger for `topic`, a word such as `store`."""
    return Logger(topic)


def set_levels(text: str) -> None:
    """Change the levels of the open log, if one is open. Raises InvalidInput, and changes nothing then."""
    levels = parse_levels(text)
    if _open is not None:
        _open.levels = levels


def current_levels() -> Levels | None:
    """The levels of the open log; None when none is open."""
    return None if _open is None else _open.levels


class Settings(Protocol):
    """How a log is opened; `codex.config.LogConfig` is one."""

    @property
    def level(self) -> str:
        """Levels, as `parse_levels` reads them."""

    @property
    def format(self) -> str:
        """auto (colors on a terminal), colors, nocolors, json, or none."""

    @property
    def file(self) -> Path | None:
        """A file that gets every line too, whatever the format; appended to."""


@contextmanager
def configured(
    settings: Settings, *, stream: TextIO | None = None, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Open the log of this process until the end of the block; a log open before is open again after.

    Lines go to `stream` (standard error by default, nothing with the format none) and to the file of the
    settings. `monotonic` gives seconds, to tell what repeats itself. Warnings of libraries that use Python's
    own logging come out as lines as well. Raises InvalidInput for the levels, ConfigError when the file
    cannot be opened.
    """
    from codex.logs import outlet  # loads structlog, which only a running node needs

    global _open
    before = _open
    with ExitStack() as stack:
        outlets = []
        if settings.format != "none":
            outlets.append(outlet.for_stream(stream if stream is not None else sys.stderr, settings.format))
        if settings.file is not None:
            try:
                opened = stack.enter_context(
                    settings.file.open("a", encoding="utf-8", errors="backslashreplace")
                )
            except OSError as error:
                raise ConfigError(
                    f"the log file {settings.file} cannot be opened: {error.strerror or error}",
                    remedy="Name a file in a directory that this user may write, or leave --log-file out.",
                ) from error
            outlets.append(outlet.for_stream(opened, "json" if settings.format == "json" else "nocolors"))
        log = _Log(parse_levels(settings.level), outlets, monotonic, Repeats())
        stack.callback(log.close)
        stack.enter_context(outlet.library_warnings(log.write))
        _open = log
        try:
            yield
        finally:
            _open = before
