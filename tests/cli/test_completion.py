"""Completion: what is offered, quickly, and by the shells themselves where they are installed."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.cli.completion import offers
from codex.cli.group import CHAPTERS
from codex.config import OPTIONS

Run = Callable[..., subprocess.CompletedProcess[bytes]]
LISTED = {
    "content": [
        {"cid": "zDv1", "manifest": {"filename": "a\x1b,b.txt"}},
        {"cid": "zDv2", "manifest": {"filename": None}},
        {"cid": "$(touch x)", "manifest": {"filename": "evil"}},
        {"cid": "zDx3", "manifest": {"filename": "c"}},
    ]
}


def offered(*words: str) -> list[str]:
    """What is offered in place of the last word."""
    return [item.value for item in offers(list(words[:-1]), words[-1])]


def test_commands_are_offered_first() -> None:
    assert offered("") == [name for names in CHAPTERS.values() for name in names]
    assert offered("un") == ["unpin"]
    assert offered("--data-dir=/x", "un") == ["unpin"]
    assert offered("--data-dir", "/x", "--metrics", "un") == ["unpin"]


def test_the_nodes_options_are_offered_before_the_command() -> None:
    shown = {f"--{one.name}" for one in OPTIONS if one.section == "node" and not one.hidden}
    assert set(offered("--")) == shown | {"--help", "--version"}
    assert offered("--metrics", "--api-t") == ["--api-token-file"]
    assert "--eth-account" not in offered("-")


@pytest.mark.parametrize(
    "words",
    [
        ["--log-format", "no"],
        ["--log-format", "=", "no"],
        ["-d", "/x", "--log-format", ":", "no"],
        ["--data-dir", "=", "/x", "--log-format", "=", "no"],
    ],
)
def test_the_words_of_an_option_are_offered_however_the_shell_cuts_them(words: list[str]) -> None:
    assert offered(*words) == ["nocolors", "none"]


def test_the_words_of_an_option_are_offered_in_one_word() -> None:
    assert offered("--log-format=no") == ["--log-format=nocolors", "--log-format=none"]
    assert offered("--log-format=") == [
        f"--log-format={w}" for w in ("auto", "colors", "nocolors", "json", "none")
    ]
    assert offered("--metrics", "=") == ["true", "false"]
    assert offered("--metrics", "=", "f") == ["false"]
    assert offered("--nonsense=") == []


def test_files_are_left_to_the_shell() -> None:
    assert [item.type for item in offers(["--config-file"], "a")] == ["file"]
    assert [item.type for item in offers(["--data-dir"], "")] == ["dir"]
    assert [item.type for item in offers(["put"], "")] == ["file"]
    assert [item.type for item in offers(["get", "z", "-o"], "")] == ["file"]
    assert [item.type for item in offers(["ls", "--data-dir"], "")] == ["file"]


def test_options_of_a_command_are_offered_after_it() -> None:
    assert offered("get", "--cont") == ["--continue"]
    assert offered("jobs", "--state", "") == ["running", "done", "failed", "cancelled"]
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert offered("ls", "--api-port", "") == []


def test_cids_and_jobs_are_asked_of_the_node(node: Any, job: Any) -> None:
    node.json("GET /data", LISTED)
    node.json("GET /jobs", {"jobs": [job(subject="f\x1b.txt")]})
    address = f"--api-port={node.port}"
    for command in ("get", "rm", "pin", "unpin", "verify"):
        assert offered(address, command, "") == ["zDv1", "zDv2", "zDx3"]
    assert offered("rm", "zDv1", address, "zDv") == ["zDv1", "zDv2"]
    [item] = offers([address, "jobs"], "37")
    assert (item.value, item.help) == ("37060d6badd4", "verify f\ufffd.txt, running")
    helps = [item.help for item in offers([address, "get"], "zDv")]
    assert helps == ["a\ufffd,b.txt", None]


@pytest.mark.parametrize("answer", [(500, {}, b"no"), (200, {}, b"[]"), (200, {}, b'{"content": [5]}')])
def test_a_node_that_does_not_tell_offers_nothing(node: Any, answer: Any) -> None:
    node.replies["GET /data"] = answer
    assert offered(f"--api-port={node.port}", "get", "") == []
    assert offered("--api-port=1", "get", "") == []
    assert offered("--api-port=nonsense", "get", "") == []
    assert offered("get", "--config-file=absent", "") == []


@given(
    st.lists(
        st.text(max_size=8) | st.sampled_from(["--data-dir", "=", ":", "get", "--", "-d", "persistence"])
    ),
    st.text(max_size=8),
)
def test_nothing_that_is_typed_breaks_it(words: list[str], incomplete: str) -> None:
    offered("--api-port=1", *words, incomplete)


def asked(shell: str, words: str, place: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "codex"],
        env=environ | {"_CODEX_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": place},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_shell_is_answered_in_its_own_form_and_at_once(node: Any, environ: dict[str, str]) -> None:
    node.json("GET /data", LISTED)
    words = f"codex --api-port={node.port} get zDv"
    start = time.perf_counter()
    assert asked("bash", words, "3", environ).stdout == "plain,zDv1\nplain,zDv2\n"
    # 0.12 s on an idle machine; the bound leaves room for a busy one.
    assert time.perf_counter() - start < 1.0
    assert asked("zsh", words, "3", environ).stdout == "plain\nzDv1\na\ufffd,b.txt\nplain\nzDv2\n_\n"
    # The fish shell tells the word itself; and it would cut an explanation off at the first comma.
    assert asked("fish", words, "zDv", environ).stdout == "plain,zDv1\ta\ufffd;b.txt\nplain,zDv2\n"


@pytest.mark.parametrize("shell", ["tcsh_complete", "bash_source", "bash", "_"])
def test_an_unknown_question_is_no_traceback(shell: str, codex: Run) -> None:
    done = codex(env={"_CODEX_COMPLETE": shell})
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"asks nothing" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_takes(shell: str, codex: Run, environ: dict[str, str]) -> None:
    done = codex("completion", shell)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"{shell}_complete" in done.stdout.decode()
    program = shutil.which(shell, path=environ["PATH"])
    if program is not None:
        checked = subprocess.run([program, "-n"], input=done.stdout, env=environ, capture_output=True)
        assert (checked.returncode, checked.stderr) == (0, b"")


def test_bash_completes(node: Any, codex: Run, environ: dict[str, str], tmp_path: Path) -> None:
    node.json("GET /data", LISTED)
    program = tmp_path / "bin" / "codex"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m codex "$@"\n')
    program.chmod(0o755)
    code = f"""
eval "$(codex completion bash)"
COMP_WORDS=(codex --api-port = {node.port} get zDv)
COMP_CWORD=5
_codex_completion codex
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", code],
        env=environ | {"PATH": f"{program.parent}:{environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("zDv1 zDv2\n", "")
