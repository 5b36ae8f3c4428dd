"""What one peer may cost, and all of them together: times in seconds, sizes in bytes, counts."""

from attrs import frozen

KIB = 1024
MIB = 1024 * KIB


@frozen(kw_only=True)
class Limits:
    """The bounds of a connection. Every one has a reason, and a broken peer ends at one of them."""

    handshake: float = 30.0
    """From the first byte to a connection that can carry streams; the reference gives it as long."""
    negotiation: float = 10.0
    """For one stream to be agreed on: two short lines each way."""
    stream_idle: float = 300.0
    """A stream without a byte either way is reset; the reference does the same, and reopens when it must."""
    connection_idle: float = 900.0
    """Without a byte from the peer, the connection is given up. Long, because nodes of the reference say
    nothing while they want nothing: whoever holds connections asks them for a sign of life in time."""
    write_stall: float = 60.0
    """In which a batch must have left for the peer: 256 KiB in a minute is no connection."""
    stall: float = 5.0
    """How long reading pauses for a stream that is full. Then that stream is reset, and the others go on."""
    flush: float = 1.0
    """At an orderly end, for what was already handed over."""

    inbound_streams: int = 200
    """Open streams that the peer may have opened, as in the reference. More are reset."""
    outbound_streams: int = 200
    """Open streams that we open: what a peer of the reference takes."""
    negotiating: int = 64
    """Streams of the peer's that are not agreed on yet. More are reset."""

    read: int = 1024 * KIB
    """Taken from the connection at once, but for a `share` where all hold too much. Larger gains nothing, and
    each connection in use holds so much."""
    batch: int = 512 * KIB
    """Sealed and sent at once at most: 0.3 ms of work. Larger gains nothing."""
    batch_least: int = 64 * KIB
    """The same at least. In between, a batch is made so large …"""
    batch_time: float = 0.05
    """… that the network takes about so long for it, since that is what an urgent small message waits."""
    keep: float = 1.0
    """How long the memory for a large batch is kept when nothing is sent."""
    payload: int = 512 * KIB
    """In a frame of mplex that we send: a whole batch. What comes in one frame is taken in as it is, and in
    several is copied together. The network takes up to 1 MiB."""

    stream_high: int = 2 * MIB
    """Unread bytes of one stream at which reading pauses: a delivery of 20 blocks, and half the next."""
    stream_low: int = MIB
    """Unread bytes at which reading goes on again."""
    connection_high: int = 8 * MIB
    """Unread bytes of all streams of a connection at which reading pauses."""
    all_high: int = 64 * MIB
    """Unread bytes of all connections, at which only those read on that hold less than their share."""
    share: int = 256 * KIB
    """Unread bytes that a connection may always hold, so that one that is slow does not silence the rest."""

    burst: int = 4000
    """Frames without content (opened, closed, reset, empty) that may come at once …"""
    pace: float = 400.0
    """… and each second from then on. An honest peer opens a stream now and then."""
    stray: int = 64 * MIB
    """Bytes that may come for streams that we have reset: what a fast peer had on its way."""
    queued: int = 8000
    """Frames without content that wait to be sent: two for each that may come at once."""


class Budget:
    """Unread bytes of many connections, counted together. Whoever opens the connections shares one."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        """`limit` is the number of bytes from which on connections hold back."""
        self.limit = limit
        self.used = 0

    @property
    def exceeded(self) -> bool:
        """Whether there is more than there should be."""
        return self.used > self.limit
