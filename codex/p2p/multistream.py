"""multistream-select 1.0: how two sides agree on what to speak next. Bytes in and bytes out, no I/O.

Both open with the name of this very protocol. Then the dialer proposes one protocol after the other, and the
listener answers each by repeating its name, which settles it, or by `na`. A line on the wire is its length
as a varint, its text, and a newline that counts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from codex.codec import varint
from codex.errors import DecodeError, ProtocolRefused

PROTOCOL = "/multistream/1.0.0"
MAX_LINE = 1024
"""Bytes of a line with its newline, as on the network."""
MAX_PROPOSALS = 64
"""Lines that a listener answers before it has had enough. Nodes know some ten protocols."""

_NA = "na"
_LS = "ls"


def line(text: str) -> bytes:
    """The bytes of one line. Raises ValueError when it is too long, or is more than one."""
    data = text.encode() + b"\n"
    if len(data) > MAX_LINE or "\n" in text:
        raise ValueError(f"{text[:40]!r} is no line of multistream-select")
    return varint.encode(len(data)) + data


class _Lines:
    """Collects bytes into lines. Takes no more than it must, so that what follows the last line is left."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> str | None:
        """The next line, when it is complete. Raises DecodeError for what is none."""
        head = self._buffer[:2]
        # Two bytes hold any length that is allowed.
        if not head or (len(head) < 2 and head[0] >= 0x80):
            return None
        try:
            size, at = varint.decode(head)
        except DecodeError:
            size, at = MAX_LINE + 1, 2
        if not 0 < size <= MAX_LINE:
            raise DecodeError(f"a line of the negotiation has not 1 to {MAX_LINE} bytes")
        if len(self._buffer) < at + size:
            return None
        data, self._buffer = self._buffer[at : at + size], self._buffer[at + size :]
        if data[-1:] != b"\n":
            raise DecodeError("a line of the negotiation does not end with a newline")
        try:
            return data[:-1].decode()
        except UnicodeDecodeError:
            raise DecodeError("a line of the negotiation is not UTF-8 text") from None

    def rest(self) -> bytes:
        rest, self._buffer = self._buffer, b""
        return rest


class Dialer:
    """The side that proposes. Send `start()`, then what `feed` returns, until `chosen` is set."""

    def __init__(self, protocols: Sequence[str]) -> None:
        """`protocols` are proposed in this order; there is at least one."""
        self._left = list(protocols)
        self._proposed = self._left.pop(0)
        self._refused: list[str] = []
        self._greeted = False
        self._lines = _Lines()
        self.chosen: str | None = None

    @property
    def done(self) -> bool:
        """Whether a protocol is agreed on."""
        return self.chosen is not None

    def start(self) -> bytes:
        """What to send first: the greeting, and the first proposal with it, to save a round trip."""
        return line(PROTOCOL) + line(self._proposed)

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what to send now, possibly nothing.

        Raises ProtocolRefused when nothing proposed is spoken there, and DecodeError when what came is no
        multistream-select.
        """
        self._lines.feed(data)
        out = b""
        while self.chosen is None and (text := self._lines.next()) is not None:
            if not self._greeted:
                if text != PROTOCOL:
                    raise DecodeError(f"the peer does not begin with {PROTOCOL}")
                self._greeted = True
            elif text == self._proposed:
                self.chosen = text
            elif text != _NA:
                raise DecodeError("the peer answers a proposal neither with it nor with na")
            else:
                self._refused.append(self._proposed)
                if not self._left:
                    raise ProtocolRefused(f"the peer does not speak {' or '.join(self._refused)}")
                self._proposed = self._left.pop(0)
                out += line(self._proposed)
        return out

    def rest(self) -> bytes:
        """What came behind the agreement; it is given away, once."""
        return self._lines.rest()


class Listener:
    """The side that is asked. Send what `feed` returns, until `chosen` is set."""

    def __init__(self, spoken: Callable[[str], bool], names: Callable[[], Iterable[str]]) -> None:
        """`spoken` tells whether a protocol is spoken here, `names` lists those that are."""
        self._spoken = spoken
        self._names = names
        self._greeted = False
        self._count = 0
        self._lines = _Lines()
        self.chosen: str | None = None

    @property
    def done(self) -> bool:
        """Whether a protocol is agreed on."""
        return self.chosen is not None

    def start(self) -> bytes:
        """What to send first: nothing, since the dialer begins."""
        return b""

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what to send now, possibly nothing.

        Raises DecodeError when what came is no multistream-select, or does not end.
        """
        self._lines.feed(data)
        return b"".join(self._answers())

    def _answers(self) -> Iterator[bytes]:
        while self.chosen is None and (text := self._lines.next()) is not None:
            if not self._greeted:
                if text != PROTOCOL:
                    raise DecodeError(f"the peer does not begin with {PROTOCOL}")
                self._greeted = True
                yield line(PROTOCOL)
                continue
            self._count += 1
            if self._count > MAX_PROPOSALS:
                raise DecodeError(f"the peer asked for more than {MAX_PROPOSALS} protocols")
            if text == _LS:
                yield _listing(self._names())
            elif self._spoken(text):
                self.chosen = text
                yield line(text)
            else:
                yield line(_NA)

    def rest(self) -> bytes:
        """What came behind the agreement; it is given away, once."""
        return self._lines.rest()


def _listing(names: Iterable[str]) -> bytes:
    """The answer to `ls`: every name as a line, with one more newline behind them, as one line."""
    data = b"".join(line(name) for name in names) + b"\n"
    return varint.encode(len(data)) + data
