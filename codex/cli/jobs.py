"""`codex jobs`: the work that a node has in hand, and what became of that before."""

import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from attrs import frozen

from codex.cli.connection import ask, ask_json, read_text, understood
from codex.cli.exits import Failed
from codex.cli.finding import Target
from codex.cli.output import Column, brief_time, moment, note, printable, shortened, spent, table
from codex.cli.progress import Bar, Bars
from codex.units import human_size

PAUSE_FIRST, PAUSE_LAST = 0.05, 0.5
"""Seconds between two looks at a job: short at first, so that what is done at once is told at once."""
_REMEDIES = {404: "`codex jobs` shows those there are; a node forgets a job an hour after its end."}


@frozen
class Job:
    """A job as the node tells of it. Sizes are bytes, durations seconds, moments unix seconds."""

    id: str
    kind: str
    state: str
    phase: str
    subject: str
    """What it is about: a CID, a file's name or a path; empty when there is no such thing."""
    done: int
    total: int | None
    rate: float
    eta: float | None
    started: float
    ended: float | None
    result: Any
    error: Mapping[str, Any] | None
    told: Mapping[str, Any]
    """All of it, as the node's API gives it."""

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.state == "running"

    @property
    def title(self) -> str:
        """What is being done, for a bar."""
        return f"{self.phase or self.kind} {shortened(self.subject, 12)}".rstrip()

    def failure(self) -> Failed | None:
        """What went wrong, if anything did; also when it was cancelled."""
        name = f"{self.kind} {self.subject}".rstrip()
        if self.state == "cancelled":
            return Failed(f"{name}: cancelled", told="job-cancelled")
        if self.state != "failed":
            return None
        error = self.error or {}
        with understood():
            message = str(error.get("message") or "failed")
            code = str(error.get("code") or "")
            return Failed(f"{name}: {message}", remedy=str(error.get("remedy") or ""), told=code)


def parse(told: Mapping[str, Any]) -> Job:
    """The job in an answer. Raises Failed when that is none."""
    with understood():
        total, eta, ended = told["bytesTotal"], told["etaSeconds"], told["ended"]
        if not isinstance(told["error"], dict | None):
            raise TypeError
        return Job(
            id=str(told["id"]),
            kind=str(told["kind"]),
            state=str(told["state"]),
            phase=str(told["phase"] or ""),
            subject=str(told["subject"] or ""),
            done=int(told["bytesDone"]),
            total=None if total is None else int(total),
            rate=_number(told["bytesPerSecond"]),
            eta=None if eta is None else _number(eta),
            started=_number(told["started"]),
            ended=None if ended is None else _number(ended),
            result=told["result"],
            error=told["error"],
            told=told,
        )


def fetch(node: Target, id: str, *, quiet: bool = False) -> Job:
    """The job of that id. Raises Failed when there is none, NoNode."""
    return parse(ask_json(node, "GET", _path(id), f"job {id}", remedies=_REMEDIES, quiet=quiet))


def fetch_all(
    node: Target, kind: str | None = None, state: str | None = None, *, quiet: bool = False
) -> dict[str, Any]:
    """The node's list of jobs, newest first, as its API gives it. Raises Failed, NoNode."""
    wanted = {name: value for name, value in (("kind", kind), ("state", state)) if value is not None}
    return ask_json(
        node, "GET", "/jobs" + (f"?{urlencode(wanted)}" if wanted else ""), "the list of jobs", quiet=quiet
    )


def listed(answer: Mapping[str, Any]) -> list[Job]:
    """The jobs in the node's list. Raises Failed when that is none."""
    with understood():
        return [parse(told) for told in answer["jobs"]]


def cancel(node: Target, id: str) -> None:
    """Cancel a job; nothing happens when it has ended. Raises Failed when there is none, NoNode."""
    with ask(node, "DELETE", _path(id)) as reply:
        read_text(reply, f"job {id}", remedies=_REMEDIES)


def follow(node: Target, job: Job) -> Iterator[Job]:
    """The job as it is, again and again until it has ended; the last is its end. Raises Failed, NoNode."""
    yield job
    for pause in _pauses():
        if not job.running:
            return
        _wait(pause)
        job = fetch(node, job.id, quiet=True)  # there are bars
        yield job


def follow_to_end(node: Target, job: Job, shown: Bars) -> Job:
    """Show a bar until the job has ended, and return its end. Raises Failed, NoNode."""
    bar = shown.add(job.title, job.total, job.done)
    for now in follow(node, job):
        bar.at(now.done, now.total, now.title)
    bar.gone()
    return now


