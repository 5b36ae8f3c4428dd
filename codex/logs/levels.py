"""Log levels, and which topic is logged from which level on: pure values."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from codex.errors import InvalidInput

LEVELS = MappingProxyType(
    {"trace": 5, "debug": 10, "info": 20, "notice": 25, "warn": 30, "error": 40, "fatal": 50}
)
"""The levels and their order; those that Python's own logging knows have its numbers."""

_SILENT = 100


@frozen
class Levels:
    """The least level that is logged: of everything, and of some topics."""

    base: int
    topics: Mapping[str, int]

    def admit(self, level: int, topic: str) -> bool:
        """Whether a line of `level` about `topic` is logged."""
        return level >= self.topics.get(topic, self.base)


def parse_levels(text: str) -> Levels:
    """Read `level` or `level; level: topic, topic; …`, in any case. Raises InvalidInput.

    The first level is for all; each further one for the topics it names, where `disabled` silences them.
    Topics that nothing logs about are allowed: which exist is known only while the node runs.
    """
    first, *rest = text.split(";")
    topics: dict[str, int] = {}
    for directive in rest:
        if not directive.strip():
            continue
        name, colon, listed = directive.partition(":")
        level = _SILENT if name.strip().lower() == "disabled" else _level(name)
        words = [word.strip() for word in listed.split(",")]
        if not colon or not all(re.fullmatch(r"[\w.-]{1,64}", word) for word in words):
            raise InvalidInput(
                f"{directive.strip()!r} names no topics",
                remedy="Write them after a colon: info; debug: store, api",
            )
        topics.update(dict.fromkeys(words, level))
    return Levels(_level(first), MappingProxyType(topics))


def _level(name: str) -> int:
    level = LEVELS.get(name.strip().lower())
    if level is None:
        *most, last = LEVELS
        raise InvalidInput(
            f"Please specify one of: {', '.join(most)} or {last}",
            remedy="Write a level, or levels by topic: info; debug: store, api",
        )
    return level
