"""The chunked coding of a request's body (RFC 9112, section 7.1), out of bytes as they arrive.

Pure. Whatever the chunks are, a step does a bounded piece of work, and what is kept is no more than what came
last: a body in chunks of one byte costs its sender six bytes for each, and must not cost the node more than
that. Extensions and trailers are read over.
"""

import re

STEP = 128
"""Lines and pieces of chunks that are read in one step: about 0.1 ms."""

MAX_LINE = 4096
"""Bytes of a chunk's first line, with its extensions."""

MAX_TRAILERS = 8192
"""Bytes of all trailers together, as of a request's head."""

_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n")


class BadChunk(Exception):
    """What came is not the chunked coding."""


class Chunks:
    """Decodes one body: give it bytes with `receive`, and take with `step` what they hold.

    `ended` once the last chunk and the trailers were read; `rest` is what came behind them.
    """

    def __init__(self, early: bytes = b"") -> None:
        self.ended = False
        self._data = early
        self._at = 0  # how much of that is read
        self._left = 0  # bytes of the present chunk that have not come
        self._behind = False  # the line end behind a chunk's bytes is next
        self._trailers: int | None = None  # bytes of trailers; None before the last chunk

    @property
    def rest(self) -> bytes:
        """What came behind the body, or was not read yet."""
        return self._data[self._at :]

    def receive(self, data: bytes) -> None:
        """Take what arrived next."""
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def step(self) -> bytes | None:
        """Decode a part of what was received: bytes of the body, maybe none; None when more must come.

        Raises BadChunk.
        """
        parts: list[memoryview] = []
        view = memoryview(self._data)
        for _ in range(STEP):
            if self._left:
                part = view[self._at : self._at + self._left]
                if not part:
                    break
                parts.append(part)
                self._at += len(part)
                self._left -= len(part)
                self._behind = not self._left
            elif self._trailers is not None:
                if self.ended or not self._read_trailer(self._trailers):
                    break
            elif not self._read_head():
                break
        else:
            return b"".join(parts)
        if parts:
            return b"".join(parts)
        self._data, self._at = self.rest, 0  # whoever waits for more keeps nothing that is read
        return None

    def _read_head(self) -> bool:
        """Read the line before a chunk's bytes; False when it has not come."""
        if self._behind:
            behind = self._data[self._at : self._at + 2]
            if not b"\r\n".startswith(behind):
                raise BadChunk("a chunk is longer than it says")
            if len(behind) < 2:
                return False
            self._at += 2
            self._behind = False
        found = _HEAD.match(self._data, self._at, self._at + MAX_LINE)
        if found is None:
            self._wait_for_line(MAX_LINE)
            return False
        self._at = found.end()
        self._left = int(found[1], 16)
        if not self._left:
            self._trailers = 0
        return True

    def _read_trailer(self, read: int) -> bool:
        if self._data.startswith(b"\r\n", self._at):
            self._at += 2
            self.ended = True
            return True
        found = _TRAILER.match(self._data, self._at, self._at + MAX_TRAILERS - read)
        if found is None:
            self._wait_for_line(MAX_TRAILERS - read)
            return False
        self._trailers = read + found.end() - self._at
        self._at = found.end()
        return True

    def _wait_for_line(self, most: int) -> None:
        """Raise BadChunk unless the line that is wanted may still come."""
        if self._data.find(b"\n", self._at) >= 0 or len(self._data) - self._at >= most:
            raise BadChunk("a line between chunks is not what it must be")