def follow_all(node: Target, shown: Bars) -> Iterator[Job]:
    """Show bars for all jobs that run, and give each at its end, until none runs. Raises Failed, NoNode."""
    known: dict[str, Bar] = {}
    for pause in _pauses():
        running = {job.id: job for job in listed(fetch_all(node, state="running", quiet=True))}
        for id in [id for id in known if id not in running]:
            known.pop(id).gone()
            yield fetch(node, id, quiet=True)
        for id, job in reversed(running.items()):
            if id not in known:
                known[id] = shown.add(job.title, job.total, job.done)
            known[id].at(job.done, job.total, job.title)
        if not running:
            return
        _wait(pause)


def jobs_table(jobs: Sequence[Job], width: int | None = None) -> str:
    """The jobs for reading: a line for each; empty when there is none."""
    rows = [
        [
            job.id,
            job.kind,
            job.state,
            _share(job),
            _rate(job),
            "-" if job.eta is None else brief_time(job.eta),
            job.subject or "-",
        ]
        for job in jobs
    ]
    columns = [
        Column("ID"),
        Column("KIND"),
        Column("STATE"),
        Column("DONE", right=True),
        Column("RATE", right=True),
        Column("LEFT", right=True),
        Column("SUBJECT", least=8),
    ]
    return table(columns, [[printable(word) for word in row] for row in rows], width) if rows else ""


def job_table(job: Job) -> str:
    """One job for reading, with all there is to it."""
    of = "" if job.total is None else f" of {human_size(job.total)}"
    rows = [
        ["id", job.id],
        ["kind", job.kind],
        ["subject", job.subject or "-"],
        ["state", f"{job.state}, {job.phase}" if job.running and job.phase else job.state],
        ["done", f"{human_size(job.done)}{of}"],
        ["rate", _rate(job)],
    ]
    if job.eta is not None:
        rows.append(["left", brief_time(job.eta)])
    rows.append(["began", moment(job.started)])
    if job.ended is not None:
        rows.append(["ended", f"{moment(job.ended)}, after {spent(job.ended - job.started)}"])
    if job.error is not None:
        rows += [["error", str(job.error.get("message"))], ["remedy", str(job.error.get("remedy") or "-")]]
    if isinstance(job.result, dict):
        rows += [[_spaced(name), _told(value)] for name, value in job.result.items()]
    elif job.result is not None:
        rows.append(["result", _told(job.result)])
    return table([Column(), Column()], [[printable(word) for word in row] for row in rows])


def end_line(job: Job, width: int | None = None) -> str:
    """How a job has ended, on a line; below one another such lines are columns."""
    took = "" if job.ended is None else f" in {spent(job.ended - job.started)}"
    size = f"{human_size(job.done)}{took}"
    row = [job.id, f"{job.kind:8}", f"{job.state:9}", f"{size:21}", job.subject or "-"]
    return table([*[Column()] * 4, Column(least=8)], [[printable(word) for word in row]], width)


@contextmanager
def outlived(job: Job) -> Iterator[None]:
    """Say, when the block is interrupted, that the job goes on without the command."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        note(f"The {job.kind} goes on in the node: `codex jobs --follow {job.id}` shows it,")
        note(f"`codex jobs --cancel {job.id}` ends it.")
        raise


def _number(value: Any) -> float:
    """A moment, a rate or a span that can be shown. Raises ValueError for what nothing can be."""
    number = float(value)
    if not 0 <= number < 1e11:  # an hour's work at 100 GB/s, and as a moment the year 5138
        raise ValueError
    return number


def _path(id: str) -> str:
    return f"/jobs/{quote(id, safe='')}"


def _share(job: Job) -> str:
    if job.running and job.total:
        return f"{min(100, 100 * job.done // job.total)} %"
    return human_size(job.done)


def _rate(job: Job) -> str:
    return f"{human_size(int(job.rate))}/s" if job.rate else "-"


def _spaced(name: str) -> str:
    """`mendedManifests` as `mended manifests`."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in name)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return str(len(value))
        more = ", …" if len(value) > 3 else ""
        return ", ".join(map(str, value[:3])) + more if value else "none"
    return str(value)


def _pauses() -> Iterator[float]:
    pause = PAUSE_FIRST
    while True:
        yield pause
        pause = min(PAUSE_LAST, 1.5 * pause)


def _wait(seconds: float) -> None:
    select.select([], [], [], seconds)
