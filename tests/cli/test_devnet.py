import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Here = Callable[..., tuple[int, str, str]]


def heed_hangups() -> None:
    """Undo what `nohup` has done for whoever runs the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def running(
    environ: dict[str, str], work: Path, *args: str, ending: signal.Signals = signal.SIGTERM
) -> Iterator[Any]:
    """`codex devnet` as a process on any free port; it ends by itself when it is told to."""
    command = [sys.executable, "-m", "codex", "devnet", "--port=0", *args]
    with subprocess.Popen(
        command, env=environ, cwd=work, stdout=subprocess.PIPE, text=True, preexec_fn=heed_hangups
    ) as process:
        try:
            yield process
            process.send_signal(ending)
            assert process.wait(20) == 0
        finally:
            process.kill()


def ask(url: str, method: str, *params: Any) -> Any:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=20) as answer:
        return json.load(answer)["result"]


@pytest.mark.embedded_chain
def test_programs_get_a_line_and_foreign_tools_an_answer(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, "--json", "--block-time=0", "--keys=keys", "--state=chain") as process:
        told = json.loads(process.stdout.readline())
        assert ask(told["httpUrl"], "eth_chainId") == hex(told["chainId"])
        assert ask(told["httpUrl"], "eth_accounts") == [account["address"] for account in told["accounts"]]
        # token(), of the marketplace.
        call = {"to": told["marketplace"], "data": "0xfc0c546a"}
        assert ask(told["httpUrl"], "eth_call", call, "latest")[-40:] == told["token"][2:]
        for number, account in enumerate(told["accounts"]):
            file = tmp_path / "keys" / f"{number}.key"
            assert file.read_text() == account["key"] + "\n"
            assert os.stat(file).st_mode & 0o777 == 0o600
    assert (tmp_path / "chain").stat().st_size > 10_000


@pytest.mark.embedded_chain
def test_people_are_shown_where_it_is_and_what_is_on_it(environ: dict[str, str], tmp_path: Path) -> None:
    with running(environ, tmp_path, "--state=chain", ending=signal.SIGHUP) as process:
        shown = [process.stdout.readline() for _ in range(8)]
        assert shown[0].startswith("The development chain is at ws://127.0.0.1:")
        assert "a block every 1 s" in shown[1]
        assert [line.split()[0] for line in shown[3:6]] == ["marketplace", "token", "verifier"]
    # Its terminal was lost, and nothing else.
    assert (tmp_path / "chain").stat().st_size > 10_000


@pytest.mark.embedded_chain
def test_a_port_that_is_taken_is_said(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, out, err = here("devnet", f"--port={taken.getsockname()[1]}", "--json")
    assert (code, out) == (1, "")
    assert json.loads(err)["code"] == "port-taken"


@pytest.mark.embedded_chain
def test_a_file_that_holds_no_chain_is_said(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = here("devnet", "--port=0", f"--state={tmp_path / 'file'}")
    assert code == 2
    assert "no state of a development chain" in err
    code, _, err = here("devnet", "--port=0", f"--state={tmp_path}")
    assert code == 1
    assert str(tmp_path) in err


@pytest.mark.embedded_chain
def test_keys_that_cannot_be_written_are_said(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = here("devnet", "--port=0", f"--keys={tmp_path / 'file'}")
    assert code == 1
    assert "the keys cannot be written" in err


def test_without_its_machine_it_says_what_to_install(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrevm", None)
    code, out, err = here("devnet", "--port=0")
    assert (code, out) == (1, "")
    assert "codex-node[market,devnet]" in err
