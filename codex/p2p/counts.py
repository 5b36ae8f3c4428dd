"""What the switch has done since the node started: plain counters that outlive each life of the service."""

from collections import Counter

from attrs import Factory, define, field, frozen


@define
class Counts:
    """Written by the service, read through `Switch.stats`. Bytes are those on the wire."""

    bytes_in: int = 0
    """Of connections that have ended."""
    bytes_out: int = 0
    reached: int = 0
    """Addresses that were dialled and led to their peer."""
    failed: int = 0
    """Addresses that were dialled in vain."""
    dropped: Counter[str] = field(factory=Counter)
    """Connections made to us that came to nothing, by reason."""


@frozen(kw_only=True)
class SwitchStats:
    """How the switch stands. Bytes, of peers that joined, and counts are those since the node started."""

    dialled: int = 0
    """Peers here that this node has dialled."""
    came: int = 0
    """Peers here that came by themselves."""
    streams: int = 0
    """Open streams to them all."""
    bytes_in: int = 0
    bytes_out: int = 0
    reached: int = 0
    failed: int = 0
    dropped: dict[str, int] = Factory(dict)
