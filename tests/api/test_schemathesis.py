"""The description, tried out on a running node: calls made up from it, and calls that break it, get replies
that are in it.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import schemathesis.openapi
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks

from codex.api.debug import description
from codex.testing.nodes import ALONE, BASE

LISTENS = "The API listens on "
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(yaml.safe_load(description()))
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}


class Node:
    """A node as a process of its own, and a session for calls to it."""

    def __init__(self, url: str, directory: Path) -> None:
        self.base = url + BASE
        self.directory = directory
        self.session = requests.Session()

    def try_out(self, case: Case, at_something: bool) -> None:
        """Make a call and hold the reply to the description.

        If wanted it is made on a dataset that is there; a backup stays in the test's own directory.
        """
        if at_something and "cid" in case.path_parameters:
            self.session.post(f"{self.base}/data", b"some file contents")
            case.path_parameters["cid"] = CID
        if isinstance(case.body, dict) and str(case.body.get("path")).startswith("/"):
            case.body["path"] = str(self.directory / "copy")
        case.validate_response(case.call(self.base, self.session), checks=CHECKS)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on an empty directory."""
    directory = tmp_path_factory.mktemp("alice")
    options = [f"--data-dir={directory / 'data'}", "--api-port=0", "--log-level=fatal", *ALONE]
    command = [sys.executable, "-m", "codex", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if LISTENS in line)
        node = Node(line.partition(LISTENS)[2].split()[0], directory)
        with node.session:
            yield node
        process.terminate()
        process.stderr.read()
    assert process.returncode == 0


def calls(label: str) -> st.SearchStrategy[Case]:
    """Calls of one operation: as described, and in some way not."""
    operation = OPERATIONS[label]
    return st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


def held(label: str, node: Node, examples: int) -> None:
    """Try out so many calls of an operation."""

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=calls(label), at_something=st.booleans())
    def tried_out(case: Case, at_something: bool) -> None:
        node.try_out(case, at_something)

    tried_out()


@pytest.mark.parametrize("label", OPERATIONS)
def test_replies_are_as_described(node: Node, label: str) -> None:
    held(label, node, examples=8)
    assert node.session.get(f"{node.base}/health").json()["state"] == "ok"


@pytest.mark.soak
@pytest.mark.parametrize("label", OPERATIONS)
def test_replies_are_as_described_for_long(node: Node, label: str) -> None:
    held(label, node, examples=150)
    assert node.session.get(f"{node.base}/health").json()["state"] == "ok"
