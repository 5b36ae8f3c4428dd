"""The published Python client, through every call: `python python_client.py URL OTHER`. The second node knows
the first one.

Runs in an environment of the client's own, see run.py; ends with 1 when a check fails.
"""

import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import codex_api_client as client
from codex_api_client.exceptions import ApiException

CONTENT = b"some file contents"
TREE = "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL"  # of CONTENT, on every node of the network
ABSENT = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ"
LARGE = b"".join(number.to_bytes(4, "big") * 16_384 for number in range(80))  # 5 MiB, no block like another
ID = "0x" + "ab" * 32
STRANGER = "16Uiu2HAmQ5pNKSbGCPJg8RnXQ2tEjPcEUdS6zcjkKnMZbcU2ebVK"


class Data:
    """What can be done with datasets."""

    def __init__(self, api: client.DataApi) -> None:
        self.api = api

    def upload_and_download(self) -> None:
        cid = self.api.upload(body=CONTENT, content_disposition='attachment; filename="hello.bin"')
        assert cid.startswith("zDv")
        assert bytes(self.api.download_local(cid)) == CONTENT
        assert bytes(self.api.download_network_stream(cid)) == CONTENT
        listed = {item.cid: item.manifest for item in self.api.list_data().content}
        for manifest in (
            listed[cid],
            self.api.download_network(cid).manifest,
            self.api.download_network_manifest(cid).manifest,
        ):
            assert manifest.tree_cid == TREE
            assert (manifest.dataset_size, manifest.block_size) == (len(CONTENT), 65_536)
            assert (manifest.filename, manifest.protected) == ("hello.bin", False)
            assert manifest.mimetype == "application/octet-stream"

    def the_same_twice_is_the_same(self) -> None:
        first = self.api.upload(body=CONTENT)
        used = self.api.space().quota_used_bytes
        assert self.api.upload(body=CONTENT) == first
        assert self.api.space().quota_used_bytes == used

    def many_blocks(self) -> None:
        before = self.api.space()
        cid = self.api.upload(body=LARGE)
        after = self.api.space()
        assert after.total_blocks == before.total_blocks + 81  # with that of the manifest
        assert after.quota_used_bytes > before.quota_used_bytes + len(LARGE)
        assert after.quota_max_bytes == before.quota_max_bytes
        assert after.quota_reserved_bytes == 0
        assert bytes(self.api.download_network_stream(cid)) == LARGE
        self.api.delete_local(cid)
        assert self.api.space() == before

    def delete(self) -> None:
        cid = self.api.upload(body=b"to be deleted")
        self.api.delete_local(cid)
        self.api.delete_local(cid)
        assert cid not in [item.cid for item in self.api.list_data().content]
        refused(404, lambda: self.api.download_local(cid), "could not be retrieved")

    def what_is_not_there(self) -> None:
        refused(404, lambda: self.api.download_local(ABSENT), "could not be retrieved")
        for call in (
            self.api.download_local,
            self.api.download_network,
            self.api.download_network_manifest,
            self.api.download_network_stream,
            self.api.delete_local,
        ):
            refused(400, lambda call=call: call("no-cid"), "Incorrect Cid")

    def media_types(self) -> None:
        cid = self.api.upload(body=CONTENT, _content_type="text/plain; charset=utf-8")
        assert self.api.download_network_manifest(cid).manifest.mimetype == "text/plain; charset=utf-8"
        # The argument with the plainer name sends a second header beside the first.
        refused(400, lambda: self.api.upload(body=CONTENT, content_type="text/plain"), "Content-Type")

    def what_is_no_upload(self) -> None:
        refused(500, lambda: self.api.upload(body=b""), "Request do not have body available")
        bad_name = 'attachment; filename="a/b|c"'
        refused(422, lambda: self.api.upload(body=b"x", content_disposition=bad_name), "not valid")


class NodeAndDebug:
    """What a node says of itself."""

    def __init__(self, node: client.NodeApi, debug: client.DebugApi) -> None:
        self.node = node
        self.debug = debug

    def names(self) -> None:
        info = self.debug.get_debug_info()
        assert info.id.startswith("16Uiu2HA")
        # The client takes these two for text, and gives the JSON that it asked for as a dictionary's text.
        assert self.node.get_peer_id() == str({"id": info.id})
        assert self.node.get_spr() == str({"spr": info.spr})
        assert info.table.local_node.peer_id == info.id
        assert info.table.local_node.record == info.spr
        assert info.spr.startswith("spr:")
        assert all(known.peer_id != info.id and known.address for known in info.table.nodes)
        assert info.repo
        assert "" not in (info.codex.version, info.codex.revision, info.codex.contracts)

    def peers_that_are_none(self) -> None:
        refused(400, lambda: self.node.connect_peer("nobody"), "incorrect PeerId string")
        address = ["/ip4/127.0.0.1/tcp/1"]
        refused(400, lambda: self.node.connect_peer(STRANGER, addrs=address), "Unable to")

    def log_levels(self) -> None:
        for level in ("trace", "DEBUG;TRACE:store,api", "Info"):
            self.debug.set_debug_log_level(level)
        refused(500, lambda: self.debug.set_debug_log_level("loud"), "Please specify one of")


