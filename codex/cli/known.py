"""What a running node can offer for completion: the CIDs of its datasets, and the ids of its jobs and of the
slots that it has seen.
"""

from codex.cli.connection import ask_json, understood
from codex.cli.finding import Target
from codex.cli.output import printable

PATIENCE = 1.0
"""Seconds that a shell, and whoever pressed the key, waits for a node that is busy."""
OFFERED = 1000
"""Words that are offered at most; more help nobody, and slow the shell down."""


def cids(node: Target) -> list[tuple[str, str]]:
    """The CIDs of datasets, each with the name of its file or nothing. Raises Failed, NoNode."""
    answer = ask_json(node, "GET", "/data", "the list of datasets", limit=PATIENCE)
    with understood():
        return [
            (str(item["cid"]), printable(item["manifest"]["filename"] or ""))
            for item in answer["content"][:OFFERED]
        ]


def jobs(node: Target) -> list[tuple[str, str]]:
    """The ids of jobs, each with what it is. Raises Failed, NoNode."""
    answer = ask_json(node, "GET", "/jobs", "the list of jobs", limit=PATIENCE)
    with understood():
        return [
            (str(job["id"]), printable(f"{job['kind']} {job['subject'] or ''}, {job['state']}"))
            for job in answer["jobs"][:OFFERED]
        ]


def slots(node: Target) -> list[tuple[str, str]]:
    """The ids of slots that were decided about lately, each with what came of it. Raises Failed, NoNode."""
    answer = ask_json(
        node, "GET", f"/sales/decisions?limit={OFFERED}", "the list of decisions", limit=PATIENCE
    )
    with understood():
        newest: dict[str, str] = {}
        for decision in answer["decisions"]:
            newest.setdefault(str(decision["slot"]), printable(str(decision["verdict"])))
    return list(newest.items())
