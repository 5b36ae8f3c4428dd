"""Sizes and durations as people write them, and back.

A size is a whole number of bytes, a duration a number of seconds. Both are parsed from text such as `20GiB`
or `30d`; what is printed by the exact forms (`size_text`, `duration_text`) parses back to the same value;
durations are kept to the nanosecond.

Units of size always count in powers of 1024, as on every node of the network: `2m`, `2MB` and `2MiB` are one
value.
"""

import re

from codex.errors import InvalidInput

KIB = 1024
MIB = 1024**2
GIB = 1024**3
TIB = 1024**4
MAX_SIZE = 2**63 - 1
"""The most bytes that the formats on disk and on the wire can count."""

MINUTE = 60
HOUR = 3600
DAY = 86400
WEEK = 604800
MAX_DURATION = 100 * 365 * DAY
"""Seconds. A hundred years: further from now, an expiry no longer fits everywhere it is kept."""

SIZES_ACCEPTED = "a size such as 20GiB, 500m or 1073741824 (bytes)"
DURATIONS_ACCEPTED = "a duration such as 90s, 10m, 12h, 30d, 2w or 3600 (seconds)"

_SIZE_UNITS = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB, "p": 1024**5, "e": 1024**6}
_UNITS_SHOWN = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DURATION_UNITS = {"": 1, "s": 1, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}

# Twenty digits hold any 64-bit number; more are refused before they cost anything.
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?) ?(?:([kmgtpe]?)(?:i?b)?|(bytes?))", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,9})?) ?([smhdw]?)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes meant by `text`: digits, perhaps a fraction, perhaps a unit. Raises InvalidInput.

    A fraction is allowed where it comes out as whole bytes (`1.5GiB`), so that nothing is rounded unseen.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{_shown(text)} is not a size", remedy=f"Give {SIZES_ACCEPTED}.")
    size = _times(match[1], _SIZE_UNITS[(match[2] or "").lower()])
    if size is None:
        raise InvalidInput(f"{_shown(text)} is not a whole number of bytes", remedy=f"Give {SIZES_ACCEPTED}.")
    if size > MAX_SIZE:
        raise InvalidInput(
            f"{_shown(text)} is more than {human_size(MAX_SIZE)}", remedy=f"Give {SIZES_ACCEPTED}."
        )
    return size


def size_text(size: int) -> str:
    """The shortest exact form of `size` bytes: the largest unit that divides it, as in `20GiB` or `65537`."""
    if size <= 0:
        return str(size)
    for unit, factor in reversed(_SIZE_UNITS.items()):
        if unit and size % factor == 0:
            return f"{size // factor}{unit.upper()}iB"
    return str(size)


def human_size(size: int) -> str:
    """`size` bytes for reading, rounded to three digits or so: `18 B`, `1.50 KiB`, `20.0 GiB`."""
    if abs(size) < KIB:
        return f"{size} B"
    power = 0
    value = float(size)
    # 1023.5 would be shown as 1024 of a unit that ends there.
    while power < len(_UNITS_SHOWN) - 1 and abs(value) >= KIB - 0.5 * (power > 0):
        value /= KIB
        power += 1
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {_UNITS_SHOWN[power]}"


def parse_duration(text: str) -> float:
    """Seconds meant by `text`: digits, perhaps a fraction, perhaps s, m, h, d or w. Raises InvalidInput."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{_shown(text)} is not a duration", remedy=f"Give {DURATIONS_ACCEPTED}.")
    seconds = float(match[1]) * _DURATION_UNITS[match[2].lower()]
    if seconds > MAX_DURATION:
        raise InvalidInput(
            f"{_shown(text)} is more than {duration_text(MAX_DURATION)} (a hundred years)",
            remedy=f"Give {DURATIONS_ACCEPTED}.",
        )
    return seconds


def duration_text(seconds: float) -> str:
    """The shortest exact form of `seconds`, as in `30d`; with a fraction, in seconds to the nanosecond."""
    if seconds != int(seconds):
        return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"
    whole = int(seconds)
    for unit, factor in reversed(_DURATION_UNITS.items()):
        if unit and whole and whole % factor == 0:
            return f"{whole // factor}{unit}"
    return f"{whole}s"


def _times(number: str, factor: int) -> int | None:
    """`number` (decimal text) times `factor`, exactly; None when that is not a whole number."""
    whole, _, fraction = number.partition(".")
    scale = 10 ** len(fraction)
    product, rest = divmod(int(whole + fraction) * factor, scale)
    return None if rest else product


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
