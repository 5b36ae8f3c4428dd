"""What nodes ask and answer each other, as values and bytes.

A message is its kind (1 byte) and a protobuf message: 1 the request id, up to 8 bytes that the answer
repeats; 2 the body, a protobuf message again, written even when it is empty. Kinds that are not listed here
exist (topics, later additions) and are not for us.

Reading is in two steps, because checking the signatures in a body costs more than all else: `open_message`
tells kind and request id; `read_request` and `read_answer` are for messages that somebody cares for.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

from attrs import frozen

from codex.codec.protobuf import Message as Fields
from codex.codec.protobuf import Writer
from codex.discovery.distance import ID_BYTES
from codex.errors import DecodeError
from codex.p2p import SignedPeerRecord

MAX_REQUEST_ID = 8
"""Bytes of the longest request id."""
MAX_MESSAGE = 65536
"""Bytes of the longest message."""
MAX_RECORDS = 200
"""Records read of one message; nodes keep no more providers of a content. Checking so many takes 15 ms."""
NODES_RECORDS = 16
"""Records in an answer to FindNode, all its messages together."""
MAX_DISTANCES = 257
"""Distances read of one FindNode; there are no more."""

_RECORDS_A_PACKET = 3
_RECORD_BYTES_A_PACKET = 1100
"""So that a packet stays below 1280 bytes, which every network carries whole."""
_ANSWER_BYTES = 60_000
"""Bytes of records in one message of providers, so that the packet fits into a datagram."""
_USUAL_RECORD = 1024
"""Bytes up to which a checked record is remembered: 2 MiB of them at most."""
_FIELD_BYTES = 4
"""Bytes around a record in a message: a tag, and a length of up to three."""


@frozen(slots=True)
class Ping:
    """Are you there? Answered with Pong."""

    record_seq: int
    """Sequence number of the sender's own record."""


@frozen(slots=True)
class Pong:
    """I am, and this is where your packet came from."""

    record_seq: int
    ip: str
    port: int


@frozen(slots=True)
class FindNode:
    """Which nodes do you know at these distances from yourself? 0 is you. Answered with Nodes."""

    distances: tuple[int, ...]
    """Each 0 .. 65535, of which only 0 .. 256 can be met."""


@frozen(slots=True)
class FindNodeFast:
    """Which nodes do you know that are near `target`? Answered with Nodes."""

    target: bytes
    """Any place, 32 bytes."""


@frozen(slots=True)
class Nodes:
    """Nodes that I know; one of `total` messages of this answer."""

    total: int
    records: tuple[SignedPeerRecord, ...] = ()


@frozen(slots=True)
class TalkRequest:
    """A message of another protocol; an unknown one is answered with nothing in a TalkResponse."""

    protocol: bytes
    request: bytes


@frozen(slots=True)
class TalkResponse:
    """The answer of another protocol."""

    response: bytes


@frozen(slots=True)
class AddProvider:
    """This node has that content. There is no answer."""

    content_id: bytes
    record: SignedPeerRecord


@frozen(slots=True)
class GetProviders:
    """Who has that content? Answered with Providers."""

    content_id: bytes


@frozen(slots=True)
class Providers:
    """Who has it, as far as I was told. `total` is 1."""

    total: int
    records: tuple[SignedPeerRecord, ...] = ()


Request: TypeAlias = Ping | FindNode | FindNodeFast | TalkRequest | AddProvider | GetProviders
Answer: TypeAlias = Pong | Nodes | TalkResponse | Providers
Message: TypeAlias = Request | Answer

KIND_OF: MappingProxyType[type[Message], int] = MappingProxyType(
    {
        Ping: 0x01,
        Pong: 0x02,
        FindNode: 0x03,
        Nodes: 0x04,
        TalkRequest: 0x05,
        TalkResponse: 0x06,
        AddProvider: 0x0B,
        GetProviders: 0x0C,
        Providers: 0x0D,
        FindNodeFast: 0x83,
    }
)
ANSWER_TO: MappingProxyType[type[Request], type[Answer] | None] = MappingProxyType(
    {
        Ping: Pong,
        FindNode: Nodes,
        FindNodeFast: Nodes,
        TalkRequest: TalkResponse,
        GetProviders: Providers,
        AddProvider: None,
    }
)
"""What each request is answered with; None where there is no answer."""


