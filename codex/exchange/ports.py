"""What the exchange needs of the services below it. The contracts stand at `codex.p2p.Switch` and
`codex.discovery.Discovery`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from codex.codec import Cid, Multiaddr
from codex.p2p import PeerId, SignedPeerRecord


class Stream(Protocol):
    """A stream to a peer."""

    @property
    def peer(self) -> PeerId: ...
    async def send_all(self, *parts: bytes | memoryview) -> None: ...
    async def receive_parts(self, max_bytes: int | None = None) -> Sequence[bytes | memoryview]: ...
    async def aclose(self) -> None: ...
    def reset(self, why: str) -> None: ...


class PeerInfo(Protocol):
    """A connected peer."""

    @property
    def peer(self) -> PeerId: ...


class Switch(Protocol):
    """Connections to peers."""

    def peers(self) -> Sequence[PeerInfo]: ...
    async def connect(self, peer: PeerId, addresses: Sequence[Multiaddr] = ()) -> None: ...
    async def disconnect(self, peer: PeerId, why: str = "") -> None: ...
    async def open_stream(self, peer: PeerId, *protocols: str) -> Stream: ...
    def events(self, size: int) -> AbstractAsyncContextManager[AsyncIterator[Any]]: ...


class Handlers(Protocol):
    """Who serves the streams that peers open."""

    def add(self, name: str, handler: Callable[[Any], Awaitable[None]], *, limit: int) -> None: ...


class Discovery(Protocol):
    """Who has what."""

    async def find_providers(self, cid: Cid) -> Sequence[SignedPeerRecord]: ...
    async def find_peer(self, peer: PeerId) -> SignedPeerRecord | None: ...
    async def forget_provider(self, peer: PeerId) -> None: ...
