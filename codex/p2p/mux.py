"""The streams of one connection, and the account of what they may cost. No tasks, no waiting.

The connection feeds it the frames that come and sends what it queues; each change is made in one go, between
two checkpoints. What the peer must not do raises `Broken`, which ends the connection.
"""

from collections.abc import Callable
from operator import attrgetter

import trio

from codex.errors import ProtocolRefused
from codex.p2p.identity import PeerId
from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import Frame, Key, Kind
from codex.p2p.outbox import Outbox
from codex.p2p.streams import Stream


class Broken(Exception):
    """The connection cannot go on, for the reason given."""


class Mux:
    """The table of streams, with what is unread in them and what is to be sent."""

    def __init__(
        self,
        peer: PeerId,
        limits: Limits,
        budget: Budget,
        *,
        opened: Callable[[Stream], None],
        fail: Callable[[str], None],
    ) -> None:
        """`opened` has a stream of the peer's served, and `served` is called at the end of that; `fail` ends
        the connection.
        """
        self.outbox = Outbox(limits.payload)
        self.unread = 0
        """Bytes of all streams that came and were not received yet."""
        self.work: trio.Event | None = None
        """Set when there is something to send, if anybody waits for that."""
        self.drained: trio.Event | None = None
        """Set when bytes were received, if anybody waits for that."""
        self._peer = peer
        self._limits = limits
        self._budget = budget
        self._opened = opened
        self._fail = fail
        self._streams: dict[Key, Stream] = {}
        self._full: set[Stream] = set()
        self._next = 0  # the number of our next stream
        self._highest = -1  # the highest number of the peer's streams
        self._inbound = self._serving = self._negotiating = 0
        self._came = self._stray = 0
        self._credit = float(limits.burst)
        self._credited = trio.current_time()
        self._over = False

    @property
    def streams(self) -> list[Stream]:
        """The open streams, in the order they were opened."""
        return list(self._streams.values())

    def open(self) -> Stream:
        """A new stream of ours. Raises ProtocolRefused when as many are open as may be."""
        if len(self._streams) - self._inbound >= self._limits.outbound_streams:
            raise ProtocolRefused(f"{self._limits.outbound_streams} streams to {self._peer} are open already")
        stream = Stream(self, self._peer, Key(self._next, True))
        self._next += 1
        self._streams[stream.key] = stream
        self.announce(Kind.OPEN, stream)
        return stream

    def negotiated(self) -> None:
        """It is settled what one stream of the peer's is for, or that it is for nothing."""
        self._negotiating -= 1

    def served(self) -> None:
        """One stream of the peer's has been served."""
        self._serving -= 1

    def end(self, why: str) -> None:
        """End every stream with the connection. What is unread is no longer counted; it may be received."""
        for stream in self.streams:
            stream.end(why)
        self._over = True
        self._budget.used -= self.unread
        self.unread = 0

    # What comes.

    def arrived(self, frame: Frame, now: float) -> None:
        """Do what a frame says; `now` on trio's clock. Raises Broken."""
        kind, key, data = frame
        stream = self._streams.get(key)
        if data:
            self._came += len(data)
        else:
            self._charge(now)
        if kind is Kind.OPEN:
            self._open(key, stream)
        elif stream is None:
            self._astray(key, len(data))
        elif kind is Kind.DATA:
            self._data(stream, data, now)
        elif kind is Kind.CLOSE:
            stream.end_remote()
        else:
            stream.end_by_reset("the peer reset the stream")

    def _data(self, stream: Stream, data: memoryview, now: float) -> None:
        if stream.remote_ended:
            raise Broken("the peer sends on a stream that it had ended")
        if stream.abandoned:
            self._stray += len(data)
            stream.reset("nobody reads it any more")
            return
        stream.last = now
        stream.arrive(data)
        self.unread += len(data)
        self._budget.used += len(data)
        if stream.unread > self._limits.stream_high:
            self._full.add(stream)

    def _open(self, key: Key, stream: Stream | None) -> None:
        if stream is not None:
            raise Broken("the peer opens a stream that is open")
        self._highest = max(self._highest, key.number)
        limits = self._limits
        stream = Stream(self, self._peer, key)
        # A handler may outlive its stream, and a stream its handler, so that both are counted.
        taken = max(self._inbound, self._serving)
        if taken >= limits.inbound_streams or self._negotiating >= limits.negotiating:
            self.announce(Kind.RESET, stream)
            return
        self._streams[key] = stream
        self._inbound += 1
        self._serving += 1
        self._negotiating += 1
        self._opened(stream)

    def _astray(self, key: Key, size: int) -> None:
        """Something for a stream that is not open: late, when it was, and wrong, when it never was."""
        if key.number >= self._next if key.ours else key.number > self._highest:
            raise Broken("the peer speaks of a stream that was never opened")
        self._stray += size
        if self._stray > self._limits.stray + self._came / 2:
            raise Broken("the peer does not stop sending on streams that are over")

    def _charge(self, now: float) -> None:
        """Count a frame without content, of which so many may come, and no more."""
        limits = self._limits
        self._credit = min(self._credit + (now - self._credited) * limits.pace, limits.burst) - 1
        self._credited = now
        if self._credit < 0:
            raise Broken("the peer opens, closes and resets more streams than anybody could mean")

    # Holding back.

    @property
    def too_full(self) -> bool:
        """Whether more is unread than should be, so that nothing more should be taken from the peer."""
        limits = self._limits
        return (
            bool(self._full)
            or self.unread > limits.connection_high
            or (self._budget.exceeded and self.unread > limits.share)
        )

    @property
    def appetite(self) -> int:
        """Bytes that are taken from the peer at once: where all hold too much, no more than its share."""
        return self._limits.share if self._budget.exceeded else self._limits.read

    def give_up_full(self, why: str) -> list[Stream]:
        """Reset the streams that are too full, or else the fullest; which they were."""
        held = list(self._full) or sorted(self._streams.values(), key=attrgetter("unread"))[-1:]
        for stream in held:
            stream.reset(why)
        return held

    # What streams need.

    def announce(self, kind: Kind, stream: Stream) -> None:
        """Tell the peer that a stream was opened, closed or reset."""
        if self.outbox.announce(kind, stream.key) > self._limits.queued:
            self._fail("the peer opens and resets streams, and does not read the answers")
        self._wake_writer()

    def enter(self, stream: Stream) -> None:
        """Send what a stream has to give."""
        self.outbox.enter(stream)
        self._wake_writer()

    def taken(self, stream: Stream, count: int) -> None:
        """So many bytes of a stream are no longer unread; fewer than none when some are put back."""
        if self._over:
            return
        self.unread -= count
        self._budget.used -= count
        if stream.unread <= self._limits.stream_low:
            self._full.discard(stream)
        if self.drained is not None:
            self.drained.set()

    def leave(self, stream: Stream) -> None:
        """A stream is over."""
        if self._streams.pop(stream.key, None) is not None and not stream.key.ours:
            self._inbound -= 1

    def _wake_writer(self) -> None:
        if self.work is not None:
            self.work.set()