@frozen(slots=True)
class Opened:
    """A message whose body was not read yet."""

    kind: int
    request_id: bytes
    body: bytes

    @property
    def is_request(self) -> bool:
        """Whether it asks; else it answers."""
        return self.kind in _REQUESTS


def open_message(data: bytes) -> Opened:
    """Read kind and request id. Raises DecodeError for anything but a message of a known kind."""
    if not data:
        raise DecodeError("the message is empty")
    if data[0] not in _REQUESTS and data[0] not in _ANSWERS:
        raise DecodeError(f"the message is of the unknown kind {data[0]:#04x}")
    fields = Fields(memoryview(data)[1:], limit=MAX_MESSAGE)
    request_id, body = fields.bytes(1), fields.bytes(2)
    if request_id is None or len(request_id) > MAX_REQUEST_ID:
        raise DecodeError(f"the message has no request id of at most {MAX_REQUEST_ID} bytes")
    if body is None:
        raise DecodeError("the message has no body")
    return Opened(data[0], request_id, body)


def read_request(opened: Opened) -> Request:
    """Read the rest of a request, and check the signature of the record in it. Raises DecodeError."""
    return _REQUESTS[opened.kind](Fields(opened.body, limit=MAX_MESSAGE))


def read_answer(opened: Opened) -> Answer:
    """Read the rest of an answer, and check the signatures of the records in it. Raises DecodeError.

    Records that are not valid are left out: a node passes on what it was told by others.
    """
    return _ANSWERS[opened.kind](Fields(opened.body, limit=MAX_MESSAGE))


def encode(request_id: bytes, message: Message) -> bytes:
    """The message as bytes."""
    outer = Writer().bytes(1, request_id).message(2, _body(message))
    return bytes((KIND_OF[type(message)],)) + outer.finish()


def nodes_answer(records: Sequence[SignedPeerRecord]) -> tuple[Nodes, ...]:
    """The messages that answer with the first 16 of `records`: at least one, each small enough for one frame
    of any network, unless a single record is not.
    """
    packets: list[list[SignedPeerRecord]] = [[]]
    room = _RECORD_BYTES_A_PACKET
    for record in records[:NODES_RECORDS]:
        size = len(record.to_bytes()) + _FIELD_BYTES
        if len(packets[-1]) == _RECORDS_A_PACKET or (packets[-1] and size > room):
            packets.append([])
            room = _RECORD_BYTES_A_PACKET
        packets[-1].append(record)
        room -= size
    return tuple(Nodes(len(packets), tuple(packet)) for packet in packets)


def providers_answer(records: Iterable[SignedPeerRecord]) -> Providers:
    """The message that answers with as many of `records`, from the first, as fit into one datagram."""
    fitting: list[SignedPeerRecord] = []
    room = _ANSWER_BYTES
    for record in records:
        room -= len(record.to_bytes()) + _FIELD_BYTES
        if room < 0 or len(fitting) == MAX_RECORDS:
            break
        fitting.append(record)
    return Providers(1, tuple(fitting))


def _body(message: Message) -> Writer:
    writer = Writer()
    match message:
        case Ping(record_seq):
            writer.varint(1, record_seq)
        case Pong(record_seq, ip, port):
            address = ipaddress.ip_address(ip)
            family = Writer().bytes(1, bytes((address.version == 4,))).bytes(2, address.packed)
            writer.varint(1, record_seq).message(2, family).bytes(3, port.to_bytes(2))
        case FindNode(distances):
            for distance in distances:
                writer.bytes(1, distance.to_bytes(2))
        case FindNodeFast(place) | GetProviders(place):
            writer.bytes(1, place)
        case Nodes(total, records) | Providers(total, records):
            writer.varint(1, total)
            for record in records:
                writer.bytes(2, record.to_bytes())
        case TalkRequest(protocol, request):
            writer.bytes(1, protocol).bytes(2, request)
        case TalkResponse(response):
            writer.bytes(2, response)
        case AddProvider(content_id, record):
            writer.bytes(1, content_id).bytes(2, record.to_bytes())
    return writer


