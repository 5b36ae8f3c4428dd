"""Multicast DNS as nodes speak it: our packets, those of others, and whatever else is sent on a network."""

import time
from contextlib import suppress

import pytest
from dnslib import PTR, QTYPE, RR, SRV, TXT, DNSHeader, DNSQuestion, DNSRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import Multiaddr
from codex.discovery import lan_messages
from codex.discovery.lan_messages import META, SERVICE, Answer, Neighbour, Query
from codex.errors import DecodeError
from codex.p2p import Identity, PeerId, SignedPeerRecord
from codex.runtime.clock import SeededEntropy

ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))
NAME = "a" * 40
HOME = Multiaddr.parse("/ip4/192.168.1.2/tcp/8070")
HOME6 = Multiaddr.parse("/ip6/fd00::2/tcp/8070")


def record_of(identity: Identity, addresses: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord.sign(
        identity,
        1_700_000_000,
        [Multiaddr.parse(f"/ip4/192.168.1.2/udp/{8090 + n}") for n in range(addresses)],
    )


def reply(*strings: bytes, name: str = NAME, ttl: int = 120) -> bytes:
    """The answer of some other node, made by hand."""
    packet = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0))
    packet.add_answer(RR(SERVICE, QTYPE.PTR, 1, ttl, PTR(f"{name}.{SERVICE}")))
    packet.add_ar(RR(f"{name}.{SERVICE}", QTYPE.TXT, 1, ttl, TXT(list(strings))))
    return bytes(packet.pack())


def dnsaddr(address: object, peer: PeerId = ALICE.peer_id) -> bytes:
    return f"dnsaddr={address}/p2p/{peer}".encode()


# -- our own


def test_the_question() -> None:
    packet = lan_messages.query()
    assert lan_messages.read(packet) == Query()
    parsed = DNSRecord.parse(packet)
    assert (parsed.header.id, parsed.header.qr) == (0, 0)
    assert [(str(q.qname), q.qtype) for q in parsed.questions] == [(f"{SERVICE}.", QTYPE.PTR)]


@pytest.mark.parametrize("record", [None, record_of(ALICE)])
def test_our_answer_is_read_as_it_was_meant(record: SignedPeerRecord | None) -> None:
    alice = Neighbour(ALICE.peer_id, (HOME, HOME6), record)
    assert lan_messages.read(lan_messages.answer(NAME, alice)) == Answer((alice,))


def test_our_answer_in_the_form_that_others_read() -> None:
    parsed = DNSRecord.parse(lan_messages.answer(NAME, Neighbour(ALICE.peer_id, (HOME,), record_of(ALICE))))
    assert (parsed.header.qr, parsed.header.aa, len(parsed.questions)) == (1, 1, 0)
    (pointer,), (text,) = parsed.rr, parsed.ar
    assert (str(pointer.rname), pointer.rtype, pointer.rclass) == (f"{SERVICE}.", QTYPE.PTR, 1)
    assert str(pointer.rdata.label) == str(text.rname) == f"{NAME}.{SERVICE}."
    assert text.ttl == pointer.ttl == 120
    strings = text.rdata.data
    assert strings[0] == f"dnsaddr=/ip4/192.168.1.2/tcp/8070/p2p/{ALICE.peer_id}".encode()
    # All else has another key, and no string is longer than a string of DNS may be.
    assert [string[:4] for string in strings[1:]] == [b"spr="] * (len(strings) - 1)
    assert max(map(len, strings)) <= 255
    assert b"".join(string[4:] for string in strings[1:]).decode() == str(record_of(ALICE))


@given(st.integers(0, 40), st.integers(0, 60), st.booleans())
def test_our_answer_fits_into_a_frame(addresses: int, record: int, with_record: bool) -> None:
    everywhere = tuple(Multiaddr.parse(f"/ip4/192.168.1.2/tcp/{8000 + n}") for n in range(addresses))
    own = Neighbour(ALICE.peer_id, everywhere, record_of(ALICE, record) if with_record else None)
    packet = lan_messages.answer("a" * 63, own)
    assert len(packet) <= lan_messages.MAX_ANSWER
    (read,) = found = lan_messages.read(packet).neighbours if addresses else (own,)  # type: ignore[union-attr]
    assert len(found) == 1
    assert read.addresses == everywhere[: len(read.addresses)]
    assert read.addresses or not addresses
    if with_record and record < 10 and addresses:
        assert read.record == own.record


def test_tools_that_look_at_networks_are_answered() -> None:
    question = DNSRecord(DNSHeader(id=7), questions=[DNSQuestion(META, QTYPE.PTR)])
    assert lan_messages.read(question.pack()) == Query(meta=True)
    parsed = DNSRecord.parse(lan_messages.meta_answer())
    assert [(str(rr.rname), str(rr.rdata)) for rr in parsed.rr] == [(f"{META}.", f"{SERVICE}.")]


