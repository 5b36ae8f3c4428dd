"""What the headers of an upload may say: the file's name and its media type.

Pure. The rules are the reference node's (its texts too); where it is needlessly narrow the set is wider:
media types may carry parameters, and some that are in wide use count beside those that the reference knows.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources

from codex.api.problems import Refusal
from codex.errors import InvalidInput

MAX_FILENAME = 259  # bytes; the reference's limit for a whole name
_FORBIDDEN = frozenset('/\\:*?"<>|^\0')
_LEADING = frozenset("\\:")  # of a part before the last, on Windows another directory or drive
_RESERVED = frozenset(
    ["CON", "PRN", "AUX", "NUL", *(f"COM{n}" for n in range(10)), *(f"LPT{n}" for n in range(10))]
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110, section 5.6.2
_FORM = re.compile(rf"\s*{_TOKEN}/{_TOKEN}\s*(?:;|$)")
_NO_TYPE = Refusal(
    415, "", "no-media-type", "write it as type/subtype, or leave it out", "the Content-Type is no media type"
)
_TWO_TYPES = Refusal(400, "Only a single Content-Type header must be specified", code="several-media-types")
# Not in the reference's list. A fixed set, and not Python's, which is another one in each version.
_ALSO = frozenset(
    [
        "application/cbor",
        "application/gzip",
        "application/javascript",
        "application/ld+json",
        "application/manifest+json",
        "application/sql",
        "application/toml",
        "application/vnd.apache.parquet",
        "application/vnd.rar",
        "application/vnd.sqlite3",
        "application/x-hdf5",
        "application/x-ndjson",
        "application/yaml",
        "application/zstd",
        "audio/3gpp",
        "audio/3gpp2",
        "audio/aac",
        "audio/flac",
        "audio/opus",
        "audio/wav",
        "image/avif",
        "image/heic",
        "image/heif",
        "image/jpg",
        "image/jxl",
        "image/vnd.microsoft.icon",
        "model/gltf+json",
        "model/gltf-binary",
        "text/markdown",
        "text/vtt",
        "text/x-python",
        "text/xml",
    ]
)


class BadMediaType(InvalidInput):
    """The Content-Type of an upload names no media type that is known."""

    code = "bad-media-type"


class BadFilename(InvalidInput):
    """The file name in Content-Disposition could not be a file's name on every system."""

    code = "bad-filename"


@cache
def known_media_types() -> frozenset[str]:
    """Every media type an upload may have: lower case, without parameters."""
    listed = resources.files(__package__).joinpath("mimetypes.txt").read_text("ascii").split()
    return frozenset(listed) | _ALSO


def unfit_types(headers: Sequence[str]) -> Refusal | None:
    """What is wrong with the Content-Type headers of a request that has a body; None when nothing is."""
    if len(headers) > 1:
        return _TWO_TYPES
    return _NO_TYPE if headers and not is_media_type(headers[0]) else None


def is_media_type(header: str) -> bool:
    """Whether a Content-Type header has the form of one: a type and a subtype, and perhaps parameters."""
    return _FORM.match(header) is not None


def media_type(header: str | None) -> str | None:
    """The media type to store for a Content-Type header: as sent, or None when there is none.

    Parameters (`; charset=utf-8`) are accepted and kept. Raises BadMediaType when the type is not a known
    one.
    """
    if header is None:
        return None
    essence = header.partition(";")[0].strip().lower()
    if essence not in known_media_types() or not _is_text(header):
        raise BadMediaType(
            f"The MIME type '{header}' is not valid.",
            remedy="send a registered media type, application/octet-stream, or no Content-Type at all",
        )
    return header.strip()


def filename(header: str | None) -> str | None:
    """The file name of a Content-Disposition header, or None when it gives none.

    Only the quoted form `filename="NAME"` counts, as in the reference: what follows the opening quote,
    stripped, without its last character. Clients send names in UTF-8, or as browsers and Python do, in
    Latin-1: bytes that are not the one are taken for the other. Raises BadFilename for names that are not
    safe on every system.
    """
    if header is None:
        return None
    _, mark, rest = header.partition('filename="')
    if not mark:
        return None
    name = rest.strip()[:-1]
    if not _is_text(name):
        name = name.encode("utf-8", "surrogateescape").decode("latin-1")
    if not is_valid_filename(name):
        raise BadFilename(
            "The filename is not valid.",
            remedy='use a name without \\ : * ? " < > | ^ and at most 259 bytes, that stays in its directory',
        )
    return name


def is_valid_filename(name: str) -> bool:
    """Whether the last part of `name` (after any slash) is a file name on every common system, and the parts
    before it do not lead anywhere else than down.
    """
    *directories, last = name.split("/")
    stem, dot, _ = last.rpartition(".")
    if not dot or not stem:
        stem = last
    return (
        len(last) > 0
        and len(name.encode("utf-8", "surrogatepass")) <= MAX_FILENAME
        and not (_FORBIDDEN & set(last))
        and not name.startswith("/")
        and not any(part == ".." or _LEADING & set(part) for part in directories)
        # Control characters, and bytes that were no UTF-8: neither can go into a manifest and out in a
        # header.
        and not any(unicodedata.category(char) in ("Cc", "Cs") for char in name)
        and not stem.startswith(" ")
        and not stem.endswith((" ", "."))
        and stem.upper() not in _RESERVED
    )


def _is_text(value: str) -> bool:
    """Whether a header's value came as UTF-8."""
    return not any(unicodedata.category(char) == "Cs" for char in value)
