"""Rounds, figures and lines: how everything here is measured and what a result looks like.

A *contender* does one thing and says how much of its unit it reached (megabytes a second, milliseconds, …).
The contenders of a figure take turns: each round runs all of them, beginning with another one, so that what
the machine does meanwhile falls on all alike. A first round is thrown away. What is reported is the median of
the rounds, with the least and the most.

A *line* compares contenders round by round, and says whether the median of that quotient (or a figure of its
own) is where it is wanted. A line that is missed is reported, never raised: a busy machine is no failure.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from attrs import define, field, frozen

MIB = 1 << 20
MEGABYTE = 1_000_000

Samples = tuple[float, ...]


class BenchFailed(Exception):
    """Something did not do its work, so that there is nothing to measure."""


@frozen
class Row:
    """What one contender reached, round by round."""

    label: str
    unit: str
    samples: Samples

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@frozen
class Line:
    """A wish: the median of `samples` at least, or at most, `wanted`. A `stretch` is wished less firmly."""

    label: str
    samples: Samples
    wanted: float
    at_most: bool = False
    stretch: bool = False
    unit: str = ""

    @property
    def held(self) -> bool:
        median = statistics.median(self.samples)
        return median < self.wanted if self.at_most else median >= self.wanted


@frozen
class Figure:
    """One table of the report: rows that stand beside each other, the lines over them, and notes."""

    name: str
    rows: Sequence[Row]
    lines: Sequence[Line] = ()
    notes: Sequence[str] = ()


@frozen
class Contender:
    """`once(round)` does the work of a round and returns what was reached; `after` clears it away."""

    label: str
    once: Callable[[int], float]
    after: Callable[[], None] = lambda: None


@define
class Bench:
    """What every figure needs: sizes, rounds, and directories that are gone at the end.

    `places` names the directories that data is put into (disk, tmpfs).
    """

    places: Mapping[str, Path]
    rounds: int
    quick: bool
    say: Callable[[str], None]  # takes a word on what is being done
    _stamp: int = field(default=0, init=False)

    def size(self, full: int, quick: int) -> int:
        """The one or the other, as the run is a full or a quick one."""
        return quick if self.quick else full

    def stamp(self) -> int:
        """A number that no other round of this run has: what carries it is distinct."""
        self._stamp += 1
        return self._stamp

    @contextmanager
    def scratch(self, place: str) -> Iterator[Path]:
        """An empty directory at a place, removed with all that is in it."""
        parent = self.places[place]
        parent.mkdir(parents=True, exist_ok=True)
        directory = Path(mkdtemp(prefix="codex-bench-", dir=parent))
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def interleave(self, unit: str, contenders: Sequence[Contender]) -> list[Row]:
        """Run the contenders in rounds and return a row for each, in the order given."""
        samples: dict[str, list[float]] = {contender.label: [] for contender in contenders}
        for number in range(self.rounds + 1):
            start = number % len(contenders)
            for contender in [*contenders[start:], *contenders[:start]]:
                self.say(f"round {number} of {self.rounds}: {contender.label}")
                reached = contender.once(number)
                contender.after()
                if number:
                    samples[contender.label].append(reached)
        return [Row(label, unit, tuple(found)) for label, found in samples.items()]


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rate(size: int, work: Callable[[], object]) -> float:
    """Megabytes (10**6 bytes) a second at which `work` gets through `size` bytes."""
    return size / seconds(work) / MEGABYTE


def quotients(row: Row, *beside: Row) -> Samples:
    """`row` over the least of `beside`, round by round."""
    floors = [min(values) for values in zip(*(other.samples for other in beside), strict=True)]
    return tuple(own / floor for own, floor in zip(row.samples, floors, strict=True))


def figure_lines(figure: Figure) -> Iterator[str]:
    """The table of a figure as text."""
    yield ""
    yield figure.name
    labels = [row.label for row in figure.rows] + [line.label for line in figure.lines]
    width = max(map(len, labels))
    for row in figure.rows:
        spread = f"min {_number(min(row.samples)):>9}   max {_number(max(row.samples)):>9}"
        rounds = "once" if len(row.samples) == 1 else f"{len(row.samples)} rounds"
        yield f"  {row.label:<{width}}  {_number(row.median):>9} {row.unit:<7}  {spread}   {rounds}"
    for line in figure.lines:
        yield f"  {line.label:<{width}}  {_verdict(line)}"
    for note in figure.notes:
        yield f"  - {note}"


def _verdict(line: Line) -> str:
    median = _number(statistics.median(line.samples))
    wish = f"{'<' if line.at_most else '>='} {_number(line.wanted)}{line.unit and ' ' + line.unit}"
    said = "held" if line.held else "MISSED"
    if line.stretch:
        said = "reached" if line.held else "not reached"
    kind = "stretch" if line.stretch else "line"
    spread = f"   (min {_number(min(line.samples))}, max {_number(max(line.samples))})"
    return f"{median:>9} {line.unit:<7}  {kind} {wish}: {said}{spread if len(line.samples) > 1 else ''}"


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def as_data(figures: Iterable[Figure]) -> list[dict[str, object]]:
    """The figures for the results file: every sample, and what the lines said."""
    return [
        {
            "figure": figure.name,
            "rows": [
                {"label": row.label, "unit": row.unit, "median": row.median, "samples": row.samples}
                for row in figure.rows
            ],
            "lines": [
                {
                    "label": line.label,
                    "median": statistics.median(line.samples),
                    "samples": line.samples,
                    "wanted": line.wanted,
                    "at_most": line.at_most,
                    "stretch": line.stretch,
                    "held": line.held,
                }
                for line in figure.lines
            ],
            "notes": list(figure.notes),
        }
        for figure in figures
    ]
