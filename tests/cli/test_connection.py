"""Talking to a node: the token goes along, and what is refused is said with a remedy."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex.cli import connection
from codex.cli.connection import ERROR_LIMIT, PROBLEM, ask, ask_json, data_path, understood
from codex.cli.exits import Failed, NoNode
from codex.cli.finding import Target

Run = Callable[..., subprocess.CompletedProcess[bytes]]
TOKEN = "0123456789abcdef"


@pytest.fixture
def target(node: Any) -> Target:
    """The stand-in, for code of this process."""
    return Target("127.0.0.1", node.port)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with a token."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN + "\n")
    return path


def test_a_token_goes_with_every_call(codex: Run, node: Any, token_file: Path, work: Path, cid: str) -> None:
    node.json("GET /data", {"content": []})
    node.replies["POST /data"] = (200, {}, cid.encode())
    (work / "f").write_text("x")
    assert codex("ls", f"--api-token-file={token_file}", port=node.port).returncode == 0
    assert codex(f"--api-token-file={token_file}", "put", "f", port=node.port).returncode == 0
    assert codex("ls", port=node.port, env={"CODEX_API_TOKEN_FILE": str(token_file)}).returncode == 0
    (work / "codex.toml").write_text(f'api-token-file = "{token_file}"')
    assert codex("ls", "--config-file=codex.toml", port=node.port).returncode == 0
    assert [headers["Authorization"] for headers in node.headers] == [f"Bearer {TOKEN}"] * (2 + 1 + 2 + 2)
    assert codex("ls", port=node.port).returncode == 0
    assert "Authorization" not in node.headers[-1]


def test_a_token_that_is_missing_or_wrong_is_told_apart(codex: Run, node: Any, token_file: Path) -> None:
    node.replies["GET /data"] = (401, {"WWW-Authenticate": "Bearer"}, b"A valid token is required")
    without = codex("ls", port=node.port)
    wrong = codex("ls", f"--api-token-file={token_file}", port=node.port)
    assert without.returncode == wrong.returncode == 1
    assert b"answers only to those who know its token" in without.stderr
    assert b"--api-token-file" in without.stderr
    assert b"does not take the token" in wrong.stderr
    assert TOKEN.encode() not in wrong.stderr


def test_a_token_file_that_cannot_be_used_is_told_before_anything_is_asked(
    codex: Run, node: Any, token_file: Path
) -> None:
    token_file.chmod(0o644)
    done = codex("ls", f"--api-token-file={token_file}", port=node.port)
    assert done.returncode == 2
    assert b"chmod 600" in done.stderr
    assert node.asked == []


def test_a_target_does_not_show_its_token() -> None:
    assert TOKEN not in repr(Target("127.0.0.1", 1, TOKEN))


def test_problem_details_are_asked_for_and_their_remedy_is_shown(node: Any, target: Target) -> None:
    node.problem("GET /data", 500, "the disk is full", remedy="make room")
    with pytest.raises(Failed) as caught:
        ask_json(target, "GET", "/data", "the list")
    assert (caught.value.message, caught.value.remedy) == ("the list: the disk is full", "make room")
    accepted = node.headers[0]["Accept"].split(", ")
    assert accepted[0] == PROBLEM
    assert accepted[1].startswith("*/*;q=0.")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "[]"),
        (b"no json", "no json"),
        (b"{}", "the node answered 500 Internal Server Error"),
        (b'{"title": "Refused"}', "Refused"),
        (b"[" * 5000, "[" * ERROR_LIMIT),
        (b"", "the node answered 500 Internal Server Error"),
    ],
)
def test_problem_details_that_are_none_are_no_traceback(
    node: Any, target: Target, body: bytes, said: str
) -> None:
    node.replies["GET /data"] = (500, {"Content-Type": f"{PROBLEM}; charset=utf-8"}, body)
    with pytest.raises(Failed) as caught:
        ask_json(target, "GET", "/data", "the list")
    assert caught.value.message == f"the list: {said}"


def test_what_is_asked_is_not_named_twice(node: Any, target: Target) -> None:
    node.replies["GET /data"] = (404, {}, b"there is no list here")
    with pytest.raises(Failed) as caught:
        ask_json(target, "GET", "/data", "list")
    assert caught.value.message == "there is no list here"


def test_a_remedy_is_the_nodes_or_the_calls_or_that_of_the_status(node: Any, target: Target) -> None:
    remedies = {}
    node.problem("GET /a", 404, "no", remedy="its own")
    node.problem("GET /b", 404, "no")
    node.replies["GET /c"] = (404, {}, b"no")
    for path in ("a", "b", "c"):
        with pytest.raises(Failed) as caught:
            ask_json(target, "GET", f"/{path}", "it", remedies={} if path == "c" else {404: "the call's"})
        remedies[path] = caught.value.remedy
    assert remedies["a"] == "its own"
    assert remedies["b"] == "the call's"
    assert "another version" in remedies["c"]


def test_json_goes_with_its_length(node: Any, target: Target) -> None:
    node.json("POST /backup", {"id": "a"}, status=202)
    assert ask_json(target, "POST", "/backup", "it", given={"path": "/é"}, accepted=(202,)) == {"id": "a"}
    (upload,) = node.uploads
    assert upload.body == b'{"path": "/\\u00e9"}'
    assert upload.headers["Content-Type"] == "application/json"
    with pytest.raises(Failed):
        ask_json(target, "POST", "/backup", "it", given={"path": "/"})


@pytest.mark.parametrize("answer", [b"[]", b"5", b"null", b"", b"{", b"[" * 100_000])
def test_an_answer_that_is_no_object_is_refused(node: Any, target: Target, answer: bytes) -> None:
    node.replies["GET /space"] = (200, {}, answer)
    with pytest.raises(Failed):
        ask_json(target, "GET", "/space", "the space")


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("quiet", [True, False])
def test_who_looks_is_told_what_is_waited_for(
    looks: bool,
    quiet: bool,
    target: Target,
    node: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def late(_: object) -> tuple[int, dict[str, str], bytes]:
        time.sleep(0.3)
        return 200, {}, b"{}"

    node.replies["GET /space"] = late
    node.json("GET /peers", {})
    monkeypatch.setattr(connection, "HINT_AFTER", 0.05)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: looks)
    assert ask_json(target, "GET", "/space", "the space", quiet=quiet) == {}
    said = capsys.readouterr().err
    assert ("has not answered for" in said) == (looks and not quiet)
    monkeypatch.setattr(connection, "HINT_AFTER", 5.0)
    assert ask_json(target, "GET", "/peers", "the peers") == {}
    assert capsys.readouterr().err == ""


def test_a_silent_node_is_left_after_a_while(node: Any, target: Target) -> None:
    node.cut = 0
    node.held.clear()
    node.json("GET /space", {})
    with pytest.raises(Failed, match="was silent for 0 seconds"):
        ask_json(target, "GET", "/space", "the space", limit=0.2)


def test_nobody_there_is_another_error_than_a_refusal() -> None:
    with pytest.raises(NoNode, match=r"http://127\.0\.0\.1:1"), ask(Target("127.0.0.1", 1), "GET", "/"):
        pass


def test_an_address_of_the_sixth_version_is_written_as_one() -> None:
    assert Target("::1", 8080).url == "http://[::1]:8080"


def test_a_cid_is_one_part_of_a_path() -> None:
    assert data_path("a/../b?c#d", "pin") == "/data/a%2F..%2Fb%3Fc%23d/pin"


@pytest.mark.parametrize(
    "error", [KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError]
)
def test_what_an_answer_lacks_is_told_as_such(error: type[Exception]) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"), understood():
        raise error
