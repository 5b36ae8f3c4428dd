"""The page is that of the table, and its example is what happens."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from codex.api.rpc import page
from codex.api.rpc.events import EVENTS
from codex.api.rpc.faults import NUMBERS
from codex.api.rpc.table import METHODS

PAGE = Path(page.__file__).with_name("protocol.md")


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page.render(), "write it anew: python -m codex.api.rpc.page"


@pytest.mark.parametrize("name", [*METHODS, *(event.name for event in EVENTS.values())])
def test_everything_is_on_it(name: str) -> None:
    assert f"\n### {name}\n\n" in page.render()


def test_every_method_says_what_it_does() -> None:
    for method in METHODS.values():
        assert method.doc.endswith("."), method.name


def test_every_error_is_on_it() -> None:
    for number in NUMBERS:
        assert f"| {number} |" in page.render()


def test_links_lead_somewhere() -> None:
    text = page.render()
    headings = {heading.lower() for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    links = re.findall(r"\]\(#(\w+)\)", text)
    assert len(links) > 20
    assert set(links) <= headings


async def test_the_example_is_what_happens(peer: Any) -> None:
    cid = ""
    for line in re.findall(r"^    ([<>] .*)$", PAGE.read_text("utf-8"), re.MULTILINE):
        said = line[2:].replace("zDvZRwzm1cD1…", cid)
        stream, _, data = said.partition(" ")
        message = int(stream).to_bytes(4, "big") + data.encode() if stream.isdigit() else said
        if line.startswith(">"):
            await peer.say(message)
            continue
        heard = await peer.hear()
        if isinstance(heard, dict) and "…" in said:
            whole = json.loads(said.replace(",…", ""))
            assert heard["method"] == whole["method"]
            assert whole["params"].items() <= heard["params"].items()
        else:
            assert heard == (message if isinstance(message, bytes) else json.loads(said))
        cid = cid or (isinstance(heard, dict) and heard.get("result", {}).get("cid")) or ""
    assert cid
