"""Messages against those of the network's other implementation, byte for byte, and against garbage."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import EMPTY_BLOCK, Cid, block_cid, varint
from codex.codec.protobuf import Writer
from codex.data import Block, LeafAddress, MerkleProof, MerkleTree
from codex.errors import DecodeError
from codex.exchange import messages
from codex.exchange.forms import Forms
from codex.exchange.messages import (
    MAX_DELIVERY_FIELDS,
    Delivery,
    Entry,
    Message,
    Presence,
    decode,
    decode_deliveries,
)
from codex.exchange.writing import encode

TREE = MerkleTree.of([bytes([i]) * 32 for i in range(5)])


def joined(message: Message) -> bytes:
    return b"".join(encode(message))


def address_of(row: dict[str, Any]) -> Any:
    if row["leaf"]:
        return LeafAddress(Cid.parse(row["tree_cid"]), row["index"])
    return Cid.parse(row["cid"])


def data_of(row: dict[str, Any], content: dict[str, bytes]) -> bytes:
    return content[row["data_sha256"]]


@pytest.fixture
def content(vectors: Any) -> dict[str, bytes]:
    """The data that the messages tell only by their hash."""
    known = [b"", b"some file contents".ljust(65536, b"\0")]
    for row in vectors("blockexc")["messages"]:
        for delivery in row["fields"]["deliveries"]:
            if row["hex"] is not None and delivery["data_bytes"] < 4000:
                known += [bytes(d.block.data) for d in decode(bytes.fromhex(row["hex"])).deliveries]
    return {hashlib.sha256(data).hexdigest(): data for data in known}


def message_of(fields: dict[str, Any], content: dict[str, bytes]) -> Message:
    """The message that a row tells field by field."""
    return Message(
        entries=tuple(
            Entry(
                address_of(entry["address"]),
                have=entry["want_type"] == 1,
                cancel=entry["cancel"],
                send_dont_have=entry["send_dont_have"],
                priority=entry["priority"],
            )
            for entry in fields["want_list"]["entries"]
        ),
        full=fields["want_list"]["full"],
        deliveries=tuple(
            Delivery(
                address_of(row["address"]),
                Block(Cid.parse(row["cid"]), data_of(row, content)),
                MerkleProof.from_bytes(bytes.fromhex(row["proof_hex"])) if row["proof_hex"] else None,
            )
            for row in fields["deliveries"]
        ),
        presences=tuple(
            Presence(address_of(row["address"]), row["type"] == 0, int(row["price"]))
            for row in fields["presences"]
        ),
        pending_bytes=fields["pending_bytes"],
        account=bytes.fromhex(fields["account"][2:]) if fields["account"] else None,
    )


def test_every_known_message_both_ways(vectors, content):
    checked = 0
    for row in vectors("blockexc")["messages"]:
        if any(d["data_sha256"] not in content for d in row["fields"]["deliveries"]):
            # Its data are those of a parity block, of which only the hash is told.
            assert row["name"].startswith("two deliveries")
            continue
        message = message_of(row["fields"], content)
        data = joined(message)
        assert len(data) == row["bytes"], row["name"]
        assert hashlib.sha256(data).hexdigest() == row["sha256"], row["name"]
        assert row["hex"] is None or data.hex() == row["hex"]
        assert varint.encode(len(data)).hex() == row["framed_prefix_hex"]
        assert decode(data) == message
        checked += 1
    assert checked == len(vectors("blockexc")["messages"]) - 1


def test_every_message_to_reject(vectors):
    for row in vectors("blockexc")["to_reject"]:
        with pytest.raises(DecodeError):
            decode(bytes.fromhex(row["hex"]))


def test_every_message_to_tolerate(vectors):
    unknown, empty, account = (
        decode(bytes.fromhex(row["hex"])) for row in vectors("blockexc")["to_tolerate"]
    )
    assert unknown == decode(bytes.fromhex(vectors("blockexc")["messages"][0]["hex"]))
    assert empty == Message()
    assert account.account is None


def test_the_recorded_conversation_both_ways(vectors):
    for row in vectors("blockexc")["live_exchange"]["messages"]:
        if row["hex"]:
            data = bytes.fromhex(row["hex"])
            assert joined(decode(data)) == data


def test_the_data_of_a_block_are_a_view():
    data = joined(Message(deliveries=(Delivery(Block.of(b"x" * 65536).cid, Block.of(b"x" * 65536)),)))
    [delivery] = decode(data).deliveries
    assert isinstance(delivery.block.data, memoryview)
    assert delivery.block.data.obj is data
    parts = encode(decode(data))
    assert any(part is delivery.block.data or getattr(part, "obj", None) is data for part in parts)


cids = st.binary(min_size=32, max_size=32).map(block_cid)
addresses = st.one_of(cids, st.builds(LeafAddress, cids, st.integers(0, 2**62 - 1)))
entries = st.builds(
    Entry, addresses, st.booleans(), st.booleans(), st.booleans(), st.integers(-(2**31), 2**31 - 1)
)
presences = st.builds(Presence, addresses, st.booleans(), st.integers(0, 2**256 - 1))
blocks = st.binary(max_size=200).map(Block.of)
proofs = st.builds(
    MerkleProof.of,
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40).map(tuple),
)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    block = draw(blocks)
    if draw(st.booleans()):
        return Delivery(block.cid, block)
    return Delivery(LeafAddress(draw(cids), draw(st.integers(0, 2**62 - 1))), block, draw(st.none() | proofs))


def some(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=6).map(tuple)


whole = st.builds(
    Message,
    entries=some(entries),
    full=st.booleans(),
    deliveries=some(deliveries()),
    presences=some(presences),
    pending_bytes=st.integers(0, 2**64 - 1),
    account=st.none() | st.binary(min_size=20, max_size=20),
    payment=st.binary(max_size=50),
)


@given(whole)
def test_what_is_written_is_read(message):
    assert decode(joined(message)) == message
    assert decode(memoryview(joined(message))) == message


@given(whole, st.data())
@settings(max_examples=200)
def test_damage_is_refused_or_read(message, data):
    raw = bytearray(joined(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        again = decode(bytes(raw))
    except DecodeError:
        return
    assert decode(joined(again)) == again
    assert all(delivery.block.verify() for delivery in again.deliveries)


def outcome_of(raw: bytes) -> Message | str:
    try:
        return decode(raw)
    except DecodeError as error:
        return error.message


@given(whole, st.data())
@settings(max_examples=200)
def test_the_usual_forms_and_the_way_field_by_field_give_the_same(message, data):
    raw = bytearray(joined(message))
    for _ in range(data.draw(st.integers(0, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    by_forms = outcome_of(bytes(raw))
    with pytest.MonkeyPatch.context() as patch:
        for form in ("entry", "presence", "delivery"):
            patch.setattr(Forms, form, lambda self, start, end: None)
        assert outcome_of(bytes(raw)) == by_forms


@pytest.mark.parametrize("form", ["entry", "presence", "delivery"])
def test_what_is_written_of_leaves_is_usual(form):
    leaf, block = LeafAddress(TREE.root_cid, 3), Block.of(b"b" * 300)
    said = {
        "entry": Message(entries=(Entry(leaf, have=True),)),
        "presence": Message(presences=(Presence(leaf, True),)),
        "delivery": Message(deliveries=(Delivery(leaf, block, TREE.proof(3)),)),
    }[form]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        usual = getattr(Forms, form)
        patch.setattr(Forms, form, lambda *args: found.append(usual(*args)) or found[-1])
        assert decode(joined(said)) == said
    assert None not in found
    assert len(found) == 1


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_read(raw):
    try:
        decode(raw)
    except DecodeError:
        return


def nested(number: int, inner: bytes) -> bytes:
    return Writer().bytes(number, inner).finish()


def address_field(number: int = 1) -> bytes:
    return Writer().message(number, Writer().varint(1, 0).bytes(4, EMPTY_BLOCK.raw)).finish()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (nested(1, nested(1, b"")), "no address"),
        (nested(4, b""), "no address"),
        (nested(4, address_field() + Writer().varint(2, 5).finish()), "presence of type 5"),
        (nested(1, nested(1, address_field() + Writer().varint(4, 2).finish())), "want type 2"),
        (nested(1, nested(1, nested(1, b""))), "CID"),
        (nested(1, nested(1, nested(1, b"\x08\x01\x18" + b"\xff" * 9 + b"\x01"))), "no dataset"),
        (
            nested(3, Writer().bytes(1, EMPTY_BLOCK.raw).bytes(2, b"").finish()),
            "lacks its data or its address",
        ),
        (
            nested(3, Writer().bytes(1, EMPTY_BLOCK.raw).bytes(2, b"x").finish() + address_field(3)),
            "not those",
        ),
        (
            nested(3, Writer().bytes(1, EMPTY_BLOCK.raw).bytes(4, bytes(5000)).finish()),
            "bytes of a proof",
        ),
        (b"\x0a\x05\x10", "ends inside"),
        (b"\x0d\x00", "ends inside"),
        (b"\x28\xff", "ends inside"),
        (b"\x00\x00", "number 0"),
        (b"\x0b", "wire type"),
    ],
)
def test_what_is_refused_says_why(raw, why):
    with pytest.raises(DecodeError, match=why):
        decode(raw)


def test_a_field_may_not_reach_beyond_its_message():
    entry = address_field() + b"\x10\x80"  # the number goes on in what is behind the entry
    with pytest.raises(DecodeError):
        decode(nested(1, nested(1, entry) + b"\x10\x01"))


def test_counts_are_bounded(monkeypatch):
    for name, message in (
        ("MAX_ENTRIES", Message(entries=(Entry(EMPTY_BLOCK),) * 4)),
        ("MAX_ENTRIES", Message(presences=(Presence(EMPTY_BLOCK, True),) * 4)),
        ("MAX_DELIVERIES", Message(deliveries=(Delivery(EMPTY_BLOCK, Block(EMPTY_BLOCK, b"")),) * 4)),
        ("MAX_FIELDS", Message(entries=(Entry(EMPTY_BLOCK),) * 4)),
    ):
        raw = joined(message)
        assert decode(raw) == message
        with monkeypatch.context() as patch:
            patch.setattr(messages, name, 3)
            with pytest.raises(DecodeError, match=r"more than 3|too many"):
                decode(raw)


def test_the_fields_of_each_delivery_are_counted():
    block = Writer().bytes(1, EMPTY_BLOCK.raw).bytes(2, b"").bytes(3, address_field()[2:]).finish()
    spare = Writer().varint(9, 1).finish() * (MAX_DELIVERY_FIELDS - 5)
    assert len(decode_deliveries([block + spare] * 3)) == 3
    with pytest.raises(DecodeError, match="too many"):
        decode_deliveries([block, block + spare + Writer().varint(9, 1).finish()])


def test_of_a_field_that_may_stand_once_the_last_one_counts():
    first = joined(Message(entries=(Entry(EMPTY_BLOCK),), full=True))
    second = joined(Message(entries=(Entry(EMPTY_BLOCK, have=True),)))
    assert decode(first + second) == decode(second)


def test_a_price_that_is_too_long_is_ignored():
    body = address_field() + Writer().varint(2, 0).bytes(3, bytes([1]) * 33).finish()
    assert decode(nested(4, body)).presences == (Presence(EMPTY_BLOCK, True),)


def test_a_proof_of_what_is_no_leaf_is_ignored():
    body = (
        Writer().bytes(1, EMPTY_BLOCK.raw).bytes(2, b"").finish() + address_field(3) + nested(4, b"garbage")
    )
    assert decode(nested(3, body)).deliveries == (Delivery(EMPTY_BLOCK, Block(EMPTY_BLOCK, b"")),)
