"""The bars as they look. Imported only where they are shown: the library that draws them loads slowly."""

from collections.abc import Iterator
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from codex.cli.output import brief_time, printable, shortened
from codex.units import human_size

LABEL = 22
"""Cells that a label takes at most: of a line of 80, the figures need 47, and what remains is the bar."""
LEAST = 60
"""Cells of a line at least; on a narrower terminal it wraps."""
LONGEST = 99 * 86400.0
"""Seconds to go that are still shown; more than that is a guess."""


class _Label(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(shortened(printable(task.description), LABEL), no_wrap=True)


class _Figures(ProgressColumn):
    """Share, size, rate and time to go, each in its place so that nothing jumps."""

    def render(self, task: Task) -> Text:
        size = human_size(int(task.completed))
        if task.total:
            share = min(100, int(100 * task.completed / task.total))
            words = [f"{share:>3} %", f"{size:>8} of {human_size(int(task.total)):>8}"]
        else:
            words = [f"{size:>8}"]
        words.append(f"{human_size(int(task.speed)) if task.speed else '-':>8}/s")
        left = task.time_remaining if task.total else task.elapsed
        words.append(f"{'-:--' if left is None or left > LONGEST else brief_time(left):>7}")
        return Text("  ".join(words), no_wrap=True)


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
    with Progress(
        _Label(Column(no_wrap=True)),
        BarColumn(None),
        _Figures(Column(no_wrap=True)),
        # Two cells stay free, so that a typed ^C does not break the line in two.
        console=Console(stderr=True, width=max(get_terminal_size().columns - 2, LEAST)),
        transient=True,
        expand=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as shown:
        yield RichBars(shown)
