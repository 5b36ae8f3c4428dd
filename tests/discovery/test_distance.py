"""Places in the hash table: the network's own ids and distances."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Cid
from codex.discovery.distance import MAX_DISTANCE, content_id, host_id, id_at_distance, log_distance
from codex.p2p import Identity

Vectors = Callable[[str], Any]
PLACES = st.binary(min_size=32, max_size=32)


def test_node_ids(vectors: Vectors) -> None:
    rows = vectors("discv5")["identities"] + vectors("discv5")["log_distance"]["to_keys"]
    assert len(rows) == 41
    for row in rows:
        assert Identity(bytes.fromhex(row["private_key_hex"])).node_id.hex() == row["node_id_hex"]


def test_content_and_host_ids(vectors: Vectors) -> None:
    contents, hosts = vectors("discv5")["content_ids"], vectors("discv5")["host_ids"]
    assert (len(contents), len(hosts)) == (2, 1)
    for row in contents:
        assert content_id(Cid.parse(row["cid"])).hex() == row["content_id_hex"]
        assert content_id(Cid.from_bytes(bytes.fromhex(row["cid_hex"]))).hex() == row["content_id_hex"]
    for row in hosts:
        account = bytes.fromhex(row["eth_address"].removeprefix("0x"))
        assert host_id(account).hex() == row["host_id_hex"]


def test_distances(vectors: Vectors) -> None:
    rows = vectors("discv5")["log_distance"]
    assert len(rows["small"]) == 14
    for row in rows["small"]:
        a, b = row["a"].to_bytes(32), row["b"].to_bytes(32)
        assert log_distance(a, b) == log_distance(b, a) == row["distance"]
    target = bytes.fromhex(rows["target"]["node_id_hex"])
    for row in rows["to_keys"]:
        assert log_distance(target, bytes.fromhex(row["node_id_hex"])) == row["distance"]


def test_ids_at_distances(vectors: Vectors) -> None:
    rows = vectors("discv5")["id_at_distance"]
    assert (len(rows["zero_target"]), len(rows["ids"])) == (7, 6)
    for row in rows["zero_target"]:
        assert id_at_distance(bytes(32), row["distance"]) == row["id"].to_bytes(32)
    target = bytes.fromhex(rows["target_node_id_hex"])
    for row in rows["ids"]:
        assert id_at_distance(target, row["distance"]).hex() == row["id_hex"]


@given(PLACES, st.integers(0, MAX_DISTANCE))
def test_an_id_at_a_distance_is_there(place: bytes, distance: int) -> None:
    assert log_distance(place, id_at_distance(place, distance)) == distance


@given(PLACES, PLACES)
def test_only_the_same_place_is_at_no_distance(a: bytes, b: bytes) -> None:
    assert (log_distance(a, b) == 0) == (a == b)
    assert log_distance(a, a) == 0
