"""The two records of a node."""

from codex.codec import Multiaddr
from codex.discovery.nodes import Node
from codex.discovery.records import OwnRecords
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy

ALICE = Identity.generate(SeededEntropy("alice"))
TCP, UDP = Multiaddr.parse("/ip4/8.8.8.8/tcp/8070"), Multiaddr.parse("/ip4/8.8.8.8/udp/8090")


def test_a_node_says_nothing_before_it_knows_where_it_is() -> None:
    records = OwnRecords(ALICE, 1_750_000_000.9)
    assert not records.announced
    assert records.node.record.addresses == records.provider.record.addresses == ()
    assert records.node.record.seq == records.provider.record.seq == 1_750_000_000


def test_each_change_is_signed_with_the_next_number_and_no_change_is_none() -> None:
    records = OwnRecords(ALICE, 10.0)
    assert records.announce([TCP], UDP)
    assert not records.announce([TCP], UDP)
    assert records.announced
    assert records.node.record.seq == records.provider.record.seq == 11
    assert records.announce([], None)
    assert (records.announced, records.node.record.seq) == (False, 12)


def test_others_find_packets_in_one_and_connections_in_both() -> None:
    records = OwnRecords(ALICE, 10.0)
    records.announce([TCP], UDP)
    assert records.provider.record.addresses == (TCP,)
    assert records.node.record.addresses == (UDP, TCP)
    assert Node.of(SignedPeerRecord.parse(str(records.node))).address == ("8.8.8.8", 8090)
