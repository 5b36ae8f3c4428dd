"""The command line as a whole: help, exit codes, what is loaded, and what happens when there is no node."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex.cli import main
from codex.cli.app import group
from codex.cli.exits import MEANINGS, Exit
from codex.cli.group import CHAPTERS
from codex.config import OPTIONS
from codex.lock import open_data_dir, running_node
from codex.testing.nodes import ALONE
from codex.version import VERSION

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Here = Callable[..., tuple[int, str, str]]

HEAVY = {
    "trio",
    "quart",
    "quart_trio",
    "hypercorn",
    "h11",
    "structlog",
    "rich",
    "cryptography",
    "coincurve",
    "Crypto",
    "cattrs",
    "cbor2",
    "sqlite3",
    "asyncio",
    "codex.node",
    "codex.store",
    "codex.api",
    "codex.p2p",
    "codex.data",
    "codex.client",
    "trio_websocket",
}


CID = "zDvZRwzkzmFULSGPZYUzyQNcDSoXvtSPjgQxoXhNZ7ZGTbgZ7kfd"
ROOM = ("quotaUsedBytes", "quotaReservedBytes")

COMMANDS = {
    "put": ["put", __file__],
    "get": ["get", "z"],
    "ls": ["ls"],
    "rm": ["rm", "z"],
    "pin": ["pin", "z"],
    "unpin": ["unpin", "z"],
    "protect": ["protect", "z", "--data=2", "--parity=1"],
    "verify": ["verify", "z"],
    "info": ["info"],
    "space": ["space"],
    "peers": ["peers"],
    "connect": ["connect", "z", "/ip4/127.0.0.1/tcp/1"],
    "jobs": ["jobs"],
    "scrub": ["scrub"],
    "backup": ["backup", "absent"],
    "buy": ["buy", "z", "--for=1d", "--price=1", "--collateral=1"],
    "sell": ["sell", "1GiB", "--for=1d", "--price=1", "--collateral=1"],
    "purchases": ["purchases"],
    "slots": ["slots"],
    "explain": ["explain", "0x00"],
}
"""Every command that asks a node something over HTTP, as it may be called."""
EVERY = [*COMMANDS, "watch", "demo", "devnet", "completion"]


def test_no_command_is_left_out() -> None:
    assert sorted(group.commands) == sorted(EVERY)
    assert sorted(name for names in CHAPTERS.values() for name in names) == sorted(EVERY)


CALLS = [*COMMANDS.values(), ["jobs", "--follow"], ["completion", "zsh"], ["--version"], ["--help"]]


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_a_command_loads_nothing_of_the_node(
    words: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    code = f"""
import sys
sys.argv = ["codex", "--api-port=1", *{words!r}]
from codex.cli import main
main()
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", ["ls", "jobs", "info"])
def test_a_command_answers_at_once(codex: Run, node: Any, command: str) -> None:
    node.json("GET /data", {"content": []})
    node.json("GET /jobs", {"jobs": []})
    took = []
    for _ in range(3):
        start = time.perf_counter()
        codex(command, port=node.port)
        took.append(time.perf_counter() - start)
    # 0.1 s on an idle machine; the bound leaves room for a busy one.
    assert min(took) < 1.0


def test_the_version_is_shown(codex: Run) -> None:
    done = codex("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"codex {VERSION}\n")


def test_the_help_lists_commands_options_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in EVERY:
        assert re.search(rf"^  {command}  +[A-Z]", shown, re.MULTILINE)
    for option in OPTIONS:
        assert (f"--{option.name}=" in shown) == (not option.hidden), option.name
    for code in MEANINGS:
        assert re.search(rf"^  {int(code)} ", shown, re.MULTILINE)


def test_every_exit_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize("command", EVERY)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    of_a_node = command not in ("completion", "demo", "devnet")
    assert ("--data-dir" in shown) == ("--api-token-file" in shown) == of_a_node
    assert f"codex {command}" in shown


@pytest.mark.parametrize("command", EVERY)
def test_help_fits_a_terminal(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([command, "--help"], ["--help"]):
        main(words)
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("command", EVERY)
def test_everything_can_be_used_by_programs(command: str) -> None:
    options = {name for option in group.commands[command].params for name in option.opts}
    assert ("--json" in options) == (command != "completion")  # which prints a program


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense=1"],
        ["--storage-quota=abc"],
        ["--storage-quota"],
        ["put"],
        ["get"],
        ["rm"],
        ["get", "a", "b"],
        ["ls", "--nonsense"],
        ["ls", "extra"],
        ["put", "--name=x", "a", "b"],
        ["--config-file=absent.toml"],
        ["--config-file=absent.toml", "ls"],
        ["ls", "--api-port=x"],
        ["prover"],
        ["pin"],
        ["unpin"],
        ["verify"],
        ["protect", "z"],
        ["protect", "z", "--data=2"],
        ["protect", "z", "--data=0", "--parity=1"],
        ["protect", "z", "--data=2", "--parity=x"],
        ["protect", "--data=2", "--parity=1"],
        ["connect"],
        ["backup"],
        ["completion"],
        ["completion", "tcsh"],
        ["jobs", "--cancel"],
        ["jobs", "--cancel", "--follow", "a"],
        ["jobs", "--kind=nap"],
        ["jobs", "--all", "a"],
        ["get", "-o", "-", "--continue", "a"],
        ["ls", "--api-token-file=absent"],
    ],
)
def test_a_wrong_call_ends_with_2_and_one_remedy(words: list[str], here: Here) -> None:
    code, out, said = here(*words)
    assert (code, out) == (2, "")
    assert said.lower().count("error: ") == 1
    assert len(said.splitlines()) >= 2


