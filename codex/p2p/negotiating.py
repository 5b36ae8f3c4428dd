"""What each stream is for: agreed on with the peer by multistream-select, within a time."""

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeAlias

import trio

from codex.errors import DecodeError, PeerGone, ProtocolRefused
from codex.p2p.multistream import MAX_LINE, Dialer, Listener
from codex.p2p.streams import Stream
from codex.p2p.upgrade import EndedEarly, run

Handler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Serves one stream that a peer has opened. When it returns, the stream is closed; when it raises a
CodexError, reset. Anything else that it raises is a bug, and ends the connection."""


class Protocols(Protocol):
    """What this node answers to."""

    def names(self) -> Collection[str]:
        """Every protocol that has a handler."""
        ...

    def handler(self, name: str) -> Handler | None:
        """Who serves a protocol; None when nobody does."""
        ...


async def propose(stream: Stream, protocols: tuple[str, ...], seconds: float) -> None:
    """Agree on one of `protocols` for a stream of ours, and set its `protocol`. When this raises, the stream
    was reset.

    Raises ProtocolRefused when the peer speaks none of them, and PeerGone when it does not answer as it
    should, or in time.
    """
    negotiation = Dialer(protocols)
    try:
        with trio.move_on_after(seconds) as scope:
            await run(negotiation, _receiving(stream), stream.send_all)
        if scope.cancelled_caught:
            raise PeerGone(f"the peer did not answer within {seconds:.0f} s")
    except EndedEarly:
        stream.reset("the peer ended the stream instead of an answer")
        raise PeerGone("the peer ended the stream instead of an answer") from None
    except DecodeError as error:
        stream.reset(error.message)
        raise PeerGone(error.message) from None
    except BaseException:
        stream.reset("no protocol was agreed on")
        raise
    _settle(stream, negotiation)


async def answer(stream: Stream, protocols: Protocols, seconds: float) -> Handler:
    """Agree on what a stream of the peer's is for, set its `protocol`, and return who serves it.

    Raises CodexError when that does not come about.
    """
    names = protocols.names
    negotiation = Listener(lambda name: name in names(), names)
    try:
        with trio.move_on_after(seconds) as scope:
            await run(negotiation, _receiving(stream), stream.send_all)
    except EndedEarly:
        raise PeerGone("the peer ended the stream before a protocol was agreed on") from None
    if scope.cancelled_caught:
        raise PeerGone(f"no protocol was agreed on within {seconds:.0f} s")
    _settle(stream, negotiation)
    handler = protocols.handler(stream.protocol)
    if handler is None:
        raise ProtocolRefused(f"{stream.protocol} is not served any more")
    return handler


def _settle(stream: Stream, negotiation: Dialer | Listener) -> None:
    stream.protocol = str(negotiation.chosen)
    stream.put_back(negotiation.rest())


def _receiving(stream: Stream) -> Callable[[], Awaitable[bytes]]:
    async def receive() -> bytes:
        # What is left with the stream is counted, and holds a peer back that sends without end.
        data = bytes(await stream.receive_some(MAX_LINE))
        if not data:
            raise EndedEarly
        return data

    return receive
