"""The secret that guards a node's API: a line of text in a file that only its owner may read.

The node and the commands that talk to it read the same file. The token itself stands in no option, so that it
shows in no list of processes, and in no error, so that it gets into no log.
"""

import os
import re
import stat
from pathlib import Path

from codex.errors import ConfigError

LEAST = 16
"""Characters of a token at least. Sixteen random ones cannot be guessed over a network."""
MOST = 512
_READ = 4096  # bytes; more than the longest token with whatever blanks stand around it
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what may follow the word Bearer (RFC 6750, section 2.1)


def read_token(path: Path) -> str:
    """The token in the file `path`, without the blanks and line ends around it. Raises ConfigError.

    The file must be a regular one that group and others have no right to (mode 0600 or 0400), and the token
    16 to 512 letters, digits and `-._~+/`, perhaps with `=` at the end: random bytes in hexadecimal or
    base64 are such a token.
    """
    start = f"the token file {path}"
    try:
        # Without waiting, so that a pipe is refused below and does not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            regular = stat.S_ISREG(status.st_mode)
            data = os.read(descriptor, _READ) if regular else b""
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{start} cannot be read: {getattr(error, 'strerror', None) or error}", remedy=_HOW
        ) from error
    if not regular:
        raise ConfigError(f"{start} is no regular file", remedy=_HOW)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{start} is open to others (mode {mode:04o})", remedy=f"Close it to them: chmod 600 {path}"
        )
    token = data.decode("utf-8", "replace").strip()
    if not LEAST <= len(token) <= MOST:
        raise ConfigError(f"{start} holds {len(token)} characters, and not {LEAST} to {MOST}", remedy=_HOW)
    if _TOKEN.fullmatch(token) is None:
        raise ConfigError(
            f"{start} holds other characters than letters, digits and -._~+/ with = at the end", remedy=_HOW
        )
    return token


_HOW = "Name a file with --api-token-file, made like this: (umask 077; openssl rand -hex 32 > FILE)"
