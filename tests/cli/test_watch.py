"""`codex watch`: what each event looks like, for people and for programs."""

import io
import re
import sys
from typing import TextIO

import attrs
import pytest

from codex.api.rpc.params import Topic
from codex.cli.watch import TOPICS, Page, as_told, line
from codex.client import (
    Event,
    Job,
    JobEnded,
    JobProgressed,
    JobStarted,
    Lagged,
    ManifestDeleted,
    ManifestStored,
    OtherEvent,
)
from codex.codec import Cid
from codex.errors import Problem

TEXT = "zDvZRwzm1cD1ndrXQp3km8FnTzYNm6mSgmYNvy9UF42XUGKoFMzG"
RUNNING = Job(
    id="37060d6badd4",
    kind="upload",
    state="running",
    phase="reading",
    subject="photo.jpg",
    bytes_done=0,
    bytes_total=1 << 20,
    bytes_per_second=0.0,
    eta_seconds=None,
    started=100.0,
    ended=None,
    result=None,
    error=None,
)
DONE = attrs.evolve(RUNNING, state="done", bytes_done=1 << 20, ended=102.45)
FAILED = attrs.evolve(DONE, state="failed", error=Problem("disk-full", "no\nroom", "make some"))

EVENTS: list[tuple[Event, str]] = [
    (JobStarted(RUNNING), "upload started      37060d6badd4  photo.jpg"),
    (JobEnded(DONE), "upload done         37060d6badd4  1.00 MiB in 2.45 s     photo.jpg"),
    (
        JobEnded(FAILED),
        "upload failed       37060d6badd4  1.00 MiB in 2.45 s     photo.jpg\n          no\ufffdroom",
    ),
    (ManifestStored(Cid.parse(TEXT)), f"dataset stored  {TEXT}"),
    (ManifestDeleted(Cid.parse(TEXT)), f"dataset deleted  {TEXT}"),
    (Lagged(7), "7 events were missed: they came too fast"),
    (OtherEvent("slotPaid", {"slot": "0x1", "reward": "7"}), 'slotPaid  {"slot": "0x1", "reward": "7"}'),
    (OtherEvent("peerJoined", {"id": "a\x1b"}), 'peerJoined  {"id": "a\\u001b"}'),
]


def test_whatever_a_node_tells_of_is_listened_to() -> None:
    assert set(TOPICS) == {topic.value for topic in Topic}


@pytest.mark.parametrize(("event", "words"), EVENTS, ids=lambda value: type(value).__name__)
def test_an_event_is_a_line(event: Event, words: str) -> None:
    time, shown = line(event, 1795378590.2).split("  ", 1)
    assert re.fullmatch(r"[0-2][0-9]:[0-5][0-9]:30", time)
    assert shown == words


@pytest.mark.parametrize("kind", ["download", "verify"])
@pytest.mark.parametrize("job", [RUNNING, DONE, attrs.evolve(DONE, state="cancelled")])
def test_a_line_fits_a_terminal(job: Job, kind: str) -> None:
    job = attrs.evolve(job, kind=kind, subject=TEXT)
    for event in (JobStarted(job), JobEnded(job)):
        shown = line(event, 0, 80)
        assert len(shown) <= 80
        assert job.id in shown
    for named in (ManifestStored(Cid.parse(TEXT)), ManifestDeleted(Cid.parse(TEXT))):
        assert len(line(named, 0, 80)) <= 80
        assert TEXT in line(named, 0, 80), "it is there to be copied"


def test_programs_get_the_spelling_of_the_api() -> None:
    assert as_told(JobProgressed(FAILED)) == {
        "event": "jobProgressed",
        "job": {
            "id": "37060d6badd4",
            "kind": "upload",
            "state": "failed",
            "phase": "reading",
            "subject": "photo.jpg",
            "bytesDone": 1 << 20,
            "bytesTotal": 1 << 20,
            "bytesPerSecond": 0.0,
            "etaSeconds": None,
            "started": 100.0,
            "ended": 102.45,
            "result": None,
            "error": {"code": "disk-full", "message": "no\nroom", "remedy": "make some"},
        },
    }
    assert as_told(ManifestStored(Cid.parse(TEXT))) == {"event": "manifestStored", "cid": TEXT}
    assert as_told(Lagged(3)) == {"event": "lagged", "missed": 3}
    assert as_told(OtherEvent("peerJoined", {"id": "a"})) == {"event": "peerJoined", "id": "a"}


class Row:
    """A bar that remembers what it was told. A simulation of one on a terminal."""

    def __init__(self, rows: list[str], label: str) -> None:
        self.rows = rows
        self.label = label
        rows.append(label)

    def moved(self, count: int) -> None:
        raise AssertionError("jobs are told by where they are")

    def at(self, done: int, total: int | None, label: str) -> None:
        self.rows[self.rows.index(self.label)] = self.label = f"{label} {done}/{total}"

    def gone(self) -> None:
        self.rows.remove(self.label)


class Rows:
    """Bars that are a list, and what was said beside them."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.said = io.StringIO()

    def add(self, label: str, total: int | None, done: int = 0) -> Row:
        return Row(self.rows, label)

    def say(self, text: str, stream: TextIO) -> None:
        assert stream is sys.stdout
        print(text, file=self.said)


def test_jobs_that_run_have_bars_and_what_happened_has_lines() -> None:
    shown = Rows()
    page = Page(shown)
    page.at(attrs.evolve(RUNNING, id="before", phase="", kind="scrub", subject=None, bytes_total=None))
    assert shown.rows == ["scrub 0/None"]
    page.take(JobStarted(RUNNING), 0)
    page.take(JobProgressed(attrs.evolve(RUNNING, bytes_done=5)), 0)
    assert shown.rows == ["scrub 0/None", "reading photo.jpg 5/1048576"]
    page.take(JobEnded(DONE), 0)
    page.take(JobEnded(DONE), 0)
    assert shown.rows == ["scrub 0/None"]
    page.take(Lagged(2), 0)
    lines = shown.said.getvalue().splitlines()
    assert [text.split()[2] for text in lines] == ["started", "done", "done", "events"]
