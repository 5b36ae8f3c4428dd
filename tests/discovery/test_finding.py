"""What one search takes in of all that it is told."""

from collections.abc import Callable

from codex.codec import Multiaddr
from codex.discovery.finding import MAX_PROVIDERS, _Harvest
from codex.discovery.nodes import MAX_RECORD, Node
from codex.p2p import Envelope, PeerRecord, SignedPeerRecord

MakeNode = Callable[..., Node]


def test_a_search_ends_with_so_many_providers_and_no_more(make_node: MakeNode) -> None:
    own = make_node(0).record.record.peer_id
    harvest = _Harvest(own)
    for number in range(1, MAX_PROVIDERS + 101):
        assert harvest.add([make_node(number).record])
    found = [record.record.peer_id for record in harvest.records()]
    assert found == [make_node(number).record.record.peer_id for number in range(1, MAX_PROVIDERS + 1)]
    # Of those that are known, a newer record still counts.
    newer = make_node(7, seq=2).record
    harvest.add([newer, make_node(8, seq=0).record])
    assert harvest.found[newer.record.peer_id] == newer
    assert harvest.found[make_node(8).record.record.peer_id] == make_node(8).record


def test_ourselves_and_records_that_fit_into_no_answer_are_left_out(make_node: MakeNode) -> None:
    alice, bob = make_node(1), make_node(2)
    harvest = _Harvest(alice.record.record.peer_id)
    assert not harvest.add([alice.record])
    many = tuple(Multiaddr.parse(f"/ip4/10.0.0.{number}/udp/8090") for number in range(250))
    huge = SignedPeerRecord(
        PeerRecord(bob.record.record.peer_id, 1, many), Envelope(b"", b"", bytes(MAX_RECORD), b"")
    )
    assert harvest.add([huge])
    assert harvest.records() == []
