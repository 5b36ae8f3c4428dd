"""Every call has a method at the handle that asks it, and an answer in the service."""

import inspect
import re
from pathlib import Path

from codex.runtime import Call
from codex.store import calls, handle, market_book, service

CALLS = {
    name
    for name, value in vars(calls).items()
    if inspect.isclass(value) and issubclass(value, Call) and value is not Call
}


def named_in(module: object) -> set[str]:
    source = Path(inspect.getsourcefile(module) or "").read_text("utf-8")  # type: ignore[arg-type]
    return set(re.findall(r"calls\.([A-Z]\w+)", source))


def test_every_call_is_asked_and_answered() -> None:
    assert len(CALLS) > 30
    assert named_in(handle) | named_in(market_book) == CALLS
    assert not named_in(handle) & named_in(market_book)
    assert named_in(service) == CALLS


def test_what_is_shown_of_a_call_does_not_grow_with_its_payload() -> None:
    assert repr(calls.GetBlocks([None] * 1000)) == "GetBlocks(addresses=<1000>)"  # type: ignore[list-item]
    shown = repr(calls.StageBlocks("1", 0, [None] * 99))  # type: ignore[list-item]
    assert shown == "StageBlocks(ingest='1', first=0, blocks=<99>, reservation=None)"
