"""What a caller would rather have: the Accept header.

Pure. Anything may stand in a header: what cannot be understood is passed over.
"""

import re
from collections.abc import Sequence

PROBLEM = "application/problem+json"

_WEIGHT = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def weight(accept: Sequence[str], media_type: str) -> float:
    """How welcome a media type is, from 0 (not at all) to 1, to a caller with these Accept headers.

    The most specific range that fits decides (RFC 9110, 12.5.1). Without any header everything is welcome.
    """
    if not accept:
        return 1.0
    best, found = -1, 0.0
    kind = media_type.partition("/")[0]
    fits = {media_type: 2, f"{kind}/*": 1, "*/*": 0}
    for one in _ranges(accept):
        specific = fits.get(_name(one), -1)
        if specific > best:
            best, found = specific, _weight(one.lower().split(";")[1:])
    return found


def _ranges(accept: Sequence[str]) -> list[str]:
    return [part for header in accept for part in header.split(",")]


def _name(one: str) -> str:
    return one.partition(";")[0].strip().lower()


def wants_problem(accept: Sequence[str]) -> bool:
    """Whether errors are asked for as problem details (RFC 9457), rather than as plain text.

    Who welcomes both alike, and names the former, knows what they are.
    """
    problem, text = weight(accept, PROBLEM), weight(accept, "text/plain")
    return problem > text or (problem == text > 0 and PROBLEM in map(_name, _ranges(accept)))


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return float(value) if _WEIGHT.fullmatch(value) else 0.0
    return 1.0
