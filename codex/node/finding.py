"""Finding a manifest: on this node first, then in the network."""

from attrs import frozen

from codex.codec import Cid
from codex.data import Manifest
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

    async def find(self, cid: Cid, *, local: bool = False, tell: bool = True) -> Manifest:
        """The manifest with that CID; one that came from the network is kept. `local` asks nobody else.
        Without `tell` no event says that it came: it is only looked at.

        Raises BlockNotFound (NotOnNetwork when others were asked), and NotAManifest when the CID names
        something else.
        """
        try:
            return await self.store.get_manifest(cid)
        except NotAManifest:
            raise NotAManifest("Unable to decode as manifest") from None
        except BlockNotFound:
            if local or self.network is None:
                raise not_here(local) from None
        manifest = await self.network.fetch_manifest(cid)
        if tell:
            self.events.publish(ManifestStored(cid))
        return manifest


def not_here(local: bool) -> NotFound:
    """What is said of a manifest or block that is not on this node, and that nobody else is asked for."""
    message = "The requested CID could not be retrieved (Block not found in local store)."
    remedy = "" if local else "this node keeps to its own store: it was started without a network"
    return BlockNotFound(message, remedy=remedy)
