"""What is said of a job: its kind, its states, how far and how fast it is, and all that as one frozen value.

Pure. Whoever runs jobs is in `jobs`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias

from attrs import define, frozen

from codex.errors import Problem
from codex.runtime.machine import Row, Table, validate

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"

BRIEF = 0.25  # seconds; less is too short to tell a rate from
WINDOW = 5.0  # seconds that a rate is told from: long enough to be read, short enough to show a stall
SAMPLE = 1.0  # seconds between two samples: a window has five


class JobKind(StrEnum):
    """What a job does."""

    UPLOAD = "upload"
    DOWNLOAD = "download"
    FETCH = "fetch"
    VERIFY = "verify"
    SCRUB = "scrub"
    BACKUP = "backup"
    PROTECT = "protect"
    REQUEST = "request"


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEnd(StrEnum):
    """What ends a job."""

    FINISH = "finish"
    FAIL = "fail"
    CANCEL = "cancel"


STATES: Table[JobState, JobEnd, None] = validate(
    Table(
        start=JobState.RUNNING,
        terminal=frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
        rows={
            JobState.RUNNING: Row(
                moves={JobEnd.FINISH: JobState.DONE, JobEnd.FAIL: JobState.FAILED},
                interrupts={JobEnd.CANCEL: JobState.CANCELLED},
            ),
            JobState.DONE: Row(),
            JobState.FAILED: Row(),
            JobState.CANCELLED: Row(),
        },
    )
)


@frozen
class JobView:
    """A job at one moment.

    `subject` is what it is about: a CID's text, a file's name or a path; None when there is no such thing.
    `phase` is a word for what is being done. `bytes_total` is None when unknown. `bytes_per_second` is that
    of the last five seconds, or since somebody last looked where that is longer ago (0 in the first moment);
    and of the whole run once the job has ended.
    `eta_seconds` is None unless the job runs, moves, and knows its total. `started` and `ended` are unix
    seconds. `result` is what JSON can say; `error` is there exactly when the state is failed.
    """

    id: str
    kind: JobKind
    subject: str | None
    state: JobState
    phase: str
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float
    eta_seconds: float | None
    started: float
    ended: float | None
    result: Json
    error: Problem | None


BEGINNING = "starting"
"""The phase of what has not begun yet."""


@define(eq=False)
class Progress:
    """How far a flow has come. Whoever runs it writes these, as often as it likes: they are plain
    attributes.
    """

    phase: str = BEGINNING
    bytes_done: int = 0
    bytes_total: int | None = None

    def eta(self, rate: float) -> float | None:
        """Seconds to go at `rate` bytes a second; None when that cannot be told."""
        if self.bytes_total is None or rate <= 0:
            return None
        return max(0, self.bytes_total - self.bytes_done) / rate


class Pace:
    """How fast bytes went by of late. Times are seconds of one monotonic clock, counts are since `start`."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._samples = deque([(start, 0)])

    def sample(self, now: float, done: int) -> None:
        """Remember that `done` bytes were through at `now`; the oftener it is called, the better."""
        if now - self._samples[-1][0] >= SAMPLE:
            self._samples.append((now, done))
        while len(self._samples) > 1 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()

    def rate(self, now: float, done: int) -> float:
        """Bytes a second since the window began; 0 while there is too little to tell it from."""
        then, before = self._samples[0]
        return (done - before) / (now - then) if now - then >= BRIEF else 0.0

    def average(self, now: float, done: int) -> float:
        """Bytes a second since the start; 0 when no time has passed."""
        return done / (now - self._start) if now > self._start else 0.0
