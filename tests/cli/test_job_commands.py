"""`codex jobs` against a stand-in: what is listed, shown, followed and cancelled."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from codex.cli import jobs
from codex.cli.exits import Failed

Run = Callable[..., subprocess.CompletedProcess[bytes]]
ID = "37060d6badd4"


def test_jobs_are_listed_in_columns(codex: Run, node: Any, job: Any, cid: str) -> None:
    running = job(bytesDone=460_000, bytesPerSecond=5 << 20, etaSeconds=12.3)
    upload = job(
        "upload", "done", id="b6c840649b01", subject="photo.jpg", bytesDone=1 << 20, bytesTotal=1 << 20
    )
    scrub = job("scrub", "cancelled", id="aef706e5344c", subject=None, bytesTotal=None)
    node.json("GET /jobs", {"jobs": [running, upload, scrub]})
    done = codex("jobs", port=node.port)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "ID            KIND    STATE          DONE        RATE  LEFT  SUBJECT",
        f"37060d6badd4  verify  running        43 %  5.00 MiB/s  0:12  {cid}",
        "b6c840649b01  upload  done       1.00 MiB           -     -  photo.jpg",
        "aef706e5344c  scrub   cancelled       0 B           -     -  -",
    ]


def test_the_list_is_short_unless_all_are_wanted(codex: Run, node: Any, job: Any) -> None:
    node.json("GET /jobs", {"jobs": [job(id=f"{number:012x}") for number in range(30)]})
    assert len(codex("jobs", port=node.port).stdout.splitlines()) == 21
    assert len(codex("jobs", "--all", port=node.port).stdout.splitlines()) == 31
    assert len(json.loads(codex("jobs", "--json", port=node.port).stdout)["jobs"]) == 30


def test_the_list_can_be_of_a_kind_and_in_a_state(codex: Run, node: Any) -> None:
    node.json("GET /jobs?kind=backup&state=done", {"jobs": []})
    done = codex("jobs", "--kind=backup", "--state", "done", port=node.port)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_narrow_terminal_shortens_the_subject_only(job: Any, cid: str) -> None:
    table = jobs.jobs_table([jobs.parse(job(bytesPerSecond=1 << 30, etaSeconds=99_999))], 80)
    title, line = table.splitlines()
    assert len(line) <= 80
    assert ID in line
    assert "1.00 GiB/s  1d 03h" in line
    assert "…" in line
    assert cid[:5] in line
    assert len(title) <= 80


def test_one_job_is_shown_with_all_there_is(codex: Run, node: Any, job: Any, cid: str) -> None:
    result = {"sound": False, "corruptBlocks": 4, "corrupt": ["a", "b", "c", "d"], "missing": []}
    node.json(f"GET /jobs/{ID}", job(state="done", bytesDone=1 << 20, result=result))
    environ = {"TZ": "UTC"}
    done = codex("jobs", ID, port=node.port, env=environ)
    assert done.stdout.decode().splitlines() == [
        f"id              {ID}",
        "kind            verify",
        f"subject         {cid}",
        "state           done",
        "done            1.00 MiB of 1.00 MiB",
        "rate            -",
        "began           2026-11-22 20:16:30",
        "ended           2026-11-22 20:16:32, after 2.45 s",
        "sound           no",
        "corrupt blocks  4",
        "corrupt         a, b, c, …",
        "missing         none",
    ]
    assert json.loads(codex("jobs", ID, "--json", port=node.port).stdout)["result"] == result


def test_a_job_that_runs_or_failed_is_shown_too(job: Any) -> None:
    shown = jobs.job_table(jobs.parse(job(etaSeconds=61, bytesPerSecond=1024, subject=None)))
    assert "state    running, verifying" in shown
    assert "left     1:01" in shown
    error = {"code": "disk-full", "message": "no\x1broom", "remedy": "make some"}
    shown = jobs.job_table(jobs.parse(job(state="failed", error=error, result="odd")))
    assert "error    no\ufffdroom" in shown
    assert "remedy   make some" in shown
    assert "result   odd" in shown


def test_jobs_are_cancelled(codex: Run, node: Any) -> None:
    node.replies["DELETE /jobs/a"] = (204, {}, b"")
    node.problem("DELETE /jobs/b", 404, "there is no job b")
    node.replies["DELETE /jobs/c"] = (204, {}, b"")
    done = codex("jobs", "--cancel", "a", "b", "c", port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines()[0] == "error: there is no job b"
    assert "`codex jobs`" in done.stderr.decode()
    assert node.asked == ["DELETE /jobs/a", "DELETE /jobs/b", "DELETE /jobs/c"]


def test_a_job_is_followed_to_its_end(codex: Run, node: Any, job: Any, cid: str) -> None:
    node.json(f"GET /jobs/{ID}", job(), job(bytesDone=5), job(state="done", bytesDone=1 << 20))
    done = codex("jobs", "--follow", ID, port=node.port)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{ID}  verify    done       1.00 MiB in 2.45 s     {cid}\n"
    assert node.asked == [f"GET /jobs/{ID}"] * 3


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_does_not_end_well_is_told_by_the_exit_code(
    codex: Run, node: Any, job: Any, state: str, cid: str
) -> None:
    error = {"code": "corrupt-data", "message": "all is lost", "remedy": "store it again"}
    node.json(f"GET /jobs/{ID}", job(state=state, error=error if state == "failed" else None))
    done = codex("jobs", "-f", ID, "--json", port=node.port)
    assert done.returncode == 1
    assert json.loads(done.stdout)["state"] == state
    said = json.loads(done.stderr)
    assert said["message"].startswith(f"verify {cid}: ")
    code, remedy = ("corrupt-data", "store it again") if state == "failed" else ("job-cancelled", "")
    assert (said["code"], said["remedy"]) == (code, remedy)
    said = codex("jobs", "-f", ID, port=node.port).stderr.decode()
    assert said.startswith(f"error: verify {cid}: ")
    assert ("all is lost\n  Store it again\n" in said) == (state == "failed")


def test_all_that_run_are_followed_until_none_does(codex: Run, node: Any, job: Any) -> None:
    first, second = job(id="a", subject="one"), job(id="b", subject="two")
    node.json(
        "GET /jobs?state=running", *({"jobs": each} for each in ([first], [second, first], [second], []))
    )
    node.json("GET /jobs/a", job(id="a", state="done", subject="one"))
    node.json("GET /jobs/b", job(id="b", state="done", subject="two"))
    done = codex("jobs", "--follow", port=node.port)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["a", "b"]


def test_following_is_no_wait_when_nothing_runs(codex: Run, node: Any) -> None:
    node.json("GET /jobs?state=running", {"jobs": []})
    done = codex("jobs", "--follow", port=node.port)
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None, "kind": None, "bytesDone": "x"},
        {"bytesTotal": "x"},
        {"bytesPerSecond": float("nan")},
        {"bytesPerSecond": -1},
        {"started": 1e300},
        {"started": None},
        {"ended": float("inf")},
        {"error": 5},
        {"bytesDone": float("inf")},
        {"etaSeconds": []},
    ],
)
def test_a_job_of_another_shape_is_refused(job: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"):
        jobs.parse({**job(), **wrong})


def test_a_job_without_a_part_is_refused(job: Any) -> None:
    whole = job()
    for name in set(whole) - {"id"}:
        with pytest.raises(Failed):
            jobs.parse({key: value for key, value in whole.items() if key != name})
    for answer in ({}, {"jobs": 5}, {"jobs": [5]}, {"jobs": None}):
        with pytest.raises(Failed):
            jobs.listed(answer)


def test_an_id_cannot_change_the_path(codex: Run, node: Any) -> None:
    codex("jobs", "../data", port=node.port)
    assert node.asked == ["GET /jobs/..%2Fdata"]