# -- those of others


@pytest.mark.parametrize("kind", [QTYPE.PTR, QTYPE.ANY])
def test_questions_of_others(kind: int) -> None:
    asked = [DNSQuestion("_http._tcp.local", QTYPE.PTR), DNSQuestion(SERVICE.upper(), kind, 0x8001)]
    assert lan_messages.read(DNSRecord(questions=asked).pack()) == Query()


@pytest.mark.parametrize(
    "question", [DNSQuestion("_http._tcp.local", QTYPE.PTR), DNSQuestion(SERVICE, QTYPE.SRV), None]
)
def test_questions_about_other_things(question: DNSQuestion | None) -> None:
    with pytest.raises(DecodeError, match="other services"):
        lan_messages.read(DNSRecord(questions=[question] if question else []).pack())


def test_strings_in_records_of_their_own() -> None:
    """As some implementations send them."""
    packet = DNSRecord(DNSHeader(id=0, qr=1))
    own = f"{NAME}.{SERVICE}"
    packet.add_answer(RR(SERVICE, QTYPE.PTR, 1, 300, PTR(own)))
    for address in (HOME, HOME6):
        packet.add_ar(RR(own, QTYPE.TXT, 0x8001, 300, TXT(dnsaddr(address))))
    assert lan_messages.read(packet.pack()) == Answer((Neighbour(ALICE.peer_id, (HOME, HOME6)),))


def test_everything_among_the_answers_and_with_records_that_we_do_not_need() -> None:
    packet = DNSRecord(DNSHeader(id=0, qr=1))
    own = f"{NAME}.{SERVICE}"
    packet.add_answer(RR(own, QTYPE.SRV, 1, 120, SRV(0, 0, 4001, "host.local")))
    packet.add_answer(RR(own, QTYPE.TXT, 1, 120, TXT([b"", b"other=1", dnsaddr(HOME)])))
    packet.add_answer(RR(SERVICE, QTYPE.PTR, 1, 120, PTR(own)))
    assert lan_messages.read(packet.pack()) == Answer((Neighbour(ALICE.peer_id, (HOME,)),))


def test_several_nodes_in_one_packet() -> None:
    packet = DNSRecord(DNSHeader(id=0, qr=1))
    for number, identity in enumerate((ALICE, BOB)):
        own = f"{number}{NAME}.{SERVICE}"
        packet.add_answer(RR(SERVICE, QTYPE.PTR, 1, 120, PTR(own)))
        packet.add_answer(RR(SERVICE, QTYPE.PTR, 1, 120, PTR(own)))
        packet.add_ar(RR(own, QTYPE.TXT, 1, 120, TXT(dnsaddr(HOME, identity.peer_id))))
    found = (Neighbour(ALICE.peer_id, (HOME,)), Neighbour(BOB.peer_id, (HOME,)))
    assert lan_messages.read(packet.pack()) == Answer(found)


def test_only_so_many_nodes_in_one_packet() -> None:
    packet = DNSRecord(DNSHeader(id=0, qr=1))
    for number in range(20):
        own = f"{number}.{SERVICE}"
        packet.add_answer(RR(SERVICE, QTYPE.PTR, 1, 120, PTR(own)))
        packet.add_ar(RR(own, QTYPE.TXT, 1, 120, TXT(dnsaddr(f"/ip4/192.168.1.{number}/tcp/1"))))
    answer = lan_messages.read(packet.pack())
    assert isinstance(answer, Answer)
    assert len(answer.neighbours) == lan_messages.MAX_NEIGHBOURS


def test_answers_about_other_things() -> None:
    packet = DNSRecord(DNSHeader(id=0, qr=1))
    packet.add_answer(RR("_http._tcp.local", QTYPE.PTR, 1, 120, PTR("printer._http._tcp.local")))
    with pytest.raises(DecodeError, match="other services"):
        lan_messages.read(packet.pack())


def test_a_goodbye_is_no_answer() -> None:
    with pytest.raises(DecodeError, match="other services"):
        lan_messages.read(reply(dnsaddr(HOME), ttl=0))


@pytest.mark.parametrize(
    "strings",
    [
        (),
        (b"",),
        (b"dnsaddr=",),
        (b"dnsaddr=/ip4/192.168.1.2/tcp/8070",),
        (b"dnsaddr=/p2p/" + str(ALICE.peer_id).encode(),),
        (b"dnsaddr=/ip4/192.168.1.2/tcp/8070/p2p/nobody",),
        (b"dnsaddr=/ip4/192.168.1.2/tcp/8070/p2p-circuit",),
        (b"dnsaddr=\xff\xfe",),
        (b"spr=" + str(record_of(ALICE)).encode()[:200],),
    ],
)
def test_strings_that_name_no_node(strings: tuple[bytes, ...]) -> None:
    assert lan_messages.read(reply(*strings)) == Answer(())


