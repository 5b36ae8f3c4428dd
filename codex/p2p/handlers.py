"""Who serves which protocol on streams that peers open. Made once, before the switch, and kept by it.

A handler that has a bug costs its stream and one entry in the log, and nothing else.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from attrs import frozen

from codex.errors import CodexError, ProtocolRefused
from codex.logs import get_logger
from codex.p2p.identity import PeerId
from codex.p2p.streams import Stream
from codex.runtime import leaves

Handler: TypeAlias = Callable[[Stream], Awaitable[None]]

_log = get_logger("p2p")


@frozen
class _Entry:
    handler: Handler
    limit: int
    running: Counter[PeerId]


class Handlers:
    """The protocols that this node answers to, each with its handler."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def add(self, name: str, handler: Handler, *, limit: int = 16) -> None:
        """Serve `name`: `handler(stream)` runs in a task of its own for each stream that a peer opens.

        It is called for peers that have joined only. When it returns the stream is closed; when it raises,
        reset. `limit` is how many streams of one peer are served at once; more are reset. Raises ValueError
        when `name` is served already.
        """
        if name in self._entries:
            raise ValueError(f"{name} is served already")
        self._entries[name] = _Entry(handler, limit, Counter())

    def names(self) -> tuple[str, ...]:
        """Every protocol that has a handler, in the order they were added."""
        return tuple(self._entries)

    def handler(self, name: str) -> Handler | None:
        """What to call for a stream of that protocol; raises CodexErrors and cancellations only."""
        entry = self._entries.get(name)
        if entry is None:
            return None

        async def serve(stream: Stream) -> None:
            await _serve(entry, stream)

        return serve


async def _serve(entry: _Entry, stream: Stream) -> None:
    running, peer = entry.running, stream.peer
    if running[peer] >= entry.limit:
        raise ProtocolRefused(f"{entry.limit} streams for {stream.protocol} are open already")

    def told(error: Exception) -> None:
        if isinstance(error, CodexError):
            stream.reset(error.message)
        else:
            _log.error("handler crashed", peer=str(peer), protocol=stream.protocol, exc_info=error)
            stream.reset("this node failed over the stream")

    running[peer] += 1
    try:
        with contained(told):
            await entry.handler(stream)
    finally:
        running[peer] -= 1
        if not running[peer]:
            del running[peer]


@contextmanager
def contained(told: Callable[[Exception], None]) -> Iterator[None]:
    """Let no error out of the block: the first of those inside is told instead. Cancellations, and what
    stops the whole process, do come out.
    """
    try:
        yield
    except BaseException as error:
        found = next((leaf for leaf in leaves(error) if isinstance(leaf, Exception)), None)
        rest = _without_errors(error)
        if found is not None:
            told(found)
        if rest is not None:
            raise rest from None


def _without_errors(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(Exception)[1]
    return None if isinstance(error, Exception) else error
