"""Paths that callers name on the node's machine.

Pure: whether something can be made there is found out where it is made.
"""

import os
from pathlib import Path

from codex.errors import InvalidInput

MAX_PATH = 4096  # bytes; what Linux takes


def absolute(text: str) -> Path:
    """The absolute path that `text` is. Raises InvalidInput, with a sentence that repeats none of it."""
    if not text.startswith("/"):
        raise InvalidInput(
            "the path of a backup must be absolute",
            remedy="begin it with a slash: the node's own directory is none of the caller's",
        )
    try:
        size = len(os.fsencode(text))
    except UnicodeEncodeError:
        size = 0
    if size == 0 or "\0" in text:
        raise InvalidInput(
            "the path of a backup has characters that no file's name can have",
            remedy="name it without null characters and halves of surrogates",
        )
    if size > MAX_PATH:
        raise InvalidInput(
            f"the path of a backup has {size} bytes, and may have {MAX_PATH}", remedy="name a shorter one"
        )
    return Path(text)