# Every way in which a command may be called that asks a node something.
ASKED = [*COMMANDS.values(), ["watch"], ["jobs", "a"], ["jobs", "--cancel", "a"], ["jobs", "--follow"]]
ASKED += [["scrub", "--detach"], ["backup", "--detach", "absent"], ["ls", "--pinned"]]


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_programs_are_told_of_failures_as_json(words: list[str], here: Here, node: Any) -> None:
    told = {"code": "too-much-at-once", "message": "there is too much going on", "remedy": "try again later"}
    node.refuse_all(503, told)
    if words != ["watch"]:  # which speaks otherwise
        code, out, said = here(f"--api-port={node.port}", *words, "--json")
        assert (code, out) == (1, "")
        found = json.loads(said)
        assert told["message"] in found.pop("message")
        assert found == {"code": told["code"], "remedy": told["remedy"]}
    code, out, said = here(*words, "--json")
    assert (code, out) == (3, "")
    assert json.loads(said)["code"] == "no-node"
    assert set(json.loads(said)) == {"code", "message", "remedy"}
    code, out, said = here(*words, "--json", "--nonsense")
    assert (code, out) == (2, "")
    found = json.loads(said)
    assert (found["code"], "--nonsense" in found["message"]) == ("usage", True)


def test_what_is_for_programs_needs_an_output_of_its_own(here: Here) -> None:
    code, out, said = here("get", "-o", "-", "--json", "a")
    assert (code, out) == (2, "")
    assert json.loads(said)["message"] == "--json needs a file to write to"


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_people_are_told_of_them_in_words(words: list[str], here: Here) -> None:
    code, out, said = here(*words)
    assert (code, out) == (3, "")
    assert said.startswith("error: no node is running on ")


@pytest.mark.parametrize("words", [["put", "f"], ["ls"], ["jobs"]], ids=" ".join)
def test_an_interruption_is_told_to_programs_too(
    words: list[str], here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("codex.cli.group.find_node", interrupted)
    code, out, said = here(*words)
    assert (code, out, said.strip()) == (130, "", "interrupted")
    code, _, said = here(*words, "--json")
    assert (code, json.loads(said)) == (130, {"code": "interrupted", "message": "interrupted", "remedy": ""})


def test_an_interruption_of_the_loading_is_no_traceback(environ: dict[str, str]) -> None:
    program = """
import sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from codex.cli import main
sys.exit(main(["ls"]))
"""
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"interrupted\n")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux's")
@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["ls", "--json"],
        ["space"],
        ["info", "--json"],
        ["peers", "--json"],
        ["jobs"],
        ["get", CID],
        ["get", CID, "--json"],
        ["get", CID, "-o", "-"],
        ["verify", CID],
        ["rm", CID, "--json"],
        ["completion", "bash"],
        ["--help"],
        ["ls", "--help"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_an_output_that_is_full_is_an_error_without_a_traceback(
    words: list[str], node: Any, environ: dict[str, str], tmp_path: Path, job: Any
) -> None:
    manifest = {"datasetSize": 1, "filename": "x", "mimetype": None}
    node.json("GET /data", {"content": [{"cid": CID, "manifest": manifest}]})
    node.json("GET /space", {"totalBlocks": 1, "quotaMaxBytes": 1} | dict.fromkeys(ROOM, 0))
    node.json("GET /debug/info", {"codex": {"version": "v1"}})
    node.json("GET /peers", {"peers": []})
    node.json("GET /jobs", {"jobs": [job()]})
    node.replies[f"GET /data/{CID}"] = (200, {}, b"content")
    sound = {"sound": True, "bytes": 1, "blocks": 1}
    node.json(f"POST /data/{CID}/verify", job("verify", "done", result=sound), status=202)
    node.replies[f"DELETE /data/{CID}"] = (204, {}, b"")
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "codex", f"--api-port={node.port}", *words],
            cwd=tmp_path,
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    [said, *_] = done.stderr.splitlines()
    assert "the output cannot be written: No space left on device" in said


