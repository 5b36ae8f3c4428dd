"""The node among others: whom it is connected to, whom it can find, and what it gets from them.

Joins the three services of the network into what the node offers. Holds no state of its own.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from attrs import frozen

from codex.codec import Cid, Multiaddr
from codex.codec.cid import CODEX_MANIFEST
from codex.data import BLOCK_SIZE, Block, Manifest
from codex.discovery import Advertiser, Discovery, Stats
from codex.errors import DecodeError, InvalidInput, NotAManifest, NotFound
from codex.exchange import Exchange, Trade
from codex.logs import get_logger
from codex.p2p import PeerId, PeerInfo, SignedPeerRecord, Switch, SwitchStats
from codex.store import Leaf

MAX_ADDRESSES = 64  # of one peer that are dialled for one call

NOTHING = Trade(True, 0, 0, 0, 0, 0, 0)  # with a peer that the exchange has not heard of yet

log = get_logger("node")


@frozen
class PeerView:
    """A peer that the node is connected to: the connection, and what went over it in blocks."""

    link: PeerInfo
    trade: Trade


@frozen
class NetworkStats:
    """What the node's connections and its discovery have come to."""

    switch: SwitchStats
    discovery: Stats


@frozen
class Network:
    """The services that make a node one of many."""

    switch: Switch
    discovery: Discovery
    exchange: Exchange
    advertiser: Advertiser
    stored: Callable[[Cid], None]
    """Has a dataset announced that is whole here, by its manifest's CID; returns at once."""

    # -- peers

    def peers(self) -> list[PeerView]:
        """Everybody that the node is connected to, in the order in which they came."""
        ledger = self.exchange.ledger()
        return [PeerView(link, ledger.get(link.peer, NOTHING)) for link in self.switch.peers()]

    def stats(self) -> NetworkStats:
        """How connections and discovery stand."""
        return NetworkStats(self.switch.stats(), self.discovery.stats())

    async def find_peer(self, peer_id: PeerId) -> SignedPeerRecord:
        """A peer's own record of where it listens. Raises NotFound."""
        record = await self.discovery.find_peer(peer_id)
        if record is None:
            raise NotFound(
                f"{peer_id} was not found in the network",
                remedy="Check the peer id, and that this node knows others: `codex info` shows its table.",
            )
        return record

    async def connect(self, peer_id: PeerId, addresses: Sequence[str] = ()) -> None:
        """Connect to a peer at one of the addresses; without a usable one it is looked up.

        Raises NotFound when it is not found, PeerUnreachable (a NotFound) when it is not reached, and
        InvalidInput for this node itself.
        """
        if peer_id == self.switch.peer_id:
            raise InvalidInput("a node does not connect to itself", remedy="Name another node's peer id.")
        if self.switch.is_connected(peer_id):
            return
        usable = [address for text in addresses[:MAX_ADDRESSES] if (address := _parsed(text)) is not None]
        if not usable:
            usable = list((await self.find_peer(peer_id)).record.addresses)
        await self.switch.connect(peer_id, usable)

    async def disconnect(self, peer_id: PeerId) -> None:
        """End the connection to a peer; nothing to do when there is none."""
        await self.switch.disconnect(peer_id, "asked for")

    def discovery_address(self) -> str | None:
        """Host and port at which the others reach this node's discovery, by its own record."""
        for address in self.discovery.record().record.addresses:
            if address.protocols[1:2] == ("udp",):
                return f"{address.parts[0][1]}:{address.parts[1][1]}"
        return None

    # -- what others have

    async def fetch_manifest(self, cid: Cid, *, keep: bool = True) -> tuple[Manifest, Block]:
        """A manifest that is not here, and its bytes; with `keep` it is here then. Raises NotOnNetwork, and
        NotAManifest for what is none or cannot be one.
        """
        if cid.codec != CODEX_MANIFEST:
            raise NotAManifest(
                f"CID has invalid content type for manifest {cid}",
                remedy="Use the CID that the upload was answered with; it begins with zDv.",
            )
        try:
            block = await self.exchange.fetch_block(cid, keep=keep)
            manifest = Manifest.from_bytes(bytes(block.data))
        except DecodeError as error:
            raise NotAManifest("Unable to decode as manifest") from error
        log.info("manifest fetched", cid=str(cid), blocks=manifest.block_count)
        return manifest, block

    def leaves(self, ttl: float | None = None) -> "NetworkLeaves":
        """What one flow gets its leaves through; those that are kept are wanted for their own sake for `ttl`
        seconds, by default as long as the store keeps what it is given.
        """
        return NetworkLeaves(self.exchange, ttl)

    async def fetch_block(self, cid: Cid) -> Block:
        """A block that is not here; it is kept. Raises NotOnNetwork."""
        return await self.exchange.fetch_block(cid)


class NetworkLeaves:
    """The exchange, for one flow; `used` tells afterwards whether it needed it."""

    def __init__(self, exchange: Exchange, ttl: float | None) -> None:
        self._exchange = exchange
        self._ttl = ttl
        self.used = False

    def fetch_leaves(
        self, tree: Cid, leaf_count: int, indices: Iterable[int], *, block_size: int = BLOCK_SIZE
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[int, Block]]]]:
        """See `Exchange.fetch_leaves`."""
        self.used = True
        return self._exchange.fetch_leaves(tree, leaf_count, indices, ttl=self._ttl, block_size=block_size)

    def fetch_proved(
        self,
        tree: Cid,
        leaf_count: int,
        indices: Iterable[int],
        *,
        keep: bool = True,
        block_size: int = BLOCK_SIZE,
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[Leaf, Block]]]]:
        """See `Exchange.fetch_proved`."""
        self.used = True
        return self._exchange.fetch_proved(
            tree, leaf_count, indices, keep=keep, ttl=self._ttl, block_size=block_size
        )


def _parsed(text: str) -> Multiaddr | None:
    try:
        return Multiaddr.parse(text)
    except DecodeError:
        return None
