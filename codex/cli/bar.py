"""The bars as they look. Imported only where they are shown: the library that draws them loads slowly."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID
from rich.table import Table
from rich.text import Text

from codex.cli.output import brief_time, printable, shortened, terminal_size
from codex.units import human_size

LABEL = 22
"""Cells that a label takes at most: of a line of 80, the figures need 47, and what remains is the bar."""
WIDE = 60
"""Cells of a line from which on everything is shown; below, the bar is left out first, then the sizes."""
NARROW = 36
"""Cells below which rate and time are left out as well."""
LEAST_LABEL = 4
"""Cells below which a label says nothing."""
LONGEST = 99 * 86400.0
"""Seconds to go that are still shown; more than that is a guess."""


def _width() -> int:
    # Two cells stay free, so that a typed ^C does not break the line in two. With less than that there is
    # nothing to be read anyway.
    return max(terminal_size(sys.stderr).columns - 2, 1)


class _Lines(Progress):
    """Bars whose lines fit the terminal: where it is narrow they say less, and never take a second line."""

    def __init__(self) -> None:
        self._bar = BarColumn(None)
        self._terminal = Console(stderr=True, width=_width())
        super().__init__(
            console=self._terminal, transient=True, expand=True, redirect_stdout=False, redirect_stderr=False
        )

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        width = self._terminal.width = _width()  # it may have changed
        lines = [_Line(task, width) for task in tasks if task.visible]
        table = Table.grid(padding=(0, 1), expand=True)
        if not lines:
            return table
        room = width - 1 - max(line.figures.cell_len for line in lines)
        if room >= LEAST_LABEL:
            table.add_column(no_wrap=True)
        if width >= WIDE:
            table.add_column()
        table.add_column(no_wrap=True, justify="right")
        for line in lines:
            label = [Text(shortened(line.label, min(LABEL, room)))] if room >= LEAST_LABEL else []
            table.add_row(*label, *([self._bar.render(line.task)] if width >= WIDE else []), line.figures)
        return table


class _Line:
    """The words of one bar in a line of `width` cells."""

    def __init__(self, task: Task, width: int) -> None:
        self.task = task
        self.label = printable(task.description)
        self.figures = Text("  ".join(_figures(task, width)), no_wrap=True)


def _figures(task: Task, width: int) -> Iterator[str]:
    """Share, size, rate and time to go, each in its place so that nothing jumps."""
    size = human_size(int(task.completed))
    if not task.total:
        yield f"{size:>8}"
    else:
        yield f"{min(100, int(100 * task.completed / task.total)):>3} %"
        if width >= WIDE:
            yield f"{size:>8} of {human_size(int(task.total)):>8}"
    if width >= NARROW:
        yield f"{human_size(int(task.speed)) if task.speed else '-':>8}/s"
        left = task.time_remaining if task.total else task.elapsed
        yield f"{'-:--' if left is None or left > LONGEST else brief_time(left):>7}"


class RichBar:
    """One line of `RichBars`; a `Bar`."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown = shown
        self._task = task

    def moved(self, count: int) -> None:
        """So many more bytes are through."""
        self._shown.advance(self._task, count)

    def at(self, done: int, total: int | None, label: str) -> None:
        """So many bytes are through by now, of so many, and this is done."""
        self._shown.update(self._task, completed=done, total=total, description=label)

    def gone(self) -> None:
        """Take the line away."""
        self._shown.remove_task(self._task)


class RichBars:
    """The place where bars stand; `Bars`."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown

    def add(self, label: str, total: int | None, done: int = 0) -> RichBar:
        """One more bar."""
        return RichBar(self._shown, self._shown.add_task(label, total=total, completed=done))

    def say(self, text: str, stream: TextIO) -> None:
        """Print `text`; above the bars, where that is the terminal that they are on."""
        if stream.isatty():
            self._shown.console.print(text, soft_wrap=True, markup=False, highlight=False, emoji=False)
        else:
            print(text, file=stream, flush=True)


@contextmanager
def open_bars() -> Iterator[RichBars]:
    """Show bars on standard error for the length of the block, and take them away afterwards."""
    with _Lines() as shown:
        yield RichBars(shown)