def _read_ping(fields: Fields) -> Ping:
    return Ping(_required_number(fields))


def _read_pong(fields: Fields) -> Pong:
    inner, port = _required(fields, 2), _required(fields, 3, 2)
    address = Fields(inner)
    family = _required(address, 1, 1)
    if family not in (b"\x00", b"\x01"):
        raise DecodeError("the pong has an address of an unknown family")
    packed = _required(address, 2, 4 if family == b"\x01" else 16)
    return Pong(_required_number(fields), str(ipaddress.ip_address(packed)), int.from_bytes(port))


def _read_find_node(fields: Fields) -> FindNode:
    distances = fields.repeated(1)
    if not 0 < len(distances) <= MAX_DISTANCES or any(len(distance) != 2 for distance in distances):
        raise DecodeError(f"the message has not 1 to {MAX_DISTANCES} distances of two bytes")
    return FindNode(tuple(int.from_bytes(distance) for distance in distances))


def _read_find_node_fast(fields: Fields) -> FindNodeFast:
    return FindNodeFast(_required(fields, 1, ID_BYTES))


def _read_nodes(fields: Fields) -> Nodes:
    return Nodes(_required_number(fields, 2**32 - 1), _records(fields, NODES_RECORDS))


def _read_talk_request(fields: Fields) -> TalkRequest:
    return TalkRequest(_required(fields, 1), _required(fields, 2))


def _read_talk_response(fields: Fields) -> TalkResponse:
    return TalkResponse(_required(fields, 2))


def _read_add_provider(fields: Fields) -> AddProvider:
    return AddProvider(_required(fields, 1, ID_BYTES), _record(_required(fields, 2)))


def _read_get_providers(fields: Fields) -> GetProviders:
    return GetProviders(_required(fields, 1, ID_BYTES))


def _read_providers(fields: Fields) -> Providers:
    return Providers(_required_number(fields, 2**32 - 1), _records(fields, MAX_RECORDS))


_REQUESTS: MappingProxyType[int, Callable[[Fields], Request]] = MappingProxyType(
    {
        KIND_OF[Ping]: _read_ping,
        KIND_OF[FindNode]: _read_find_node,
        KIND_OF[TalkRequest]: _read_talk_request,
        KIND_OF[AddProvider]: _read_add_provider,
        KIND_OF[GetProviders]: _read_get_providers,
        KIND_OF[FindNodeFast]: _read_find_node_fast,
    }
)
_ANSWERS: MappingProxyType[int, Callable[[Fields], Answer]] = MappingProxyType(
    {
        KIND_OF[Pong]: _read_pong,
        KIND_OF[Nodes]: _read_nodes,
        KIND_OF[TalkResponse]: _read_talk_response,
        KIND_OF[Providers]: _read_providers,
    }
)


def _required(fields: Fields, number: int, size: int | None = None) -> bytes:
    value = fields.bytes(number)
    if value is None or size not in (None, len(value)):
        raise DecodeError(f"the message lacks field {number}, or it is of a wrong size")
    return value


def _required_number(fields: Fields, limit: int = 2**64 - 1) -> int:
    value = fields.varint(1, -1)
    if not 0 <= value <= limit:
        raise DecodeError("the message lacks its number, or it is too large")
    return value


# The same records come again and again, and checking a signature costs more than all else in a message.
_seen_before = lru_cache(maxsize=2048)(SignedPeerRecord.from_bytes)


def _record(data: bytes) -> SignedPeerRecord:
    return _seen_before(data) if len(data) <= _USUAL_RECORD else SignedPeerRecord.from_bytes(data)


def _records(fields: Fields, limit: int) -> tuple[SignedPeerRecord, ...]:
    records: list[SignedPeerRecord] = []
    for data in fields.repeated(2)[:limit]:
        try:
            records.append(_record(data))
        except DecodeError:
            continue  # the sender cannot vouch for others; the rest still counts
    return tuple(records)