class TwoNodes:
    """What one node has and the other gets."""

    def __init__(self, here: client.ApiClient, there: client.ApiClient) -> None:
        self.here = client.DataApi(here)
        self.there = client.DataApi(there)
        self.there_node = client.NodeApi(there)
        self.debug = client.DebugApi(here), client.DebugApi(there)

    def a_stream(self) -> None:
        cid = self.here.upload(body=b"what only one of them has" * 10_000)
        assert bytes(self.there.download_network_stream(cid)) == b"what only one of them has" * 10_000
        assert bytes(self.there.download_local(cid)) == b"what only one of them has" * 10_000

    def a_manifest_alone(self) -> None:
        cid = self.here.upload(body=b"described" * 100_000)
        before = self.there.space().total_blocks
        assert self.there.download_network_manifest(cid).manifest.dataset_size == 900_000
        assert self.there.space().total_blocks == before + 1

    def in_the_background(self) -> None:
        cid = self.here.upload(body=LARGE)
        before = self.there.space().quota_used_bytes
        assert self.there.download_network(cid).manifest.dataset_size == len(LARGE)
        for _ in range(600):
            if self.there.space().quota_used_bytes >= before + len(LARGE):
                break
            time.sleep(0.05)
        assert bytes(self.there.download_local(cid)) == LARGE

    def connecting(self) -> None:
        here, there = (debug.get_debug_info() for debug in self.debug)
        self.there_node.connect_peer(here.id, addrs=here.announce_addresses)  # raises when it does not
        assert here.id in [known.peer_id for known in there.table.nodes]


class Market:
    """What a node without a marketplace refuses, whatever it is asked."""

    def __init__(self, api: client.MarketplaceApi) -> None:
        self.api = api

    def everything(self) -> None:
        terms = client.StorageRequestCreation(
            duration=3600,
            pricePerBytePerSecond="1000",
            proofProbability="3",
            nodes=3,
            tolerance=1,
            collateralPerByte="1",
            expiry=600,
        )
        offer = client.SalesAvailability(
            totalSize=1 << 20, duration=3600, minPricePerBytePerSecond="1000", totalCollateral="1000"
        )
        for call in (
            self.api.get_active_slots,
            lambda: self.api.get_active_slot_by_id(ID),
            self.api.get_availabilities,
            lambda: self.api.offer_storage(offer),
            lambda: self.api.update_offered_storage(ID, offer),
            lambda: self.api.get_reservations(ID),
            lambda: self.api.create_storage_request(ABSENT, terms),
            self.api.get_purchases,
            lambda: self.api.get_purchase(ID),
        ):
            refused(503, call, "Persistence is not enabled")


def refused(status: int, call: Callable[[], Any], text: str) -> None:
    """Check that the node refuses with that status and words."""
    try:
        answer = call()
    except ApiException as error:
        told = (error.status, error.body or "")
    else:
        raise AssertionError(f"answered {answer!r}, not {status}")
    assert told[0] == status, told
    assert text in told[1], told


def main(url: str, other: str) -> int:
    failed = 0
    with (
        client.ApiClient(client.Configuration(host=f"{url}/api/codex/v1")) as connection,
        client.ApiClient(client.Configuration(host=f"{other}/api/codex/v1")) as far,
    ):
        two = TwoNodes(connection, far)
        data = Data(client.DataApi(connection))
        node = NodeAndDebug(client.NodeApi(connection), client.DebugApi(connection))
        market = Market(client.MarketplaceApi(connection))
        for check in (
            data.upload_and_download,
            data.the_same_twice_is_the_same,
            data.many_blocks,
            data.media_types,
            data.delete,
            data.what_is_not_there,
            data.what_is_no_upload,
            node.names,
            node.peers_that_are_none,
            node.log_levels,
            market.everything,
            two.a_stream,
            two.a_manifest_alone,
            two.in_the_background,
            two.connecting,
        ):
            try:
                check()
            except Exception:
                failed += 1
                print(f"failed  {check.__qualname__}")
                traceback.print_exc()
            else:
                print(f"passed  {check.__qualname__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