@pytest.mark.skipif(not FULL.exists(), reason="a device of Linux's")
def test_errors_that_nobody_can_be_told_have_their_exit_code(environ: dict[str, str]) -> None:
    with FULL.open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "codex", "ls"],
            env=environ,
            stderr=full,
            stdout=subprocess.PIPE,
            timeout=60,
        )
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        (["rm", CID], "0 1 2", 0),
        (["ls"], "2", 0),
        (["ls"], "1", 1),
        (["ls"], "0 1 2", 1),
        (["ls", "--json"], "1", 1),
        (["--help"], "1", 1),
        (["absent"], "2", 2),
        (["put", "-"], "0", 1),
    ],
    ids=str,
)
def test_a_stream_that_is_closed_is_no_traceback(
    words: list[str], closed: str, code: int, node: Any, environ: dict[str, str]
) -> None:
    manifest = {"datasetSize": 1, "filename": "x", "mimetype": None}
    node.json("GET /data", {"content": [{"cid": CID, "manifest": manifest}]})
    node.replies[f"DELETE /data/{CID}"] = (204, {}, b"")
    closing = " ".join(f"{number}>&-" for number in closed.split())
    command = f'exec "$@" {closing}'
    called = [sys.executable, "-m", "codex", f"--api-port={node.port}", *words]
    done = subprocess.run(
        ["sh", "-c", command, "sh", *called], env=environ, stdin=subprocess.DEVNULL, capture_output=True
    )
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert bool(done.stderr) == ("2" not in closed and code != 0)


def test_a_node_runs_without_standard_streams(environ: dict[str, str], tmp_path: Path) -> None:
    options = ["--data-dir=alice", "--api-port=0", "--log-level=fatal", *ALONE]
    called = [sys.executable, "-m", "codex", *options]
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *called], cwd=tmp_path, env=environ
    ) as process:
        while running_node(tmp_path / "alice") is None:
            assert process.poll() is None
            time.sleep(0.01)
        opened = Path(f"/proc/{process.pid}/fd")
        stand_ins = {os.readlink(opened / str(number)) for number in range(3)} if opened.exists() else set()
        process.terminate()
    assert process.returncode == 0
    assert stand_ins <= {os.devnull}


@pytest.mark.parametrize("command", ["ls", "jobs", "info"])
def test_letters_that_the_output_lacks_are_no_traceback(
    command: str, node: Any, environ: dict[str, str], job: Any
) -> None:
    manifest = {"datasetSize": 1, "filename": "日", "mimetype": None}
    node.json("GET /data", {"content": [{"cid": CID, "manifest": manifest}]})
    node.json("GET /jobs", {"jobs": [job(subject="日")]})
    node.json("GET /debug/info", {"codex": {"version": "日"}})
    node.json("GET /space", {})
    node.json("GET /peers", {"peers": []})
    called = [sys.executable, "-m", "codex", f"--api-port={node.port}", command]
    narrow = environ | {"PYTHONIOENCODING": "ascii"}
    for_programs = subprocess.run([*called, "--json"], env=narrow, capture_output=True, check=True)
    assert "日" in str(json.loads(for_programs.stdout.decode("ascii")))
    if command != "info":
        done = subprocess.run(called, env=narrow, capture_output=True, check=True)
        assert b"?" in done.stdout


def test_a_wrong_environment_ends_with_2(codex: Run) -> None:
    done = codex("ls", env={"CODEX_API_PORT": "http"})
    assert done.returncode == 2
    assert b"CODEX_API_PORT" in done.stderr


WITHOUT = [*({**COMMANDS, "put": ["put", "f"]}).values(), ["watch"]]


@pytest.mark.parametrize("command", WITHOUT, ids=" ".join)
def test_without_a_node_commands_say_so(command: list[str], here: Here) -> None:
    Path("f").write_text("content")
    code, out, said = here(*command)
    assert (code, out) == (3, "")
    assert "no node is running on " in said
    assert "`codex`" in said
    assert "--data-dir" in said


