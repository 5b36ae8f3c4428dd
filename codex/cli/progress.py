"""Bars on standard error while bytes move, when somebody is looking: how much, how fast, how long yet."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO


class Bar(Protocol):
    """One line that shows how far something is."""

    def moved(self, count: int) -> None:
        """So many more bytes are through."""

    def at(self, done: int, total: int | None, label: str) -> None:
        """So many bytes are through by now, of so many (None when that is not known), and this is done."""

    def gone(self) -> None:
        """Take the line away."""


class Bars(Protocol):
    """The place where bars stand, one below the other."""

    def add(self, label: str, total: int | None, done: int = 0) -> Bar:
        """One more: `total` bytes, of which `done` are through before it begins, and count for no speed."""

    def say(self, text: str, stream: TextIO) -> None:
        """Print `text`, where the bars are in nobody's way."""


class _Unseen:
    """Bars that nobody looks at, and each of them."""

    def add(self, label: str, total: int | None, done: int = 0) -> Bar:
        return self

    def say(self, text: str, stream: TextIO) -> None:
        """Print `text`."""
        print(text, file=stream, flush=True)

    def moved(self, count: int) -> None:
        """Show nothing."""

    def at(self, done: int, total: int | None, label: str) -> None:
        """Show nothing."""

    def gone(self) -> None:
        """Show nothing."""


@contextmanager
def bars() -> Iterator[Bars]:
    """A place for bars for the length of the block, which prints by `say` only.

    Shows nothing, and loads nothing, unless standard error is a terminal.
    """
    if not sys.stderr.isatty():
        yield _Unseen()
        return
    from codex.cli.bar import open_bars

    opened: AbstractContextManager[Bars] = open_bars()
    with opened as shown:
        yield shown


@contextmanager
def progress(label: str, total: int | None, done: int = 0) -> Iterator[Bar]:
    """One bar for the length of the block: see `Bars.add`."""
    with bars() as shown:
        yield shown.add(label, total, done)