def test_what_is_wrong_with_one_address_does_not_spoil_the_others() -> None:
    packet = reply(
        dnsaddr("/carrier-pigeon/1"), dnsaddr(HOME), dnsaddr(HOME6, BOB.peer_id), b"\xff", dnsaddr(HOME6)
    )
    assert lan_messages.read(packet) == Answer((Neighbour(ALICE.peer_id, (HOME, HOME6)),))


def test_only_so_many_addresses() -> None:
    addresses = [Multiaddr.parse(f"/ip4/192.168.1.2/tcp/{n}") for n in range(1, 40)]
    found = Neighbour(ALICE.peer_id, tuple(addresses[: lan_messages.MAX_ADDRESSES]))
    assert lan_messages.read(reply(*map(dnsaddr, addresses))) == Answer((found,))


def spr_strings(text: str) -> list[bytes]:
    return [b"spr=" + text[at : at + 251].encode() for at in range(0, len(text), 251)]


@pytest.mark.parametrize(
    "text",
    [
        str(record_of(BOB)),
        str(record_of(ALICE))[:-1] + "A",
        str(record_of(ALICE))[4:],
        "spr:",
        "spr:" + "A" * 3000,
    ],
)
def test_a_record_that_is_not_the_nodes_own_is_left_out(text: str) -> None:
    packet = reply(dnsaddr(HOME), *spr_strings(text))
    assert lan_messages.read(packet) == Answer((Neighbour(ALICE.peer_id, (HOME,)),))


def test_a_record_over_several_strings() -> None:
    large = record_of(ALICE, 20)
    strings = spr_strings(str(large))
    assert len(strings) > 1
    packet = reply(dnsaddr(HOME), *strings)
    assert lan_messages.read(packet) == Answer((Neighbour(ALICE.peer_id, (HOME,), large),))


# -- whatever else is sent


@given(st.binary(max_size=300))
def test_noise_is_refused(packet: bytes) -> None:
    with suppress(DecodeError):
        lan_messages.read(packet)


@given(st.binary(max_size=300), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_headers_that_promise_too_much(body: bytes, q: int, a: int, ar: int, qr: bool) -> None:
    header = DNSHeader(id=0, qr=int(qr), q=q, a=a, ar=ar)
    packet = DNSRecord(header).pack()[:4] + b"".join(n.to_bytes(2) for n in (q, a, 0, ar)) + body
    with suppress(DecodeError):
        lan_messages.read(bytes(packet))


VALID = [
    lan_messages.query(),
    lan_messages.meta_answer(),
    lan_messages.answer(NAME, Neighbour(ALICE.peer_id, (HOME, HOME6), record_of(ALICE))),
    reply(dnsaddr(HOME)),
]


@settings(max_examples=200)
@given(st.sampled_from(VALID), st.data())
def test_damaged_packets_are_refused_or_read(packet: bytes, draw: st.DataObject) -> None:
    data = bytearray(packet)
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    with suppress(DecodeError):
        read = lan_messages.read(bytes(data[: draw.draw(st.integers(0, len(data)))]))
        if isinstance(read, Answer):
            assert all(len(one.addresses) <= lan_messages.MAX_ADDRESSES for one in read.neighbours)


def header(answers: int) -> bytes:
    return bytes(2) + b"\x84\x00" + bytes(2) + answers.to_bytes(2) + bytes(4)


def chain(names: int, records: int) -> bytes:
    """A packet whose names refer to each other as long as there is room: each to the one before it."""
    out = bytearray(header(records))
    out += b"\x01a\x00"
    rest = bytes([0, 1, 0, 1, 0, 0, 0, 120])
    out += rest + (2 * names).to_bytes(2)
    start = len(out)
    for n in range(names):
        out += (0xC000 | (12 if n == 0 else start + 2 * (n - 1))).to_bytes(2)
    for _ in range(records - 1):
        out += (0xC000 | (start + 2 * (names - 1))).to_bytes(2) + rest + b"\x00\x01\x00"
    return bytes(out)


LONG = header(64) + b"".join(b"\x3f" + b"a" * 63 for _ in range(120)) + b"\x00"
HOSTILE = {
    "a chain of references": chain(3000, 64),
    "a reference to itself": header(1) + b"\xc0\x0c",
    "two references to each other": header(1) + b"\x01a\xc0\x10\x01b\xc0\x0c",
    "a reference to what follows": header(1) + b"\xc0\x20" + bytes(30),
    "one long name, many times": LONG + (bytes([0, 16, 0, 1, 0, 0, 0, 9, 0, 1, 0]) + b"\xc0\x0c") * 63,
    "more records than are read": header(65) + bytes(2000),
    "a packet that is too long": bytes(9001),
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_packets_are_refused_in_no_time(name: str) -> None:
    start = time.thread_time()
    with pytest.raises(DecodeError):
        lan_messages.read(HOSTILE[name])
    assert time.thread_time() - start < 0.05