@pytest.mark.parametrize("command", WITHOUT, ids=" ".join)
def test_a_node_that_cannot_be_reached_is_named(command: list[str], here: Here) -> None:
    Path("f").write_text("content")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        port = taken.getsockname()[1]
        code, out, said = here(f"--api-port={port}", *command)
    assert (code, out) == (3, "")
    assert f"no node answers at http://127.0.0.1:{port}" in said
    assert "--api-port" in said


def test_a_name_that_is_none_is_no_node(here: Here) -> None:
    code, _, said = here("--api-bindaddr=host.invalid", "ls")
    assert code == 3
    assert "http://host.invalid:8080" in said


def test_a_node_is_found_by_its_data_directory(codex: Run, node: Any, tmp_path: Path) -> None:
    node.json("GET /data", {"content": []})
    path = tmp_path / "data"
    with open_data_dir(path) as held:
        assert codex("ls", f"--data-dir={path}").returncode == 3
        held.publish("127.0.0.1", node.port)
        for words in ([f"-d:{path}", "ls"], ["ls", "--data-dir", str(path)], [f"--data-dir={path}", "ls"]):
            assert codex(*words).returncode == 0
        assert codex("ls", env={"CODEX_DATA_DIR": str(path)}).returncode == 0
        # The note is right even where the options are not: the node may have had to take another port.
        assert codex("ls", env={"CODEX_DATA_DIR": str(path), "CODEX_API_PORT": "1"}).returncode == 0
        # A port on the command line is taken as it is.
        assert codex("ls", f"--data-dir={path}", "--api-port=1").returncode == 3
    assert codex("ls", f"--data-dir={path}").returncode == 3
    assert node.asked == ["GET /data", "GET /pins"] * 5


def test_a_node_is_found_by_the_default_data_directory(
    codex: Run, node: Any, environ: dict[str, str]
) -> None:
    node.json("GET /data", {"content": []})
    default = Path(environ["HOME"]) / ".cache" / "codex"
    with open_data_dir(default) as held:
        held.publish("0.0.0.0", node.port)
        assert codex("ls").returncode == 0


def test_a_port_in_the_environment_or_file_is_tried_where_no_note_is(
    codex: Run, node: Any, work: Path
) -> None:
    node.json("GET /data", {"content": []})
    assert codex("ls", env={"CODEX_API_PORT": str(node.port)}).returncode == 0
    (work / "codex.toml").write_text(f"api-port = {node.port}")
    assert codex("--config-file=codex.toml", "ls").returncode == 0
    assert codex("ls", "--config-file=codex.toml").returncode == 0


def test_persistence_without_a_key_that_can_be_used_says_what_to_do(codex: Run, work: Path) -> None:
    (work / "key").write_text("11" * 32)
    (work / "key").chmod(0o644)
    for words in (["persistence"], ["persistence", "prover"]):
        done = codex(
            f"--data-dir={work / 'alice'}", words[0], f"--eth-private-key={work / 'key'}", *words[1:]
        )
        assert done.returncode == 2
        assert b"is open to others" in done.stderr
        assert b"chmod 600" in done.stderr
    done = codex("persistence")
    assert done.returncode == 2
    assert b"--eth-private-key" in done.stderr


NONSENSE = [
    b"",
    b"hello\r\n",
    b"HTTP/1.1 banana\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"content": 5}',
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 500 \r\n\r\n\x1b[31mred",
]


ASKING = ["ls", "space", "info", "peers", "jobs", "jobs a", "jobs --follow", "scrub", "backup x", "verify z"]


@pytest.mark.parametrize("answer", NONSENSE)
@pytest.mark.parametrize("command", ASKING)
def test_an_answer_that_is_none_is_an_error_without_a_traceback(
    command: str, answer: bytes, here: Here
) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        code, out, said = here(f"--api-port={server.getsockname()[1]}", *command.split())
        thread.join()
    assert (code, out) == (1, "")
    assert said.startswith("error: ")
    assert "\x1b" not in said


def test_a_reader_that_goes_away_is_no_traceback(node: Any, environ: dict[str, str]) -> None:
    manifest = {"datasetSize": 1, "filename": "x" * 200, "mimetype": None}
    node.json("GET /data", {"content": [{"cid": "z", "manifest": manifest}] * 5000})
    with subprocess.Popen(
        [sys.executable, "-m", "codex", f"--api-port={node.port}", "ls"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
