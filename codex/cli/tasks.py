"""`codex protect`, `verify`, `scrub` and `backup`: long work that the node does, begun here and followed."""

import os
from collections.abc import Callable
from typing import Any

from codex.cli import jobs, rows
from codex.cli.connection import IDLE_LIMIT, OF_A_CID, ask_json, data_path, understood
from codex.cli.exits import Failed
from codex.cli.finding import Target
from codex.cli.jobs import Job
from codex.cli.output import printable, spent
from codex.cli.progress import bars
from codex.units import human_size

NAMED = 20
"""Damaged blocks that are named for reading; `--json` names those that the node does."""


def protect(node: Target, cid: str, k: int, m: int) -> Job:
    """Have the node make the dataset `cid` durable with K rows of data and M of parity; the job of it. Raises
    Failed, NoNode.
    """
    path = data_path(cid, "protect")
    given = {"data": k, "parity": m}
    answer = ask_json(
        node, "POST", path, cid, given=given, accepted=(202,), remedies=OF_A_CID, limit=IDLE_LIMIT
    )
    return jobs.parse(answer)


def verifiable(job: Job) -> str:
    """The CID of the dataset that a job has made. Raises Failed when its result does not have it."""
    with understood():
        return printable(str(job.result["verifiableCid"]))


def verify(node: Target, cid: str, *, repair: bool = False) -> Job:
    """Have the node check the dataset `cid`, and bring lost rows of it back if that is asked; the job of it.
    Raises Failed, NoNode.
    """
    path = data_path(cid, "verify") + ("?repair=1" if repair else "")
    return jobs.parse(ask_json(node, "POST", path, cid, accepted=(202,), remedies=OF_A_CID))


def scrub(node: Target) -> Job:
    """Have the node check everything it has; the job of it. Raises Failed, NoNode."""
    return jobs.parse(ask_json(node, "POST", "/scrub", "the scrub", accepted=(202,)))


def backup(node: Target, path: str) -> Job:
    """Have the node copy its store to `path`, as seen from here; the job of it. Raises Failed, NoNode.

    Where the node runs on another machine, it is a path there.
    """
    try:
        given = {"path": os.path.abspath(path)}
    except OSError as error:
        raise Failed(
            f"{path} is below the present directory, and that is gone: {error.strerror}",
            remedy="Give the whole path, or change to a directory that is there.",
        ) from error
    return jobs.parse(ask_json(node, "POST", "/backup", "the backup", given=given, accepted=(202,)))


def carry_out(node: Target, begin: Callable[[], Job]) -> Job:
    """Begin a job, show how far it is, and return it when it is done. Raises Failed when it is not, NoNode.

    Interrupted, it goes on in the node, and that is said.
    """
    job = begin()
    with jobs.outlived(job), bars() as shown:
        job = jobs.follow_to_end(node, job, shown)
    failure = job.failure()
    if failure is not None:
        raise failure
    return job


def is_sound(job: Job) -> bool:
    """Whether what a job has checked is whole. Raises Failed when its result does not say so."""
    with understood():
        sound = job.result["sound"]
        if not isinstance(sound, bool):
            raise TypeError
    return sound


def verdict(job: Job) -> str:
    """What was found by checking a dataset or everything, for reading."""
    with understood():
        found: dict[str, Any] = job.result
        size = human_size(int(found["bytes"]))
        took = "" if job.ended is None else f" in {spent(job.ended - job.started)}"
        blocks = f"{_count(found['blocks'], 'block')}, " if "blocks" in found else ""
        lines = [f"{printable(job.subject) or 'everything'}: {'sound' if is_sound(job) else 'damaged'}"]
        lines.append(f"  {blocks}{size} read{took}")
        for what, count, one in (
            ("corrupt", "corruptBlocks", "corrupt  {}"),
            ("missing", "missingBlocks", "missing  block {}"),
            ("mended", "mendedManifests", "mended   {}"),
        ):
            named = list(found.get(what, []))
            lines += [f"  {one.format(printable(str(name)))}" for name in named[:NAMED]]
            left = int(found.get(count, len(named))) - len(named[:NAMED])
            lines += [f"  {what:7}  and {left} more"] if left > 0 else []
        if "repaired" in found:
            damaged = int(found.get("repairedCorrupt", 0))
            which = f", {damaged} of them corrupt" if damaged else ""
            lines.append(f"  repaired {_count(found['repaired'], 'block')}{which}")
        lines += rows.told(found)
    return "\n".join(lines)


def copied(job: Job) -> str:
    """What a backup has copied, and where to, for reading."""
    with understood():
        took = "" if job.ended is None else f" in {spent(job.ended - job.started)}"
        size = int(job.result["bytes"]) - int(job.result.get("unreadableBytes", 0))
        lines = [printable(f"{job.result['path']}: {human_size(size)} copied{took}")]
        named = list(job.result.get("unreadable", []))
        lines += [f"  unreadable  {printable(str(block))}" for block in named[:NAMED]]
        left = int(job.result.get("unreadableBlocks", 0)) - len(named[:NAMED])
        lines += [f"  unreadable  and {left} more"] if left > 0 else []
    return "\n".join(lines)


def incomplete(job: Job) -> Failed | None:
    """The error that a backup lacks what the node's disk did not give, if it does."""
    with understood():
        lacking = int(job.result.get("unreadableBytes", 0))
    if not lacking:
        return None
    return Failed(
        f"{human_size(lacking)} of what the node has could not be read, and is damaged in the backup",
        remedy="All else is in it. `codex verify CID` on the node tells which datasets are hit; put those "
        "files again, and look after the disk.",
    )


def _count(number: Any, what: str) -> str:
    return f"{int(number)} {what}{'' if number == 1 else 's'}"


def damaged(job: Job) -> Failed:
    """The error that what a job has checked is not whole."""
    if not job.subject:
        return Failed(
            "some of what this node has is damaged",
            remedy="`codex verify CID` tells which datasets; put those files again to mend them.",
        )
    with understood():
        if rows.repairable(job.result):
            return Failed(
                f"{job.subject} is damaged",
                remedy=f"`codex verify --repair {job.subject}` brings it back; and look after the disk.",
            )
    return Failed(
        f"{job.subject} is damaged",
        remedy="Put the same file again, which mends it; and look after the disk.",
    )
