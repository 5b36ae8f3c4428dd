"""Media types by name: each one of those that the network's nodes accept."""

from importlib.resources import files

import pytest

from codex.cli.media import TYPES, media_type


def test_every_type_is_one_that_nodes_accept() -> None:
    accepted = set(files("codex.api").joinpath("mimetypes.txt").read_text(encoding="utf-8").split())
    assert set(TYPES.values()) <= accepted


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text/plain"),
        ("A.TXT", "text/plain"),
        ("photo.tar.xz", "application/x-xz"),
        ("folder.txt/file", None),
        ("README", None),
        (".txt", None),
        ("a.", None),
        ("a.md", None),
        ("", None),
    ],
)
def test_the_type_is_told_by_the_ending(name: str, kind: str | None) -> None:
    assert media_type(name) == kind


def test_endings_are_written_as_they_are_looked_up() -> None:
    assert all(ending == ending.lower() and "." not in ending for ending in TYPES)
