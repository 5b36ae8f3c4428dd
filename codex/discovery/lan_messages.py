"""What nodes on one network ask and tell each other by multicast DNS, as values and bytes.

The form is that of libp2p. Who looks for nodes asks for `_p2p._udp.local` PTR. Each node answers with a
pointer to a name that it made up for itself, and as an additional record with the TXT strings of that name:
`dnsaddr=<multiaddress with /p2p/<peer id>>` for each address. Ours have a further entry, which others pass
over: `spr=` and the node's record in discovery as text, so that one neighbour is enough to join the hash
table. A string of DNS has 255 bytes, so it goes over several of them, each with the `spr=` in front.

Foreign packets are read up to bounds, and only what is needed of them: neither the compression of names nor
the many kinds of record are a way in.
"""

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen
from dnslib import CLASS, PTR, QTYPE, RR, TXT, DNSError, DNSHeader, DNSLabel, DNSQuestion, DNSRecord
from dnslib.buffer import BufferError as DNSBufferError
from dnslib.label import DNSBuffer, DNSLabelError

from codex.codec import Multiaddr
from codex.errors import DecodeError
from codex.p2p import PeerId, SignedPeerRecord

SERVICE = "_p2p._udp.local"
META = "_services._dns-sd._udp.local"
"""What is asked for to learn which services there are, by tools for looking at a network."""

MAX_PACKET = 9000
"""Bytes of the longest packet of multicast DNS."""
MAX_ANSWER = 1400
"""Bytes of our own longest one, so that no network cuts it into pieces."""
MAX_RECORDS = 64
"""Questions and records read of one packet."""
MAX_NEIGHBOURS = 8
"""Nodes read of one packet; each answers for itself."""
MAX_ADDRESSES = 16
"""Addresses read of one node."""
TTL = 120
"""Seconds that an answer counts; as others say it."""

_MAX_NAMES = 512
"""Names, and parts of names that others refer to, read of one packet."""
_MAX_DEPTH = 16
"""References from one part of a name to the next."""
_DNSADDR = b"dnsaddr="
_SPR = b"spr="
_STRING = 255
_MAX_SPR = 2048
_SERVICE_LABEL = DNSLabel(SERVICE)
_META_LABEL = DNSLabel(META)


@frozen(slots=True)
class Query:
    """Somebody looks for nodes; or, with `meta`, for kinds of services."""

    meta: bool = False


@frozen(slots=True)
class Neighbour:
    """A node on this network, as it says: nothing in it is proved but the record, where there is one."""

    peer_id: PeerId
    addresses: tuple[Multiaddr, ...]
    """Without the peer id at the end."""
    record: SignedPeerRecord | None = None
    """Its own record in discovery."""


@frozen(slots=True)
class Answer:
    """Nodes that tell of themselves."""

    neighbours: tuple[Neighbour, ...]


def query() -> bytes:
    """The packet that looks for nodes."""
    return _packed(DNSRecord(DNSHeader(id=0, rd=0), questions=[DNSQuestion(SERVICE, QTYPE.PTR)]))


def answer(name: str, neighbour: Neighbour) -> bytes:
    """The packet that tells of a node, under the made-up `name` of 32 to 63 letters and digits.

    Holds the record if there is room for it and one address, and as many addresses, from the first, as there
    is room for.
    """
    own = f"{name}.{SERVICE}"
    room = MAX_ANSWER - 200 - len(name)
    addresses = [_DNSADDR + _with_peer(one, neighbour.peer_id) for one in neighbour.addresses]
    strings = [address for address in addresses if len(address) <= _STRING]
    spr = _spr_strings(neighbour.record)
    if _size(spr) + _size(strings[:1]) > room:
        spr = []
    while _size(strings) + _size(spr) > room:
        strings.pop()
    reply = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0))
    reply.add_answer(RR(SERVICE, QTYPE.PTR, CLASS.IN, TTL, PTR(own)))
    reply.add_ar(RR(own, QTYPE.TXT, CLASS.IN, TTL, TXT([*strings, *spr])))
    return _packed(reply)


def meta_answer() -> bytes:
    """The packet that tells that there are nodes on this network at all."""
    reply = DNSRecord(DNSHeader(id=0, qr=1, aa=1, rd=0))
    reply.add_answer(RR(META, QTYPE.PTR, CLASS.IN, TTL, PTR(SERVICE)))
    return _packed(reply)


def read(packet: bytes) -> Query | Answer:
    """Read a packet. Raises DecodeError when it is none, or is about other services.

    What is wrong with one node of an answer, or one of its addresses, is left out.
    """
    if len(packet) > MAX_PACKET:
        raise DecodeError(f"the packet has {len(packet)} bytes, more than {MAX_PACKET}")
    try:
        buffer = _Buffer(packet)
        header = DNSHeader.parse(buffer)
        if header.q + header.a + header.auth + header.ar > MAX_RECORDS:
            raise DecodeError(f"the packet has more than {MAX_RECORDS} records")
        questions = [DNSQuestion.parse(buffer) for _ in range(header.q)]
        if not header.qr:
            return _query(questions)
        return _answer(_records(buffer, header.a + header.auth + header.ar))
    except (DNSError, DNSBufferError, DNSLabelError) as error:
        raise DecodeError(f"the packet is not of DNS: {error}") from None


