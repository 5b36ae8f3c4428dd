"""Finding a manifest: on this node first, then in the network."""

from attrs import frozen

from codex.codec import Cid
from codex.data import Block, Manifest
from codex.errors import BlockNotFound, NotAManifest, NotFound
from codex.node.events import Events, ManifestStored
from codex.node.network import Network
from codex.store import BlockStore


@frozen
class Finder:
    """Brings manifests. `network` is None on a node that has none."""

    store: BlockStore
    network: Network | None
    events: Events

    async def find(self, cid: Cid, *, local: bool = False, use: bool = False) -> Manifest:
        """The manifest with that CID; one that came from the network is kept. `local` asks nobody else. With
        `use` it stays, and what is here of the dataset, whoever had it here; see `BlockStore.get_manifest`.

        Raises BlockNotFound (NotOnNetwork when others were asked), and NotAManifest when the CID names
        something else.
        """
        try:
            return await self.store.get_manifest(cid, use=use)
        except NotAManifest:
            raise NotAManifest("Unable to decode as manifest") from None
        except BlockNotFound:
            if local or self.network is None:
                raise not_here(local) from None
        manifest, _ = await self.network.fetch_manifest(cid)
        self.events.publish(ManifestStored(cid))
        return manifest

    async def look(self, cid: Cid) -> tuple[Manifest, Block]:
        """As `find`, and the manifest's bytes; one that came from the network is not kept."""
        try:
            manifest = await self.store.get_manifest(cid)
            [block] = await self.store.get_many([cid])
        except NotAManifest:
            raise NotAManifest("Unable to decode as manifest") from None
        except BlockNotFound:
            if self.network is None:
                raise not_here(local=False) from None
        else:
            return manifest, block
        return await self.network.fetch_manifest(cid, keep=False)


def not_here(local: bool) -> NotFound:
    """What is said of a manifest or block that is not on this node, and that nobody else is asked for."""
    message = "The requested CID could not be retrieved (Block not found in local store)."
    remedy = "" if local else "this node keeps to its own store: it was started without a network"
    return BlockNotFound(message, remedy=remedy)
