"""What a node takes from the world, and a test may replace. The defaults are the real things."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from attrs import field, frozen

from codex.discovery import DatagramSocket, MulticastSocket, open_multicast, open_udp
from codex.p2p import TcpTransport, Transport
from codex.runtime.clock import Clock, Entropy, SystemClock, SystemEntropy
from codex.runtime.threads import Offload
from codex.store import Disk

if TYPE_CHECKING:
    from codex.chain import Wire

    Dial = Callable[[str], AbstractAsyncContextManager[Wire]]


@frozen
class Wires:
    """What joins a node to others. The defaults are the real things."""

    transport: Transport = field(factory=TcpTransport)
    open_socket: Callable[[int, str], DatagramSocket] = open_udp
    """Opens a UDP port at an IP address of this machine, 0.0.0.0 for all."""
    open_multicast: Callable[[], MulticastSocket] | None = open_multicast
    """None where there is no looking for nodes nearby."""


@frozen
class Seams:
    """What a node takes from the world, and a test may replace. The defaults are the real things."""

    clock: Clock = field(factory=SystemClock)
    entropy: Entropy = field(factory=SystemEntropy)
    offload: Offload | None = None
    disk: Disk | None = None
    wires: Wires | None = field(factory=Wires)
    """None for a node by itself."""
    dial: "Dial | None" = None
    """Opens a way to the provider of the chain at a URL; None is `codex.chain.dial`."""