class _Buffer(DNSBuffer):  # type: ignore[misc]  # dnslib ships no types
    """A packet whose names refer to each other only so often."""

    _names = 0
    _depth = 0

    def decode_name(self, last: int = -1) -> DNSLabel:
        self._names += 1
        self._depth += 1
        if self._names > _MAX_NAMES or self._depth > _MAX_DEPTH:
            raise DecodeError("the names in the packet refer to each other too often")
        name = super().decode_name(last)
        self._depth -= 1
        return name


@frozen(slots=True)
class _Pointer:
    """A record that says that there is a node of that name."""

    target: DNSLabel


@frozen(slots=True)
class _Text:
    """A record with the strings of a name."""

    owner: DNSLabel
    strings: tuple[bytes, ...]


def _query(questions: Sequence[DNSQuestion]) -> Query:
    asked = [question.qname for question in questions if question.qtype in (QTYPE.PTR, QTYPE.ANY)]
    if _SERVICE_LABEL in asked:
        return Query()
    if _META_LABEL in asked:
        return Query(meta=True)
    raise DecodeError("the packet asks for other services")


def _records(buffer: _Buffer, count: int) -> Iterator[_Pointer | _Text]:
    """The records that are of use, those that are not being taken back."""
    for _ in range(count):
        owner = buffer.decode_name()
        kind, _, ttl, size = buffer.unpack("!HHIH")
        end = buffer.offset + size
        if kind == QTYPE.PTR and owner == _SERVICE_LABEL and ttl > 0:
            yield _Pointer(buffer.decode_name())
        elif kind == QTYPE.TXT and ttl > 0:
            strings = TXT.parse(DNSBuffer(buffer.get(size)), size).data
            yield _Text(owner, tuple(strings))
        buffer.offset = end
        if end > len(buffer):
            raise DecodeError("the packet ends inside a record")


def _answer(records: Iterable[_Pointer | _Text]) -> Answer:
    pointers: list[DNSLabel] = []
    texts: dict[DNSLabel, list[bytes]] = {}
    for record in records:
        match record:
            case _Pointer(target):
                pointers.append(target)
            case _Text(owner, strings):
                texts.setdefault(owner, []).extend(strings)
    if not pointers:
        raise DecodeError("the packet answers about other services")
    # Two pointers to one name are one node.
    names = list(dict.fromkeys(pointers))[:MAX_NEIGHBOURS]
    found = [_neighbour(texts.get(name, [])) for name in names]
    return Answer(tuple(neighbour for neighbour in found if neighbour is not None))


def _neighbour(strings: Sequence[bytes]) -> Neighbour | None:
    """The node that the strings of one name tell of; None when they tell of none."""
    peer: PeerId | None = None
    addresses: list[Multiaddr] = []
    for string in strings:
        if not string.startswith(_DNSADDR) or len(addresses) == MAX_ADDRESSES:
            continue
        try:
            whole = Multiaddr.parse(string.removeprefix(_DNSADDR).decode())
            *parts, (last, name) = whole.parts
            if last != "p2p" or name is None or not parts:
                continue
            named = PeerId.parse(name)
        except (DecodeError, UnicodeDecodeError):
            continue  # an address of a kind that we do not know; the others still count
        peer = peer or named
        if named == peer:
            addresses.append(Multiaddr(tuple(parts)))
    if peer is None:
        return None
    return Neighbour(peer, tuple(addresses), _record(strings, peer))


def _record(strings: Sequence[bytes], peer: PeerId) -> SignedPeerRecord | None:
    """The record in the strings of a name, if it is good and that of the node."""
    text = b"".join(string.removeprefix(_SPR) for string in strings if string.startswith(_SPR))
    if not text or len(text) > _MAX_SPR:
        return None
    try:
        record = SignedPeerRecord.parse(text.decode())
    except (DecodeError, UnicodeDecodeError):
        return None  # the addresses still count
    return record if record.record.peer_id == peer else None


def _spr_strings(record: SignedPeerRecord | None) -> list[bytes]:
    text = b"" if record is None else str(record).encode()
    step = _STRING - len(_SPR)
    return [_SPR + text[at : at + step] for at in range(0, len(text), step)]


def _with_peer(address: Multiaddr, peer: PeerId) -> bytes:
    return f"{address}/p2p/{peer}".encode()


def _size(strings: Sequence[bytes]) -> int:
    """Bytes that the strings take in a packet."""
    return sum(1 + len(string) for string in strings)


def _packed(record: DNSRecord) -> bytes:
    return bytes(record.pack())
