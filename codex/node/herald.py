"""The herald: tells the node's listeners who comes and goes, discovery who is connected, and the network what
has come to be here.

A service of its own, because all of this is heard at any time and told to others who may be slow or away.
When full: of datasets that wait to be announced further ones are dropped, and found by the advertiser itself
when it next looks through the store; of peers that discovery is to hear of further ones are dropped, for it
knows enough then.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import trio

from codex.codec import Cid, Multiaddr
from codex.errors import BlockNotFound, ServiceUnavailable
from codex.logs import get_logger
from codex.node.events import Events, PeerJoined, PeerLeft
from codex.p2p import PeerId, SignedPeerRecord, Switch
from codex.p2p import PeerJoined as Joined
from codex.p2p import PeerLeft as Left
from codex.runtime import Inbox
from codex.store import BlockStore

WAITING = 1024
"""Datasets, and events of the switch, that wait to be told of."""
MEETING = 64
"""Peers that wait for discovery to hear of them."""
LOOK = 15.0
"""Seconds between two looks at where the switch is reached: a restart of it, or another network, changes
that.
"""

log = get_logger("node")


class Advertiser(Protocol):
    """What the herald needs of the advertiser."""

    async def announce(self, cids: Sequence[Cid]) -> None: ...


class Discovery(Protocol):
    """What the herald needs of discovery."""

    async def announce_addresses(self, tcp: Sequence[Multiaddr], udp: Multiaddr | None) -> None: ...

    async def meet(self, record: SignedPeerRecord, host: str) -> bool: ...


class Herald:
    """The task, and the door to it: `stored` may be called at any time. One object for all lives.

    `udp_port` is that of discovery.
    """

    def __init__(
        self,
        *,
        store: BlockStore,
        switch: Switch,
        discovery: Discovery,
        advertiser: Advertiser,
        events: Events,
        udp_port: Callable[[], int | None],
    ) -> None:
        self._store = store
        self._switch = switch
        self._discovery = discovery
        self._advertiser = advertiser
        self._events = events
        self._udp_port = udp_port
        self._send, self._receive = trio.open_memory_channel[Cid](WAITING)

    def stored(self, cid: Cid) -> None:
        """Have a dataset announced, by the CID of its manifest, which is here."""
        try:
            self._send.send_nowait(cid)
        except trio.WouldBlock:
            log.debug("announced later", cid=str(cid))

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Tell, until `inbox` is stopping."""
        await self._announce_addresses()
        send, receive = trio.open_memory_channel[PeerId](MEETING)
        async with trio.open_nursery() as nursery:
            await nursery.start(self._tell_of_peers, send)
            nursery.start_soon(self._introduce, receive)
            nursery.start_soon(self._tell_of_datasets)
            nursery.start_soon(self._look_at_addresses)
            task_status.started()
            await inbox.stopping.wait()
            nursery.cancel_scope.cancel()

    async def _tell_of_peers(
        self, joined: trio.MemorySendChannel[PeerId], *, task_status: trio.TaskStatus[None]
    ) -> None:
        async with self._switch.events(WAITING) as news:
            task_status.started()
            async for event in news:
                match event:
                    case Joined(peer, address):
                        self._events.publish(PeerJoined(peer, str(address)))
                        with suppress(trio.WouldBlock):
                            joined.send_nowait(peer)
                    case Left(peer, why):
                        self._events.publish(PeerLeft(peer, why))

    async def _introduce(self, joined: trio.MemoryReceiveChannel[PeerId]) -> None:
        """Have discovery meet those who joined, one at a time, where they say how it reaches them."""
        async for peer in joined:
            info = next((info for info in self._switch.peers() if info.peer == peer), None)
            if info is None or info.record is None:
                continue
            try:
                await self._discovery.meet(info.record, str(info.address.parts[0][1]))
            except ServiceUnavailable as error:
                log.debug("discovery does not hear of a peer", peer=str(peer), why=error.message)

    async def _tell_of_datasets(self) -> None:
        async for cid in self._receive:
            try:
                manifest = await self._store.get_manifest(cid)
                await self._advertiser.announce([cid, manifest.tree_cid])
            except BlockNotFound:
                continue  # deleted by now
            except ServiceUnavailable as error:
                log.debug("announced later", cid=str(cid), why=error.message)

    async def _look_at_addresses(self) -> None:
        while True:
            await trio.sleep(LOOK)
            try:
                await self._announce_addresses()
            except ServiceUnavailable as error:
                log.debug("addresses are told later", why=error.message)

    async def _announce_addresses(self) -> None:
        announced = self._switch.announced()
        await self._discovery.announce_addresses(announced, udp_address(announced, self._udp_port()))


def udp_address(announced: Sequence[Multiaddr], port: int | None) -> Multiaddr | None:
    """Where discovery is reached: at the first IPv4 address that connections are taken at; None when there is
    none, or no port.
    """
    for address in announced:
        name, host = address.parts[0]
        if name == "ip4" and port is not None:
            return Multiaddr.of(("ip4", host), ("udp", str(port)))
    return None
