"""Conditions and parts of a download: If-None-Match, If-Range and Range (RFC 9110, sections 13 and 14).

Pure. A dataset's entity tag is the CID of its manifest, in quotes: under one CID there is one content, for
ever, so that tags are strong and no date is needed. One range of bytes at a time is served; several at once,
other units and what is no range at all are passed over, and the whole is sent.
"""

import re
from collections.abc import Sequence

from attrs import frozen

_SPEC = re.compile(r"bytes=[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*", re.IGNORECASE)
_TAG = re.compile(r'"([^"]*)"')
_DIGITS = 19  # of a number below 2**63; more are more than any dataset has bytes


class Unsatisfiable(Exception):
    """The range lies behind the last of `total` bytes, or has no byte at all."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.total = total


@frozen
class Part:
    """`length` bytes (1 or more) from `offset` on, of the `total` that a dataset has."""

    offset: int
    length: int
    total: int

    @property
    def content_range(self) -> str:
        """The value of the header that names this part."""
        return f"bytes {self.offset}-{self.offset + self.length - 1}/{self.total}"


def part(ranges: Sequence[str], total: int) -> Part | None:
    """The part of `total` bytes that these Range headers ask for, or None for all of them.

    Raises Unsatisfiable.
    """
    spec = _SPEC.fullmatch(ranges[0].strip()) if len(ranges) == 1 else None
    if spec is None:
        return None
    first, last, suffix = (_number(digits) for digits in spec.groups())
    if suffix is not None:
        first = max(0, total - suffix)
    elif last is not None and last < (first or 0):
        return None
    offset = first or 0
    end = total if last is None else min(total, last + 1)
    if offset >= end:
        raise Unsatisfiable(total)
    return Part(offset, end - offset, total)


def is_known(if_none_match: Sequence[str], tag: str) -> bool:
    """Whether the caller has the content of that tag (without quotes) already."""
    return any(header.strip() == "*" or tag in _TAG.findall(header) for header in if_none_match)


def still_holds(if_range: Sequence[str], tag: str) -> bool:
    """Whether a part may be sent to a caller who wants it of the content that If-Range names, if any.

    Only a strong tag can be equal, and a date cannot.
    """
    return all(header.strip() == f'"{tag}"' for header in if_range)


def _number(digits: str | None) -> int | None:
    if not digits:
        return None
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS
