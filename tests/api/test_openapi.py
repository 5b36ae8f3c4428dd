"""The description of the API: whole, true to the routes, and served."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from codex.api import bulk
from codex.api.app import rows
from codex.api.debug import description
from codex.node import JobKind, JobState
from codex.purchasing import State as PurchaseState
from codex.runtime.lifecycle import State
from codex.sales import State as SaleState
from codex.sales import Verdict
from codex.testing.http import Client
from codex.testing.nodes import ServedNode

METHODS = {"get", "head", "post", "put", "patch", "delete"}
ERRORS = {"400", "401", "500"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description, read."""
    found = yaml.safe_load(description())
    assert isinstance(found, dict)
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every described call: its method, its path and what is said of it."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield method.upper(), path, operation


def shape(path: str) -> str:
    """A path without the names of its parts."""
    return re.sub(r"<[^>]*>|\{[^}]*\}", "{}", path)


def references(value: Any) -> Iterator[str]:
    """Every reference in a part of the document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def at(document: dict[str, Any], reference: str) -> Any:
    """What a reference leads to. Raises KeyError."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


async def test_every_route_is_described_and_nothing_else(
    document: dict[str, Any], served: ServedNode
) -> None:
    routes = {(route.method, shape(route.path)) for route in rows(served.node)}
    routes |= {(method, shape(path)) for method, path in bulk.ROWS}
    routes |= {("GET", "/ws")}
    described = [(method, shape(path)) for method, path, _ in operations(document)]
    assert sorted(described) == sorted(routes)


def test_every_part_of_a_path_is_a_parameter(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        parameters = [at(document, one["$ref"]) for one in item.get("parameters", [])]
        assert [one["name"] for one in parameters if one["in"] == "path"] == re.findall(r"\{(\w+)\}", path)
        assert all(one["required"] for one in parameters)


def test_every_call_has_a_name_a_summary_and_its_errors(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    tags = {tag["name"] for tag in document["tags"]}
    for _, path, operation in operations(document):
        assert operation["summary"]
        assert set(operation["tags"]) <= tags
        wanted = ERRORS - {"401"} if path in ("/health", "/ready") else ERRORS
        assert wanted <= operation["responses"].keys(), path


# What the calls that move or change data may answer beside the errors that all may.
ANSWERS = {
    "upload": {"200", "409", "415", "422", "503"},
    "download": {"200", "206", "304", "404", "409", "416", "503"},
    "delete": {"204", "503"},
    "pin": {"204", "404", "503"},
    "protect": {"202", "404", "422", "503"},
    "verify": {"202", "404", "422", "503"},
    "scrub": {"202", "503"},
    "backup": {"202", "422", "503"},
    "offer": {"201", "403", "422", "503"},
    "changeOffer": {"204", "404", "422", "503"},
    "withdrawOffer": {"204", "404", "422", "503"},
    "requestStorage": {"200", "202", "403", "404", "422", "503"},
    "purchase": {"200", "404", "503"},
    "slot": {"200", "404", "503"},
    "health": {"200", "503"},
    "ready": {"200", "503"},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_call_may_answer_is_described(document: dict[str, Any], name: str) -> None:
    [said] = [one for _, _, one in operations(document) if one["operationId"] == name]
    assert set(said["responses"]) >= ANSWERS[name], set(said["responses"])


def test_every_reference_leads_somewhere_and_every_part_is_used(document: dict[str, Any]) -> None:
    found = set(references(document))
    for reference in found:
        assert at(document, reference) is not None
    parts = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert parts == found


def test_the_words_are_the_nodes(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["JobKind"]["enum"] == [kind.value for kind in JobKind]
    assert schemas["JobState"]["enum"] == [state.value for state in JobState]
    states = schemas["Health"]["properties"]["services"]["items"]["properties"]["state"]["enum"]
    assert set(states) == {state.value for state in State}


def test_the_words_of_the_marketplace_are_those_of_its_tables(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["SlotAgent"]["properties"]["state"]["enum"] == [state.value for state in SaleState]
    for name in ("Purchase", "RememberedPurchase"):
        states = schemas[name]["properties"]["state"]["enum"]
        assert states == [state.value for state in PurchaseState]
    assert schemas["Decision"]["properties"]["verdict"]["enum"] == [verdict.value for verdict in Verdict]


def test_no_line_is_too_long_to_read() -> None:
    assert max(map(len, description().splitlines())) <= 120


async def test_it_is_served(client: Client) -> None:
    reply = await client.get("/openapi.yaml")
    assert reply.status == 200
    assert reply.header("content-type") == "application/yaml"
    assert reply.text == description()
