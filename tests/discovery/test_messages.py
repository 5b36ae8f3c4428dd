"""Messages: the network's own bytes both ways, what it refuses, and how answers are cut to size."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Multiaddr
from codex.codec.protobuf import Writer
from codex.discovery import messages
from codex.discovery.messages import (
    AddProvider,
    FindNode,
    FindNodeFast,
    GetProviders,
    Message,
    Nodes,
    Ping,
    Pong,
    Providers,
    TalkRequest,
    TalkResponse,
)
from codex.errors import DecodeError
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]


def record_of(name: str, addresses: int = 1) -> SignedPeerRecord:
    everywhere = [Multiaddr.parse(f"/ip4/192.0.2.1/udp/{8090 + n}") for n in range(addresses)]
    return SignedPeerRecord.sign(Identity.generate(SeededEntropy(name)), 7, everywhere)


ALICE, BOB, CAROL = (record_of(name) for name in ("alice", "bob", "carol"))


def read(data: bytes) -> tuple[bytes, Message]:
    opened = messages.open_message(data)
    body = messages.read_request(opened) if opened.is_request else messages.read_answer(opened)
    return opened.request_id, body


def expected(kind: int, fields: Any) -> Message:
    """The message that a row describes."""
    records = tuple(SignedPeerRecord.parse(text) for text in fields.get("sprs", ()))
    match kind:
        case 0x01:
            return Ping(fields["spr_seq"])
        case 0x02:
            return Pong(fields["spr_seq"], fields["ip"], fields["port"])
        case 0x03:
            return FindNode(tuple(fields["distances"]))
        case 0x04:
            return Nodes(fields["total"], records)
        case 0x05:
            return TalkRequest(fields["protocol"].encode(), fields["request"].encode())
        case 0x06:
            return TalkResponse(fields["response"].encode())
        case 0x0B:
            return AddProvider(bytes.fromhex(fields["content_id_hex"]), SignedPeerRecord.parse(fields["spr"]))
        case 0x0C:
            return GetProviders(bytes.fromhex(fields["content_id_hex"]))
        case 0x0D:
            return Providers(fields["total"], records)
        case 0x83:
            return FindNodeFast(bytes.fromhex(fields["target_hex"]))
    raise AssertionError(f"a row of the unknown kind {kind}")


def test_messages_of_the_network(vectors: Vectors) -> None:
    rows = vectors("discv5")["messages"]
    assert len(rows) == 14
    assert {row["kind"] for row in rows} == set(messages.KIND_OF.values())
    for row in rows:
        request_id, message = read(bytes.fromhex(row["hex"]))
        assert request_id.hex() == row["request_id_hex"]
        assert message == expected(row["kind"], row["fields"])
        assert messages.encode(request_id, message).hex() == row["hex"]


def test_what_the_network_refuses_is_refused(vectors: Vectors) -> None:
    rows = vectors("discv5")["messages_to_reject"]
    assert len(rows) == 5
    for row in rows:
        with pytest.raises(DecodeError):
            read(bytes.fromhex(row["hex"]))


def test_every_request_has_its_answer_or_none() -> None:
    answers = {kind for kind in messages.ANSWER_TO.values() if kind is not None}
    assert set(messages.ANSWER_TO) | answers == set(messages.KIND_OF)
    assert not set(messages.ANSWER_TO) & answers
    assert [kind for kind, answer in messages.ANSWER_TO.items() if answer is None] == [AddProvider]


@pytest.mark.parametrize("kind", [0x00, 0x07, 0x08, 0x09, 0x0A, 0x0E, 0x82, 0xFF])
def test_other_kinds_are_not_for_us(kind: int) -> None:
    with pytest.raises(DecodeError, match="unknown kind"):
        messages.open_message(bytes((kind,)) + Writer().bytes(1, b"1").bytes(2, b"").finish())


def test_a_field_of_later_versions_is_passed_over() -> None:
    later = messages.encode(b"1", Ping(5)) + Writer().varint(3, 1).finish()
    assert read(later) == (b"1", Ping(5))


def test_a_request_id_may_be_empty() -> None:
    assert read(messages.encode(b"", Ping(0))) == (b"", Ping(0))


def made(kind: type[Message], body: Writer) -> bytes:
    return bytes((messages.KIND_OF[kind],)) + Writer().bytes(1, b"1").message(2, body).finish()


def pong_from(family: bytes, packed: bytes, port: bytes = b"\0\1") -> bytes:
    address = Writer().bytes(1, family).bytes(2, packed)
    return made(Pong, Writer().varint(1, 1).message(2, address).bytes(3, port))


@pytest.mark.parametrize(
    "data",
    [
        made(Ping, Writer()),
        made(Ping, Writer().bytes(1, b"\x01")),
        made(Pong, Writer().varint(1, 1).bytes(3, b"\0\1")),
        pong_from(b"\x01", bytes(16)),
        pong_from(b"\x00", bytes(4)),
        pong_from(b"\x02", bytes(4)),
        pong_from(b"", bytes(4)),
        pong_from(b"\x01", bytes(4), b"\x01"),
        pong_from(b"\x01", bytes(4), b"\0\0\1"),
        made(FindNode, Writer().bytes(1, b"\x01")),
        made(FindNode, Writer().bytes(1, b"\0\0\1")),
        made(FindNodeFast, Writer().bytes(1, bytes(31))),
        made(GetProviders, Writer().bytes(1, bytes(33))),
        made(Nodes, Writer().bytes(2, ALICE.to_bytes())),
        made(Nodes, Writer().varint(1, 2**32)),
        made(Providers, Writer().varint(1, 2**32)),
        made(TalkRequest, Writer().bytes(1, b"echo")),
        made(TalkResponse, Writer().bytes(1, b"hi")),
        made(AddProvider, Writer().bytes(1, bytes(32))),
        made(AddProvider, Writer().bytes(2, ALICE.to_bytes())),
        made(AddProvider, Writer().bytes(1, bytes(32)).bytes(2, ALICE.to_bytes()[:-1])),
        made(AddProvider, Writer().bytes(1, bytes(31)).bytes(2, ALICE.to_bytes())),
    ],
)
def test_incomplete_bodies_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read(data)


def test_as_many_distances_as_there_are() -> None:
    everywhere = tuple(range(257))
    assert read(messages.encode(b"1", FindNode(everywhere)))[1] == FindNode(everywhere)
    with pytest.raises(DecodeError, match="1 to 257"):
        read(messages.encode(b"1", FindNode((*everywhere, 0))))


def test_a_message_is_not_longer_than_a_datagram() -> None:
    long = messages.encode(b"1", TalkResponse(bytes(messages.MAX_MESSAGE)))
    with pytest.raises(DecodeError, match="more than 65536"):
        read(long)


@pytest.mark.parametrize("kind", [Nodes, Providers])
def test_records_that_are_not_valid_are_left_out(kind: type[Nodes] | type[Providers]) -> None:
    forged = bytearray(BOB.to_bytes())
    forged[-1] ^= 1
    body = Writer().varint(1, 1).bytes(2, ALICE.to_bytes()).bytes(2, bytes(forged)).bytes(2, b"")
    assert read(made(kind, body.bytes(2, CAROL.to_bytes())))[1] == kind(1, (ALICE, CAROL))


def test_no_more_records_are_read_than_an_answer_has() -> None:
    _, nodes = read(messages.encode(b"1", Nodes(1, (ALICE,) * 17)))
    assert nodes == Nodes(1, (ALICE,) * 16)
    _, providers = read(messages.encode(b"1", Providers(1, (ALICE,) * 201)))
    assert providers == Providers(1, (ALICE,) * 200)


# -- answers cut to size


def test_no_nodes_are_an_answer_too() -> None:
    assert messages.nodes_answer([]) == (Nodes(1),)


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (3, [3]), (4, [3, 1]), (16, [3] * 5 + [1])])
def test_nodes_go_three_to_a_packet(count: int, sizes: list[int]) -> None:
    records = [record_of(f"node {n}") for n in range(count)]
    answer = messages.nodes_answer(records)
    assert [len(packet.records) for packet in answer] == sizes
    assert {packet.total for packet in answer} == {len(sizes)}
    assert [record for packet in answer for record in packet.records] == records


def test_there_are_sixteen_nodes_at_most() -> None:
    assert messages.nodes_answer([ALICE] * 40) == messages.nodes_answer([ALICE] * 16)


@given(st.lists(st.sampled_from([record_of("dave", n) for n in (0, 1, 8, 20, 35, 60)]), max_size=20))
def test_packets_of_nodes_stay_below_1280_bytes(records: list[SignedPeerRecord]) -> None:
    answer = messages.nodes_answer(records)
    assert [record for packet in answer for record in packet.records] == records[:16]
    for packet in answer:
        # 71 bytes stand in front of the message, and 16 behind it.
        size = 71 + len(messages.encode(bytes(8), packet)) + 16
        assert size <= 1280 or len(packet.records) == 1


def test_providers_fit_into_one_datagram() -> None:
    assert messages.providers_answer([]) == Providers(1)
    assert messages.providers_answer([ALICE, BOB]) == Providers(1, (ALICE, BOB))
    assert messages.providers_answer([ALICE] * 300) == Providers(1, (ALICE,) * 200)
    large = record_of("dave", 60)
    answer = messages.providers_answer([large] * 200)
    assert 1 < len(answer.records) < 200
    assert 58_000 < len(messages.encode(bytes(8), answer)) < 61_000


# -- whatever comes

IDS = st.binary(min_size=32, max_size=32)
SEQS = st.integers(0, 2**64 - 1)
RECORDS = st.lists(st.sampled_from([ALICE, BOB, CAROL]), max_size=5).map(tuple)
IPS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Ping, SEQS),
    st.builds(Pong, SEQS, IPS, st.integers(0, 65535)),
    st.builds(FindNode, st.lists(st.integers(0, 65535), min_size=1, max_size=20).map(tuple)),
    st.builds(FindNodeFast, IDS),
    st.builds(Nodes, st.integers(0, 2**32 - 1), RECORDS),
    st.builds(TalkRequest, st.binary(max_size=50), st.binary(max_size=50)),
    st.builds(TalkResponse, st.binary(max_size=50)),
    st.builds(AddProvider, IDS, st.sampled_from([ALICE, BOB, CAROL])),
    st.builds(GetProviders, IDS),
    st.builds(Providers, st.integers(0, 2**32 - 1), RECORDS),
)


@given(st.binary(max_size=8), MESSAGES)
def test_messages_come_back_as_they_were(request_id: bytes, message: Message) -> None:
    assert read(messages.encode(request_id, message)) == (request_id, message)


@given(st.binary(max_size=200))
def test_noise_is_refused_or_a_message(data: bytes) -> None:
    with suppress(DecodeError):
        read(data)


@given(st.sampled_from(sorted(messages.KIND_OF.values())), st.binary(max_size=100))
def test_any_body_is_refused_or_read(kind: int, body: bytes) -> None:
    with suppress(DecodeError):
        read(bytes((kind,)) + Writer().bytes(1, b"1").bytes(2, body).finish())


@given(MESSAGES, st.data())
def test_damaged_messages_are_refused_or_others(message: Message, draw: st.DataObject) -> None:
    data = bytearray(messages.encode(b"12345678", message))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] ^= draw.draw(st.integers(1, 255))
    with suppress(DecodeError):
        request_id, _ = read(bytes(data[: draw.draw(st.integers(0, len(data)))]))
        assert len(request_id) <= messages.MAX_REQUEST_ID
