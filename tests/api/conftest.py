"""A node whose API is served on a free port, for each test that asks for one; every reply is held to the
description of the API.
"""

import re
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
import yaml

from codex.api.debug import description
from codex.testing.http import Client, Link, Reply
from codex.testing.nodes import BASE, ServedNode, open_served_node

NO_CALL = {401, 404, 405}  # what may be said where there is no call
ANY_CALL = {400, 408, 431}  # what may be said to any head, before it is known which call it is


@cache
def described_calls() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """The calls of each path: by its method, the media types that go with each status."""
    document = yaml.safe_load(description())

    def types(response: dict[str, Any]) -> set[str]:
        while "$ref" in response:
            response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        return set(response.get("content", {}))

    found = []
    for path, item in document["paths"].items():
        calls = {
            method.upper(): {int(status): types(said) for status, said in call["responses"].items()}
            for method, call in item.items()
            if method != "parameters"
        }
        found.append((re.compile(re.sub(r"\{\w+\}", "[^/]*", path)), calls))
    return found


def undescribed(method: str, path: str, reply: Reply) -> str | None:
    """What of a reply to a call below the API's root is not in its description."""
    calls: dict[str, Any] = next(
        (calls for pattern, calls in described_calls() if pattern.fullmatch(path)), {}
    )
    statuses = calls.get(method) or (calls.get("GET") if method == "HEAD" else None)
    if method == "OPTIONS" or reply.status in ANY_CALL:
        return None
    if statuses is None:
        return None if reply.status in NO_CALL else f"{method} {path} is not described"
    if reply.status not in statuses:
        return f"{method} {path} is not described to answer {reply.status}"
    kind = (reply.header("content-type") or "").partition(";")[0].lower()
    if reply.body and not {kind, "*/*"} & statuses[reply.status]:
        return f"{method} {path} is not described to answer {reply.status} with {kind}"
    return None


@pytest.fixture(autouse=True)
def _described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that gets a reply which is not in the description."""
    ask = Link.ask
    found = []

    async def asked(self: Link, method: str, target: str, **more: Any) -> Reply:
        reply = await ask(self, method, target, **more)
        path = unquote_plus(target.partition("?")[0])
        upgrade = any(name == "Upgrade" for name, _ in more.get("headers", ()))
        if path.startswith(BASE + "/") and not upgrade:
            found.append(undescribed(method, path.removeprefix(BASE), reply))
        return reply

    monkeypatch.setattr(Link, "ask", asked)
    yield
    wrong = [fault for fault in found if fault is not None]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedNode]:
    """A node on an empty directory, and its API."""
    async with open_served_node(tmp_path / "alice") as served:
        yield served


@pytest.fixture
def client(served: ServedNode) -> Client:
    """A client of that node."""
    return served.client
