"""`codex buy`, `sell`, `purchases`, `slots`, `explain`: what a node buys and sells, asked over HTTP."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from codex.cli import jobs
from codex.cli.connection import IDLE_LIMIT, OF_A_CID, ask, ask_json, read_text, understood
from codex.cli.exits import Failed
from codex.cli.finding import Target
from codex.cli.jobs import Job
from codex.cli.output import Column, moment, printable, table
from codex.units import duration_text, human_size

LISTED = 100
"""Purchases and decisions that are asked for."""


def buy(node: Target, cid: str, terms: Mapping[str, Any]) -> Job:
    """Have the node buy storage for the dataset `cid` on terms as the API has them; the job of it. Raises
    Failed, NoNode.
    """
    path = f"/storage/request/{quote(cid, safe='')}?async=1"
    answer = ask_json(
        node, "POST", path, cid, given=dict(terms), accepted=(202,), remedies=OF_A_CID, limit=IDLE_LIMIT
    )
    return jobs.parse(answer)


def purchase_of(job: Job) -> str:
    """The id of the purchase that a job has made. Raises Failed when its result does not have it."""
    with understood():
        return printable(str(job.result["purchaseId"]))


def sell(node: Target, offer: Mapping[str, Any]) -> dict[str, Any]:
    """Have the node offer room, as the API has it; what is offered then. Raises Failed, NoNode."""
    return ask_json(node, "POST", "/sales/availability", "the offer", given=dict(offer), accepted=(201,))


def purchases(node: Target) -> dict[str, Any]:
    """Every purchase of the node, the newest first, as its API gives them. Raises Failed, NoNode."""
    return ask_json(node, "GET", f"/storage/history?limit={LISTED}", "the list of purchases")


def slots(node: Target) -> list[dict[str, Any]]:
    """The slots that the node holds, each with the state of its sale under `state`, None when nobody works on
    it. Raises Failed, NoNode.
    """
    with ask(node, "GET", "/sales/slots", limit=IDLE_LIMIT) as reply:
        text = read_text(reply, "the list of slots", accepted=(200,))
    with understood():
        held = json.loads(text)
        return [{**slot, "state": _state(node, str(slot["id"]))} for slot in held]


def _state(node: Target, slot: str) -> str | None:
    with ask(node, "GET", f"/sales/slots/{quote(slot, safe='')}") as reply:
        if reply.status == 404:
            return None
        return str(json.loads(read_text(reply, "the slot", accepted=(200,)))["state"])


def decisions(node: Target, slot: str) -> dict[str, Any]:
    """What the node decided about a slot, the newest first, as its API gives it. Raises NoNode, and Failed
    also when it never saw the slot.
    """
    query = urlencode({"slot": slot, "limit": LISTED})
    answer = ask_json(node, "GET", f"/sales/decisions?{query}", f"slot {slot}")
    with understood():
        if not answer["decisions"]:
            raise Failed(
                f"this node has not seen slot {slot}, or has forgotten it",
                remedy="A host looks at slots while it has room on offer: see `codex sell --help`.",
            )
    return answer


def latest_decisions(node: Target) -> dict[str, Any]:
    """What the node decided of late about any slot, the newest first, as its API gives it. Raises Failed,
    NoNode.
    """
    return ask_json(node, "GET", f"/sales/decisions?limit={LISTED}", "the list of decisions")


# -- for reading


def purchases_table(answer: Mapping[str, Any], width: int | None) -> str:
    """The purchases as columns; "" when there are none."""
    columns = (
        Column("PURCHASE", least=12),
        Column("STATE"),
        Column("SLOTS", right=True),
        Column("SIZE", right=True, least=0),
        Column("FOR", right=True, least=0),
        Column("MADE", least=0),
    )
    with understood():
        rows = [[printable(word) for word in _purchase(there)] for there in answer["purchases"]]
    return table(columns, rows, width) if rows else ""


def _purchase(there: Mapping[str, Any]) -> list[str]:
    request = there["request"]
    made = moment(int(there["made"]))
    if request is None:
        return [str(there["requestId"]), str(there["state"]), "", "", "", made]
    ask = request["ask"]
    size, length = int(ask["slots"]) * int(ask["slotSize"]), duration_text(int(ask["duration"]))
    id, state = str(there["requestId"]), str(there["state"])
    return [id, state, str(ask["slots"]), human_size(size), length, made]


def slots_table(held: list[dict[str, Any]], width: int | None) -> str:
    """The slots as columns; "" when there are none."""
    columns = (
        Column("SLOT", least=12),
        Column("STATE"),
        Column("INDEX", right=True),
        Column("SIZE", right=True, least=0),
        Column("REQUEST", least=0),
    )
    with understood():
        rows = [
            [
                printable(str(slot["id"])),
                printable((slot["state"] or "unattended").removeprefix("Sale").lower()),
                str(int(slot["slotIndex"])),
                human_size(int(slot["request"]["ask"]["slotSize"])),
                printable(str(slot["request"]["id"])),
            ]
            for slot in held
        ]
    return table(columns, rows, width) if rows else ""


def decisions_table(answer: Mapping[str, Any], width: int | None) -> str:
    """The slots that were decided about as columns, each with what was decided last; "" when there are none.

    Their ids are never shortened: they are what is asked about next.
    """
    roomy = width is None or width >= 100
    columns = (
        Column("SLOT"),
        Column("VERDICT"),
        Column("WHEN", least=0),
        Column("WHY", least=8 if roomy else 0),
    )
    rows: dict[str, list[str]] = {}
    with understood():
        for decision in answer["decisions"]:
            slot, verdict = str(decision["slot"]), str(decision["verdict"])
            why = str(decision["reason"]) or _VERDICTS.get(verdict, "")
            rows.setdefault(slot, [slot, verdict, moment(int(decision["at"])), why])
    shown = [[printable(word) for word in row] for row in rows.values()]
    return table(columns, shown, width) if shown else ""


_VERDICTS = {
    "taken": "room and collateral were set aside for it",
    "unwanted": "nothing that is on offer takes it",
    "dropped": "there were too many better ones",
    "closed": "it could not be filled any more",
    "refused": "as many hosts as may had reserved it",
    "outdone": "another host was faster",
    "failed": "something went wrong on the way",
    "filled": "it was filled, and is held",
    "finished": "it was held to the end, and paid",
    "cancelled": "the request was not filled in time",
    "lost": "it was filled, and taken away",
}


def story(answer: Mapping[str, Any]) -> str:
    """What was decided about a slot, in words, the oldest first."""
    with understood():
        found = list(reversed(answer["decisions"]))
        last = found[-1]
        lines = [f"slot {int(last['slotIndex'])} of request {last['requestId']}"]
        for decision in found:
            verdict = str(decision["verdict"])
            meaning = _VERDICTS.get(verdict, "")
            lines += ["", f"{moment(int(decision['at']))}  {verdict}" + (f": {meaning}" if meaning else "")]
            lines += [f"  {decision['reason']}"] if decision["reason"] else []
            for check in decision["checks"]:
                sign = "ok" if check["passed"] else "NO"
                lines.append(
                    f"  {sign}  {check['name']}: wanted {check['wanted']}, offered {check['offered']}"
                )
    return "\n".join(map(printable, lines))
