"""The published Python client, through every call that needs no other node: `python python_client.py URL`.

Runs in an environment of the client's own, see run.py; ends with 1 when a check fails.
"""

import sys
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
        assert info.table.nodes == []
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


def main(url: str) -> int:
    failed = 0
    with client.ApiClient(client.Configuration(host=f"{url}/api/codex/v1")) as connection:
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
    sys.exit(main(sys.argv[1]))
