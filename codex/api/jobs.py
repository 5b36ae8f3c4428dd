"""The calls about long work: begin to protect, verify, scrub or back up, look at jobs, cancel one."""

from enum import StrEnum
from typing import TypeVar

import trio
from quart import request

from codex.api import bodies
from codex.api.cors import PREFIX
from codex.api.objects import job_json
from codex.api.paths import absolute
from codex.api.routes import Reply, Route, as_json, as_json_text, nothing, parse_cid, to_text
from codex.errors import InvalidInput
from codex.node import Job, JobKind, JobState, Node

STEP = 100  # jobs made into text in one step of the loop: about a millisecond; there may be two thousand

_Word = TypeVar("_Word", bound=StrEnum)


def routes(node: Node) -> list[Route]:
    """The rows of this page, on `node`."""

    async def list_jobs() -> Reply:
        items: list[str] = []
        for job in reversed(node.jobs.list(_asked(JobKind, "kind"), _asked(JobState, "state"))):
            if len(items) % STEP == 0:
                await trio.lowlevel.checkpoint()
            items.append(to_text(job_json(job.snapshot())))
        return as_json_text(f'{{"jobs":[{",".join(items)}]}}')

    async def look(id: str) -> Reply:
        return as_json(job_json(node.jobs.get(id).snapshot()))

    async def cancel(id: str) -> Reply:
        node.jobs.cancel(id)
        return nothing()

    async def protect(cid: str) -> Reply:
        parsed = parse_cid(cid)
        body = await _body()
        return _begun(await node.protect(parsed, bodies.count(body, "data"), bodies.count(body, "parity")))

    async def verify(cid: str) -> Reply:
        return _begun(await node.verify(parse_cid(cid), repair=_flag("repair")))

    async def scrub() -> Reply:
        return _begun(await node.scrub())

    async def backup() -> Reply:
        return _begun(await node.backup(absolute(bodies.text(await _body(), "path"))))

    return [
        Route("GET", "/jobs", list_jobs),
        Route("GET", "/jobs/<id>", look),
        Route("DELETE", "/jobs/<id>", cancel),
        Route("POST", "/data/<cid>/protect", protect, own_pages=True),
        Route("POST", "/data/<cid>/verify", verify, own_pages=True),
        Route("POST", "/scrub", scrub, own_pages=True),
        Route("POST", "/backup", backup, own_pages=True),
    ]


async def _body() -> bodies.Object:
    """The object that the request has as its body. Raises DecodeError."""
    return bodies.read_object(await request.get_data(cache=False, as_text=False, parse_form_data=False))


def _begun(job: Job) -> Reply:
    return as_json(job_json(job.snapshot()), 202, headers={"Location": f"{PREFIX}/jobs/{job.id}"})


def _flag(name: str) -> bool:
    """Whether the query has 1 or true under `name`. Raises InvalidInput for what is no answer to that."""
    text = request.args.get(name, "0")
    if text not in ("0", "false", "1", "true"):
        raise InvalidInput(f"{name} is 1 or 0, and not {text!r}")
    return text in ("1", "true")


def _asked(words: type[_Word], name: str) -> _Word | None:
    """The word that the query has under `name`. Raises InvalidInput for one that is none of `words`."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return words(text)
    except ValueError:
        raise InvalidInput(f"there is no such {name} of a job", remedy="use " + ", ".join(words)) from None
