"""Media types by file name: the few that every node of the network accepts and that help whoever downloads.

A fixed table, and not that of the system or of Python, because the type is part of what a dataset's CID
names: the same file must get the same CID wherever it is put from. A name that is not in it goes without a
type.
"""

from pathlib import PurePath
from types import MappingProxyType

_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"

TYPES = MappingProxyType(
    {
        "7z": "application/x-7z-compressed",
        "avi": "video/x-msvideo",
        "bin": "application/octet-stream",
        "bmp": "image/bmp",
        "bz2": "application/x-bzip2",
        "css": "text/css",
        "csv": "text/csv",
        "doc": "application/msword",
        "docx": f"{_OFFICE}.wordprocessingml.document",
        "epub": "application/epub+zip",
        "flac": "audio/x-flac",
        "gif": "image/gif",
        "htm": "text/html",
        "html": "text/html",
        "ico": "image/x-icon",
        "ics": "text/calendar",
        "iso": "application/x-iso9660-image",
        "jar": "application/java-archive",
        "jpeg": "image/jpeg",
        "jpg": "image/jpeg",
        "js": "text/javascript",
        "json": "application/json",
        "m4a": "audio/mp4",
        "mkv": "video/x-matroska",
        "mov": "video/quicktime",
        "mp3": "audio/mpeg",
        "mp4": "video/mp4",
        "mpeg": "video/mpeg",
        "odp": f"{_OPEN}.presentation",
        "ods": f"{_OPEN}.spreadsheet",
        "odt": f"{_OPEN}.text",
        "oga": "audio/ogg",
        "ogg": "audio/ogg",
        "ogv": "video/ogg",
        "otf": "font/otf",
        "pdf": "application/pdf",
        "png": "image/png",
        "ppt": "application/vnd.ms-powerpoint",
        "pptx": f"{_OFFICE}.presentationml.presentation",
        "ps": "application/postscript",
        "rar": "application/x-rar-compressed",
        "rtf": "application/rtf",
        "sh": "application/x-sh",
        "svg": "image/svg+xml",
        "tar": "application/x-tar",
        "tif": "image/tiff",
        "tiff": "image/tiff",
        "torrent": "application/x-bittorrent",
        "tsv": "text/tab-separated-values",
        "ttf": "font/ttf",
        "txt": "text/plain",
        "vcf": "text/vcard",
        "wasm": "application/wasm",
        "wav": "audio/x-wav",
        "weba": "audio/webm",
        "webm": "video/webm",
        "webp": "image/webp",
        "woff": "font/woff",
        "woff2": "font/woff2",
        "xls": "application/vnd.ms-excel",
        "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
        "xml": "application/xml",
        "xz": "application/x-xz",
        "zip": "application/zip",
    }
)


def media_type(name: str) -> str | None:
    """The type of a file of that name, by what follows the last dot; None when it is not one of the well-
    known.
    """
    return TYPES.get(PurePath(name).suffix[1:].lower())
