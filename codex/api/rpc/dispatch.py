"""JSON-RPC 2.0: from a text to the requests in it, and from results to the text of a reply.

Pure. Every text gives something to answer with: a request, or the fault that is told instead; nothing that
a client can send is raised. Beyond the specification: a batch has at most 64 entries, an id that is a number
is a whole one, and a member that the specification does not know is ignored.
"""

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from codex.api.rpc.faults import (
    METHOD_NOT_FOUND,
    NO_JSON,
    Fault,
    InvalidParams,
    Object,
    fault,
    invalid,
)
from codex.api.rpc.limits import MAX_REQUESTS
from codex.api.rpc.methods import Id
from codex.api.rpc.shapes import structure
from codex.api.rpc.table import METHODS, Method
from codex.errors import Problem

_METHODS = "the methods are " + ", ".join(METHODS)
_ECHO = 40  # characters of a method's name that are repeated


@frozen
class Request:
    """A request to be done. `reply` says whether it is owed one: a notification is not."""

    id: Id
    method: Method[Any]
    params: Any
    reply: bool


@frozen
class Refused:
    """What is no request that can be done; `reply` as above."""

    id: Id
    fault: Fault
    reply: bool


@frozen
class Batch:
    """Several at once, answered together."""

    entries: tuple[Request | Refused, ...]


def read(text: str) -> Request | Refused | Batch:
    """What a text asks for."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return Refused(None, NO_JSON, True)
    if not isinstance(value, list):
        return _entry(value)
    if not 0 < len(value) <= MAX_REQUESTS:
        return Refused(None, invalid(f"a batch has from 1 to {MAX_REQUESTS} requests"), True)
    return Batch(tuple(_entry(one) for one in value))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _entry(value: object) -> Request | Refused:
    if not isinstance(value, dict):
        return Refused(None, invalid("a request is an object"), True)
    id = value.get("id")
    if isinstance(id, bool) or not isinstance(id, int | str | None):
        return Refused(None, invalid("an id is a text or a whole number"), True)
    if value.get("jsonrpc") != "2.0":
        return Refused(id, invalid('a request has "jsonrpc": "2.0"'), True)
    name = value.get("method")
    if not isinstance(name, str):
        return Refused(id, invalid("a request has a method, which is a text"), True)
    return _call(id, name, value)


def _call(id: Id, name: str, value: Mapping[str, object]) -> Request | Refused:
    reply = "id" in value
    method = METHODS.get(name)
    if method is None:
        said = Problem("no-such-method", f"there is no method {name[:_ECHO]!r}", _METHODS)
        return Refused(id, Fault(METHOD_NOT_FOUND, said), reply)
    try:
        params = structure(method.takes, value.get("params", {}))
    except InvalidParams as error:
        return Refused(id, fault(error), reply)
    return Request(id, method, params, reply)


def result(id: Id, value: object) -> str:
    """The reply to a request that was done."""
    return as_text({"jsonrpc": "2.0", "id": id, "result": value})


def failure(id: Id, why: Fault) -> str:
    """The reply to one that was not."""
    return as_text({"jsonrpc": "2.0", "id": id, "error": why.as_json()})


def notification(name: str, params: Object) -> str:
    """Something that is told without being asked."""
    return as_text({"jsonrpc": "2.0", "method": name, "params": params})


def as_text(message: Object) -> str:
    """An object as JSON."""
    # In ASCII, so that nothing in it can fail to be sent.
    return json.dumps(message, separators=(",", ":"))
