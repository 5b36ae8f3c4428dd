"""The token of the API: what counts as one, and that the file it is in is nobody else's."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.config import read_token
from codex.config.token import LEAST, MOST
from codex.errors import ConfigError

TOKEN = "0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A token file as it should be."""
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_token_is_what_stands_in_its_file(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert read_token(path) == TOKEN


@pytest.mark.parametrize("token", [TOKEN, "x" * MOST, "AZaz09-._~+/AZaz==", f"  {TOKEN}\t\r\n\n"])
def test_blanks_around_it_do_not_belong_to_it(path: Path, token: str) -> None:
    path.write_text(token)
    assert read_token(path) == token.strip()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644, 0o777])
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_token(path)
    assert f"{mode:04o}" in caught.value.message
    assert caught.value.remedy == f"Close it to them: chmod 600 {path}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"x" * (LEAST - 1),
        b"x" * (MOST + 1),
        b"x" * 100_000,
        b"correct horse battery staple",
        b"two lines of it\n0123456789abcdef",
        b"0123456789abcde\xff",
        "0123456789abcdé".encode(),
        b"0123456789abcdef\0",
        b"0123=456789abcdef",
        b"Bearer 0123456789abcdef",
    ],
)
def test_what_is_no_token_is_refused_and_not_repeated(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_token(path)
    assert str(path) in caught.value.message
    assert "--api-token-file" in caught.value.remedy
    said = caught.value.message.replace(str(path), "") + caught.value.remedy
    for word in content.decode("utf-8", "replace").split():
        assert len(word) < 4 or word not in said


def test_what_cannot_be_read_is_named(path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, word in (
        ("absent", "No such file"),
        ("pipe", "no regular file"),
        ("folder", "no regular file"),
        ("loop", "symbolic links"),
        ("a\0b", "null"),
    ):
        with pytest.raises(ConfigError, match=word):
            read_token(tmp_path / name)
    with pytest.raises(ConfigError, match="no regular file"):
        read_token(Path("/dev/zero"))


@given(st.text("abcXYZ019-._~+/", min_size=LEAST, max_size=80), st.integers(0, 3))
def test_every_token_of_its_alphabet_is_taken(
    tmp_path_factory: pytest.TempPathFactory, word: str, pads: int
) -> None:
    path = tmp_path_factory.mktemp("t") / "token"
    path.touch(mode=0o600)
    path.write_text(word + "=" * pads)
    assert read_token(path) == word + "=" * pads
