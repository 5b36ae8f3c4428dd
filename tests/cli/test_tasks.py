"""`codex protect`, `verify`, `scrub` and `backup` against a stand-in: begun, followed, and told."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex.cli import jobs, tasks
from codex.cli.exits import Failed

Run = Callable[..., subprocess.CompletedProcess[bytes]]
ID = "37060d6badd4"
SOUND = {
    "blocks": 16,
    "bytes": 1 << 20,
    "sound": True,
    "corruptBlocks": 0,
    "corrupt": [],
    "missingBlocks": 0,
    "missing": [],
}
DAMAGED = {
    **SOUND,
    "sound": False,
    "corruptBlocks": 2,
    "corrupt": ["zDxA", "zDxB"],
    "missingBlocks": 1,
    "missing": [7],
}


LACKING = {
    "path": "/b",
    "bytes": 3 << 20,
    "unreadableBytes": 1 << 20,
    "unreadableBlocks": 25,
    "unreadable": [f"zDx{number}" for number in range(25)],
}


MADE = {
    "verifiableCid": "zDvV",
    "protectedCid": "zDvP",
    "treeCid": "zDzT",
    "verifyRoot": "zE4R",
    "slotRoots": ["zE2A", "zE2B", "zE2C"],
}


def test_a_dataset_is_protected_and_the_name_of_the_new_one_printed(
    codex: Run, node: Any, job: Any, cid: str
) -> None:
    node.json(f"POST /data/{cid}/protect", job("protect"), status=202)
    end = job("protect", "done", result=MADE)
    node.json(f"GET /jobs/{ID}", job("protect"), end)
    done = codex("protect", cid, "--data", "2", "--parity", "1", port=node.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"zDvV\n", b"")
    assert json.loads(node.uploads[0].body) == {"data": 2, "parity": 1}
    done = codex("protect", cid, "--data=2", "--parity=1", "--json", port=node.port)
    assert json.loads(done.stdout) == end


def test_what_cannot_be_protected_is_told(codex: Run, node: Any, job: Any, cid: str) -> None:
    words = ["protect", cid, "--data=9", "--parity=1"]
    node.problem(f"POST /data/{cid}/protect", 422, "K = 9 rows are more than the 2 blocks", "take fewer")
    done = codex(*words, port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"error: {cid}: K = 9 rows are more than the 2 blocks\n  Take fewer\n"
    error = {"code": "quota-exceeded", "message": "no room", "remedy": "delete datasets"}
    node.json(f"POST /data/{cid}/protect", job("protect", "failed", error=error), status=202)
    done = codex(*words, port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"error: protect {cid}: no room\n  Delete datasets\n"


@pytest.mark.parametrize("result", [None, {}, {"protectedCid": "zDvP"}, []])
def test_a_protection_of_another_shape_is_refused(job: Any, result: Any) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"):
        tasks.verifiable(jobs.parse(job("protect", "done", result=result)))


def test_a_dataset_that_is_sound(codex: Run, node: Any, job: Any, cid: str) -> None:
    node.json(f"POST /data/{cid}/verify", job(), status=202)
    node.json(f"GET /jobs/{ID}", job(), job(state="done", result=SOUND))
    done = codex("verify", cid, port=node.port)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"{cid}: sound\n  16 blocks, 1.00 MiB read in 2.45 s\n"
    assert node.uploads[0].body == b""


def test_a_dataset_that_is_damaged_is_told_and_the_next_is_looked_at(
    codex: Run, node: Any, job: Any, cid: str
) -> None:
    node.json(f"POST /data/{cid}/verify", job(state="done", result=DAMAGED), status=202)
    node.json("POST /data/zDv2/verify", job(state="done", subject="zDv2", result=SOUND), status=202)
    done = codex("verify", cid, "zDv2", port=node.port)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        f"{cid}: damaged",
        "  16 blocks, 1.00 MiB read in 2.45 s",
        "  corrupt  zDxA",
        "  corrupt  zDxB",
        "  missing  block 7",
        "zDv2: sound",
        "  16 blocks, 1.00 MiB read in 2.45 s",
    ]
    assert f"error: {cid} is damaged\n" in done.stderr.decode()
    assert "Put the same file again" in done.stderr.decode()
    done = codex("verify", "--json", cid, "zDv2", port=node.port)
    assert [json.loads(line)["result"] for line in done.stdout.splitlines()] == [DAMAGED, SOUND]
    assert done.returncode == 1


def test_a_protected_dataset_is_told_row_by_row_and_repaired(
    codex: Run, node: Any, job: Any, cid: str
) -> None:
    rows = [{"row": 0, "kind": "data", "present": 5, "missing": 0, "corrupt": 0}]
    told = {"data": 1, "parity": 0, "rows": rows, "spare": 0, "lostBytes": 0, "lost": []}
    node.json(f"POST /data/{cid}/verify", job(state="done", result={**DAMAGED, **told}), status=202)
    done = codex("verify", cid, port=node.port)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[-2:] == [
        "    0  data        5        0        0",
        "  no more row may be lost",
    ]
    assert f"`codex verify --repair {cid}` brings it back" in done.stderr.decode()
    result = {**SOUND, **told, "repaired": 4, "repairedCorrupt": 3}
    node.json(f"POST /data/{cid}/verify?repair=1", job(state="done", result=result), status=202)
    done = codex("verify", "--repair", cid, port=node.port)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"{cid}: sound\n")
    assert "  repaired 4 blocks, 3 of them corrupt\n" in done.stdout.decode()


def test_what_cannot_be_verified_is_told(codex: Run, node: Any, job: Any, cid: str) -> None:
    node.problem(f"POST /data/{cid}/verify", 404, "not here")
    done = codex("verify", cid, port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines() == [
        f"error: {cid}: not here",
        "  `codex ls` shows what this node has.",
    ]
    error = {"code": "disk-failed", "message": "the disk is gone", "remedy": "look"}
    node.json(f"POST /data/{cid}/verify", job(state="failed", error=error), status=202)
    done = codex("verify", cid, port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"error: verify {cid}: the disk is gone\n  Look\n"


def test_many_damaged_blocks_are_counted(job: Any) -> None:
    result = {**SOUND, "sound": False, "corruptBlocks": 5000, "corrupt": [f"zDx{n}" for n in range(1000)]}
    shown = tasks.verdict(jobs.parse(job(state="done", result=result))).splitlines()
    assert shown[2] == "  corrupt  zDx0"
    assert shown[-1] == "  corrupt  and 4980 more"
    assert len(shown) == 2 + tasks.NAMED + 1


@pytest.mark.parametrize(
    "result", [None, {}, {"sound": 1, "bytes": 5}, {"sound": True}, {"sound": True, "bytes": "x"}, []]
)
def test_a_result_of_another_shape_is_refused(job: Any, result: Any) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"):
        tasks.verdict(jobs.parse(job(state="done", result=result)))


def test_everything_is_scrubbed(codex: Run, node: Any, job: Any) -> None:
    sound = {
        "bytes": 5 << 20,
        "sound": True,
        "corruptBlocks": 0,
        "corrupt": [],
        "mendedManifests": 1,
        "mended": ["zDv1"],
    }
    node.json("POST /scrub", job("scrub", subject=None), status=202)
    node.json(f"GET /jobs/{ID}", job("scrub", "done", subject=None, result=sound))
    done = codex("scrub", port=node.port)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == "everything: sound\n  5.00 MiB read in 2.45 s\n  mended   zDv1\n"
    bad = {**sound, "sound": False, "corruptBlocks": 1, "corrupt": ["zDxA"]}
    node.json(f"GET /jobs/{ID}", job("scrub", "done", subject=None, result=bad))
    done = codex("scrub", "--json", port=node.port)
    assert done.returncode == 1
    assert json.loads(done.stdout)["result"] == bad
    assert b"`codex verify CID`" in done.stderr


def test_a_backup_goes_where_the_path_is_here(codex: Run, node: Any, job: Any, work: Path) -> None:
    end = job("backup", "done", subject="/b", result={"path": "/b", "bytes": 3 << 20})
    node.json("POST /backup", job("backup", subject="/b"), status=202)
    node.json(f"GET /jobs/{ID}", end)
    done = codex("backup", "sub/../copy", port=node.port)
    assert (done.returncode, done.stdout) == (0, b"/b: 3.00 MiB copied in 2.45 s\n")
    assert json.loads(node.uploads[0].body) == {"path": str(work / "copy")}
    assert json.loads(codex("backup", "/b", "--json", port=node.port).stdout) == end
    node.json(f"GET /jobs/{ID}", end := job("backup", "done", subject="/b", result=LACKING))
    done = codex("backup", "/b", port=node.port)
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, lines[0]) == (1, "/b: 2.00 MiB copied in 2.45 s")
    assert lines[1:] == [f"  unreadable  zDx{number}" for number in range(20)] + ["  unreadable  and 5 more"]
    assert done.stderr.decode().startswith("error: 1.00 MiB of what the node has could not be read")
    assert b"`codex verify CID`" in done.stderr
    done = codex("backup", "/b", "--json", port=node.port)
    assert (done.returncode, json.loads(done.stdout)) == (1, end)
    assert json.loads(done.stderr)["code"] == "failed"
    node.problem("POST /backup", 422, "/b exists", remedy="name another")
    done = codex("backup", "/b", port=node.port)
    assert (done.returncode, done.stderr) == (1, b"error: the backup: /b exists\n  Name another\n")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["scrub"], "/scrub"),
        (["backup", "b"], "/backup"),
        (["protect", "zDv2", "--data=2", "--parity=1"], "/data/zDv2/protect"),
    ],
)
def test_long_work_can_be_left_to_the_node(
    codex: Run, node: Any, job: Any, words: list[str], path: str
) -> None:
    node.json(f"POST {path}", job(words[0]), status=202)
    done = codex(*words, "--detach", port=node.port)
    assert (done.returncode, done.stdout) == (0, f"{ID}\n".encode())
    assert json.loads(codex(*words, "--detach", "--json", port=node.port).stdout)["id"] == ID
    assert node.asked == [f"POST {path}"] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_goes_on_and_that_is_said(
    number: signal.Signals, code: int, node: Any, job: Any, environ: dict[str, str], cid: str
) -> None:
    node.json(f"POST /data/{cid}/verify", job(), status=202)
    node.json(f"GET /jobs/{ID}", job())
    command = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from codex.cli import main
sys.exit(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", command, f"--api-port={node.port}", "verify", cid],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        while len(node.asked) < 3:
            os.sched_yield()
        process.send_signal(number)
        out, said = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, b"")
    assert f"`codex jobs --follow {ID}` shows it".encode() in said
    assert f"`codex jobs --cancel {ID}` ends it".encode() in said
    assert b"Traceback" not in said


def test_a_backup_from_a_directory_that_is_gone_says_so(
    here: Callable[..., tuple[int, str, str]], node: Any, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    code, out, said = here(f"--api-port={node.port}", "backup", "copy")
    os.chdir(tmp_path)
    assert (code, out) == (1, "")
    assert "copy is below the present directory, and that is gone" in said
