"""Which node is meant, and what is said when the directory is the wrong one."""

import errno
import os
from pathlib import Path

import pytest

from codex.cli.exits import NoNode
from codex.cli.finding import Target, environment, find_node
from codex.errors import ConfigError
from codex.lock import open_data_dir


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing but a home."""
    return {"HOME": str(tmp_path / "home")}


def refused(path: Path, environ: dict[str, str]) -> NoNode:
    with pytest.raises(NoNode) as caught:
        find_node([f"--data-dir={path}"], environ)
    assert str(path) in caught.value.message
    assert "--data-dir" in caught.value.remedy
    return caught.value


def test_a_directory_that_is_not_there_is_told(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file", tmp_path / "file" / "below"):
        error = refused(path, environ)
        assert "there is no such directory" in error.message
        assert "`codex`" in error.remedy


def test_a_directory_that_is_none_of_a_node_is_told(tmp_path: Path, environ: dict[str, str]) -> None:
    error = refused(tmp_path, environ)
    assert "not the data directory of a node" in error.message
    assert "`codex`" not in error.remedy, "a node is not to be started just there"


def test_a_node_that_has_stopped_is_told(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "alice"
    with open_data_dir(path) as held:
        held.publish("127.0.0.1", 1234)
        assert find_node([f"--data-dir={path}"], environ) == Target("127.0.0.1", 1234)
    error = refused(path, environ)
    assert error.message == f"no node is running on {path}"
    assert "`codex`" in error.remedy


def test_an_address_is_taken_as_it_is(tmp_path: Path, environ: dict[str, str]) -> None:
    path = tmp_path / "alice"
    with open_data_dir(path) as held:
        held.publish("127.0.0.1", 1234)
        words = [f"--data-dir={path}", "--api-port=99"]
        assert find_node(words, environ) == Target("127.0.0.1", 99)
        assert find_node([*words, "--api-bindaddr=::"], environ) == Target("::1", 99)
    assert find_node([], environ | {"CODEX_API_PORT": "98"}) == Target("127.0.0.1", 98)


def test_the_token_is_read_wherever_the_node_is_found(tmp_path: Path, environ: dict[str, str]) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("0123456789abcdef")
    given = f"--api-token-file={token}"
    assert find_node([given, "--api-port=99"], environ).token == "0123456789abcdef"
    with open_data_dir(tmp_path / "alice") as held:
        held.publish("127.0.0.1", 1234)
        assert find_node([given, f"--data-dir={tmp_path / 'alice'}"], environ).token == "0123456789abcdef"
    token.write_text("short")
    with pytest.raises(ConfigError, match="holds 5 characters"):
        find_node([given, "--api-port=99"], environ)


def test_a_home_is_known_without_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    assert Path(environment()["HOME"]).is_absolute()


def test_a_directory_of_somebody_else_is_told(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation: the system's answer to a user without the right is put in, as the superuser has it."""
    opened = os.open

    def refusing(path: os.PathLike[str] | str, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("node.json"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(ConfigError, match="no permission") as caught:
        find_node([f"--data-dir={tmp_path}"], environ)
    assert "--api-port" in caught.value.remedy
