"""From a bare byte stream to one that is safe and speaks mplex: the three agreements at its beginning.

multistream-select for Noise, the Noise handshake, and multistream-select again, sealed, for mplex.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

import trio
from attrs import frozen

from codex.p2p import mplex, noise, securing
from codex.p2p.identity import Identity, PeerId, PublicKey
from codex.p2p.multistream import Dialer, Listener
from codex.p2p.outbox import Part
from codex.p2p.securing import Securing

_READ = 16384
"""Bytes taken at once; all agreements together have some 700 each way."""


FRAMES_AT_ONCE = 16
"""Frames that are opened at once, into one piece of memory."""

_GRAIN = 65536
"""Bytes that memory for sealing grows by."""


class Sealed:
    """What stands between the bytes on the wire and those inside. No I/O."""

    __slots__ = ("_frames", "_out", "_receiving", "_sending")

    def __init__(self, sending: noise.Cipher, receiving: noise.Cipher) -> None:
        self._sending = sending
        self._receiving = receiving
        self._frames = noise.Frames()
        self._out = bytearray()

    def seal(self, batch: Sequence[Sequence[Part]]) -> memoryview:
        """Seal what goes into each frame, given in parts; what goes onto the wire, to be used up before the
        next call.
        """
        size = sum(map(len, chain.from_iterable(batch))) + noise.OVERHEAD * len(batch)
        if len(self._out) < size:
            self._out = bytearray(-(-size // _GRAIN) * _GRAIN)
        return memoryview(self._out)[: self._sending.seal_frames(batch, self._out)]

    @property
    def room(self) -> int:
        """Bytes of memory that are kept for sealing."""
        return len(self._out)

    def release(self) -> None:
        """Give back the memory for sealing, until the next call."""
        self._out = bytearray()

    def open(self, data: bytes) -> Iterator[memoryview]:
        """Yield what `data` from the wire brings, in pieces of a few frames' content each. Raises DecodeError
        when it was not sealed by the peer, in this order.
        """
        frames = self._frames.feed(data)
        while some := list(islice(frames, FRAMES_AT_ONCE)):
            yield self._receiving.open_all(some)


@frozen
class Upgraded:
    """A stream that is ready to carry others."""

    sealed: Sealed
    remote_key: PublicKey
    rest: bytes  # what came of mplex already


class Agreement(Protocol):
    """One side of an exchange of bytes that ends by itself."""

    @property
    def done(self) -> bool: ...

    def start(self) -> bytes: ...

    def feed(self, data: bytes) -> bytes: ...


async def upgrade(
    stream: trio.abc.Stream, identity: Identity, keys: noise.Keys, *, dialer: bool, expect: PeerId | None
) -> Upgraded:
    """Run all three. The caller bounds the time, and closes the stream when this raises.

    Raises HandshakeFailed, ProtocolRefused, DecodeError, EndedEarly, and what the stream raises.
    """

    async def receive() -> bytes:
        data = bytes(await stream.receive_some(_READ))
        if not data:
            raise EndedEarly
        return data

    outer = _negotiation(securing.PROTOCOL, dialer=dialer)
    await run(outer, receive, stream.send_all)

    handshake = Securing(identity, keys, dialer=dialer, expect=expect)
    await run(handshake, receive, stream.send_all, outer.rest())
    sealed = Sealed(*handshake.ciphers())

    async def receive_sealed() -> bytes:
        return b"".join(sealed.open(await receive()))

    async def send_sealed(data: bytes) -> None:
        await stream.send_all(sealed.seal([[data]]))

    inner = _negotiation(mplex.PROTOCOL, dialer=dialer)
    first = b"".join(sealed.open(handshake.rest()))
    await run(inner, receive_sealed, send_sealed, first)
    return Upgraded(sealed, handshake.remote_key, inner.rest())


async def run(
    agreement: Agreement,
    receive: Callable[[], Awaitable[bytes]],
    send: Callable[[bytes], Awaitable[None]],
    first: bytes = b"",
) -> None:
    """Bring an agreement to its end. `first` has come already."""
    out = agreement.start()
    if first:
        out += agreement.feed(first)
    while True:
        if out:
            await send(out)
        if agreement.done:
            return
        out = agreement.feed(await receive())


class EndedEarly(Exception):
    """The peer ended the stream before the agreement was reached."""


def _negotiation(protocol: str, *, dialer: bool) -> Dialer | Listener:
    if dialer:
        return Dialer([protocol])
    return Listener(lambda name: name == protocol, lambda: (protocol,))
