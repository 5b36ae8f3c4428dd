"""The page for whoever writes a client: `protocol.md` beside this file, made of the table and of what the
parts say at their heads.

`python -m codex.api.rpc.page > codex/api/rpc/protocol.md` writes it anew; a test holds it true.
"""

import inspect
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import attrs

from codex.api.cors import PREFIX
from codex.api.rpc import limits, params, results, session, streams
from codex.api.rpc.events import EVENTS
from codex.api.rpc.faults import NUMBERS
from codex.api.rpc.shapes import MOST, Amount, Bounds, camel
from codex.api.rpc.table import METHODS
from codex.codec import Cid
from codex.p2p import PeerId

_INTRO = f"""\
# JSON over WebSocket

Everything that the REST interface does, and events, over one connection: a WebSocket at `{PREFIX}/ws`.
Where the node asks for a token, the request that opens it has `Authorization: Bearer TOKEN`, or, from a page,
which cannot set headers, `?token=TOKEN`. A page is let in from the node's own address, or from the origin of
`--api-cors-origin`. Nothing is compressed.

`codex.client` speaks this protocol from Python on trio.

A dataset is stored, and read from its sixth byte on; `>` goes to the node, `<` comes from it, and a number in
front of a text is the stream of a binary message:

    > {{"jsonrpc":"2.0","id":1,"method":"store","params":{{"filename":"hello.txt","mimetype":"text/plain"}}}}
    < {{"jsonrpc":"2.0","method":"opened","params":{{"request":1,"stream":1,"window":1048576,…}}}}
    > 1 some file contents
    > 1
    < {{"jsonrpc":"2.0","id":1,"result":{{"cid":"zDvZRwzm1cD1ndrXQp3km8FnTzYNm6mSgmYNvy9UF42XUGKoFMzG"}}}}
    > {{"jsonrpc":"2.0","id":2,"method":"retrieve","params":{{"cid":"zDvZRwzm1cD1…","offset":5}}}}
    < {{"jsonrpc":"2.0","method":"opened","params":{{"request":2,"stream":2,"window":1048576,…}}}}
    < 2 file contents
    < 2
    < {{"jsonrpc":"2.0","id":2,"result":{{"bytes":13}}}}"""

_LIMITS = (
    ("bytes of a message to the node, text or binary", limits.MAX_MESSAGE),
    ("bytes of data in one binary message from the node", limits.FRAME),
    ("requests under way, and entries of a batch", limits.MAX_REQUESTS),
    ("items of an array among parameters", limits.MAX_ITEMS),
    ("streams open on a connection", limits.MAX_STREAMS),
    ("subscriptions of a connection", limits.MAX_SUBSCRIPTIONS),
    ("connections of a node; more are told 503", limits.MAX_SOCKETS),
    ("bytes of JSON after which a list ends early, with a `next`", limits.MAX_LIST),
    ("seconds between two pings from the node", int(limits.PING)),
)

_WORDS: dict[object, str] = {
    str: "text",
    Amount: "decimal text",
    int: "number",
    float: "number",
    bool: "true or false",
    Any: "anything",
    Cid: "CID",
    PeerId: "peer id",
    Path: "path",
    NoneType: "null",
}


def render() -> str:
    """The whole page."""
    parts = [
        _INTRO,
        f"## A connection\n\n{inspect.getdoc(session)}",
        f"## Streams\n\n{inspect.getdoc(streams)}",
        "## Methods",
        *_methods(),
        "## Notifications from the node",
        *_events(),
        "## Forms",
        *(_form(kind) for kind in _forms()),
        _table("## Errors", ("code", "meaning"), NUMBERS.items()),
        "`data` has what every error of this node has: `code`, the stable word to decide by, the `message` "
        "once more, and the `remedy`.",
        _table("## Limits", ("what", "at most"), _LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def _methods() -> Iterator[str]:
    for method in METHODS.values():
        yield f"### {method.name}\n\n{method.doc}"
        yield _fields("takes", method.takes)
        yield "gives: null" if method.gives is None else _gives(method.gives)


def _gives(kind: type) -> str:
    return f"gives: {_word(kind)}"


def _events() -> Iterator[str]:
    yield "### opened\n\nThe stream of a request has its number, and bytes may flow."
    yield _fields("has", results.Opened)
    yield "### credit\n\nMore bytes of a stream may be sent to the node."
    yield _fields("has", params.Credit)
    for event in EVENTS.values():
        topic = "every subscription" if event.topic is None else f"topic `{event.topic}`"
        yield f"### {event.name}\n\n{event.doc} ({topic})"
        yield _fields("has", event.carries)


def _forms() -> Iterator[type]:
    """Every form that something is given in, once, those inside others after them."""
    ahead = [method.gives for method in METHODS.values() if method.gives is not None]
    seen: set[type] = set()
    while ahead:
        kind = ahead.pop(0)
        if kind not in seen:
            seen.add(kind)
            yield kind
            ahead += [inner for field in attrs.fields(kind) for inner in _inside(field.type)]


def _inside(kind: Any) -> Iterator[type]:
    if attrs.has(kind) and kind not in _WORDS:
        yield kind
    for inner in get_args(kind):
        yield from _inside(inner)


def _form(kind: type) -> str:
    return f"### {kind.__name__}\n\n{inspect.getdoc(kind)}\n\n" + _fields("has", kind)


def _fields(verb: str, kind: type) -> str:
    rows = [_row(field) for field in attrs.fields(kind)]
    return _table("", (verb, "", ""), rows) if rows else f"{verb}: nothing"


def _row(field: "attrs.Attribute[Any]") -> tuple[str, str, str]:
    kind, doc, *notes = get_args(field.type)
    text = _word(kind)
    for note in notes:
        if isinstance(note, Bounds) and (note.least or note.most != MOST):
            text += f" {note.least} to {note.most}" if note.most != MOST else f" from {note.least}"
    if field.default is None:
        text += ", may be left out"
    elif field.default is not attrs.NOTHING:
        text += f", {_shown(field.default)} when left out"
    return f"`{camel(field.name)}`", text, doc


def _shown(default: object) -> str:
    if default == ():
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def _word(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_word(one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        return f"array of {_word(get_args(kind)[0])}"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{word}`" for word in kind)
    if kind in _WORDS:
        return _WORDS[kind]
    return f"[{kind.__name__}](#{kind.__name__.lower()})"


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [f"{title}\n"] if title else []
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    print(render(), end="")
