"""CIDs: known ones, foreign ones, and what is none."""

import hashlib
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import cid as cids
from codex.codec import multibase, varint
from codex.codec.cid import Cid
from codex.errors import DecodeError

Vectors = Callable[[str], Any]

_DIGEST = st.binary(min_size=32, max_size=32)
_PREFIX = st.sampled_from(
    [
        cids.BLOCK_PREFIX,
        cids.ROOT_PREFIX,
        cids.MANIFEST_PREFIX,
        cids.SLOT_ROOT_PREFIX,
        cids.PROVING_ROOT_PREFIX,
        cids.SLOT_CELL_PREFIX,
    ]
)


def _v1(codec: int, code: int, digest: bytes) -> bytes:
    return b"\x01" + b"".join(varint.encode(n) for n in (codec, code, len(digest))) + digest


def test_known_texts_are_parsed(vectors: Vectors) -> None:
    rows = vectors("cids")["parse"]
    assert rows
    for row in rows:
        cid = Cid.parse(row["text"])
        assert cid.raw.hex() == row["bytes_hex"]
        assert cid.version == row["version"]
        assert cid.codec == int(row["codec"], 16)
        assert cid.multihash_code == int(row["multihash"], 16)
        assert cid.digest.hex() == row["digest_hex"]
        assert Cid.from_bytes(cid.raw) == cid
        if row["text"].startswith("z"):
            assert str(cid) == row["text"]


def test_texts_that_are_no_cid_are_refused(vectors: Vectors) -> None:
    rows = vectors("cids")["reject"]
    assert rows
    for text in rows:
        with pytest.raises(DecodeError):
            Cid.parse(text)


def test_known_special_blocks(vectors: Vectors) -> None:
    empty, empty512, zeros = vectors("cids")["known"]
    for row in (empty, empty512, zeros):
        cid = Cid.parse(row["cid"])
        assert cid.raw.hex() == row["bytes_hex"]
        assert str(cid) == row["cid"]
    assert Cid.parse(empty["cid"]) == cids.EMPTY_BLOCK
    assert cids.is_empty(cids.EMPTY_BLOCK)
    assert cids.is_empty(Cid.parse(empty512["cid"]))
    assert not cids.is_empty(Cid.parse(zeros["cid"]))
    assert Cid.parse(zeros["cid"]).matches(bytes(65536))
    # Nothing at all, but under another content codec.
    assert not cids.is_empty(cids.root_cid(cids.EMPTY_BLOCK.digest))


def test_field_elements_are_named(vectors: Vectors) -> None:
    row = vectors("slots")["cids_of_field_element_12345"]
    element = (12345).to_bytes(32, "little")
    for cid, name, codec, code in (
        (cids.slot_cell_cid(element), "cell", cids.CODEX_SLOT_CELL, cids.POSEIDON2_MERKLE_2KB),
        (cids.slot_root_cid(element), "slot", cids.CODEX_SLOT_ROOT, cids.IDENTITY),
        (cids.proving_root_cid(element), "verify", cids.CODEX_PROVING_ROOT, cids.IDENTITY),
    ):
        assert str(cid) == row[name]
        assert cid.raw.hex() == row[f"{name}_hex"]
        assert (cid.codec, cid.multihash_code, cid.digest) == (codec, code, element)
        assert Cid.parse(row[name]) == cid


def test_the_prefixes_are_what_they_say() -> None:
    for prefix, codec, code in (
        (cids.BLOCK_PREFIX, cids.CODEX_BLOCK, cids.SHA2_256),
        (cids.ROOT_PREFIX, cids.CODEX_ROOT, cids.SHA2_256),
        (cids.MANIFEST_PREFIX, cids.CODEX_MANIFEST, cids.SHA2_256),
        (cids.SLOT_ROOT_PREFIX, cids.CODEX_SLOT_ROOT, cids.IDENTITY),
        (cids.PROVING_ROOT_PREFIX, cids.CODEX_PROVING_ROOT, cids.IDENTITY),
        (cids.SLOT_CELL_PREFIX, cids.CODEX_SLOT_CELL, cids.POSEIDON2_MERKLE_2KB),
    ):
        assert prefix + bytes(32) == _v1(codec, code, bytes(32))


@settings(deadline=None)
@given(_PREFIX, _DIGEST)
def test_a_cid_reads_back_from_bytes_and_from_every_base(prefix: bytes, digest: bytes) -> None:
    cid = Cid.from_bytes(memoryview(prefix + digest))
    assert cid.raw == prefix + digest
    assert cid.digest == digest
    assert cid.multihash.endswith(digest)
    assert Cid.parse(str(cid)) == cid
    for base in multibase.BASES:
        assert Cid.parse(multibase.encode(base, cid.raw)) == cid


@settings(deadline=None)
@given(_DIGEST)
def test_version_0(digest: bytes) -> None:
    cid = Cid.from_bytes(b"\x12\x20" + digest)
    assert (cid.version, cid.codec, cid.multihash_code) == (0, cids.DAG_PB, cids.SHA2_256)
    assert cid.digest == digest
    assert cid.multihash == cid.raw
    text = str(cid)
    assert text.startswith("Qm")
    assert len(text) == 46
    assert Cid.parse(text) == cid
    with pytest.raises(DecodeError, match="no multibase prefix"):
        Cid.parse("z" + text)


def test_two_are_equal_when_their_bytes_are() -> None:
    one, same, other = (cids.block_cid(hashlib.sha256(data).digest()) for data in (b"a", b"a", b"b"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert {one: 1}[same] == 1
    assert one != one.raw
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != cids.root_cid(one.digest)


def test_it_shows_its_text() -> None:
    assert repr(cids.EMPTY_BLOCK) == "Cid('zDxWB8EDDsokSpiTXNRpv1jS2LXjEdLgTiDfxFd7Eo8CSPKVj93r')"


def test_a_cid_knows_its_data() -> None:
    data = b"some file contents"
    sha256 = cids.block_cid(hashlib.sha256(data).digest())
    sha512 = Cid.from_bytes(_v1(cids.CODEX_BLOCK, cids.SHA2_512, hashlib.sha512(data).digest()))
    identity = Cid.from_bytes(_v1(cids.RAW, cids.IDENTITY, data))
    v0 = Cid(b"\x12\x20" + hashlib.sha256(data).digest())
    for cid in (sha256, sha512, identity, v0):
        assert cid.matches(data)
        assert cid.matches(memoryview(data))
        assert not cid.matches(data + b"\0")
        assert not cid.matches(b"")
    assert not cids.slot_cell_cid(bytes(32)).matches(bytes(32))
    assert cids.manifest_cid(data).matches(data)
    assert cids.EMPTY_BLOCK.matches(b"")


@pytest.mark.parametrize(
    ("codec", "code", "size"),
    [
        (cids.RAW, cids.SHA2_256, 32),
        (cids.DAG_CBOR, cids.SHA2_512, 64),
        (cids.JSON, 0x1B, 32),  # keccak-256
        (cids.DAG_JSON, 0x11, 20),  # sha1
        (cids.RAW, 0xB220, 32),  # blake2b-256
        (cids.RAW, 0x1E, 17),  # blake3, of any length
        (cids.LIBP2P_KEY, cids.IDENTITY, 37),
        (cids.RAW, cids.IDENTITY, 0),
        (cids.RAW, cids.IDENTITY, 30),  # as many bytes in all as version 0 has
        (cids.RAW, cids.IDENTITY, 34),  # as many bytes in all as the daily kinds have
        (cids.RAW, cids.IDENTITY, cids.MAX_DIGEST),
        (cids.CODEX_SLOT_CELL, cids.POSEIDON2_SPONGE, 32),
    ],
)
def test_foreign_kinds_are_taken(codec: int, code: int, size: int) -> None:
    cid = Cid.from_bytes(_v1(codec, code, bytes(range(size))))
    assert (cid.version, cid.codec, cid.multihash_code, cid.digest) == (1, codec, code, bytes(range(size)))
    assert Cid.parse(str(cid)) == cid


_SOME = bytes(32)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "1 to 160 bytes"),
        (b"\x01", "varint"),
        (b"\x00" + _v1(0xCD02, 0x12, _SOME)[1:], "0 is no version"),
        (b"\x02" + _v1(0xCD02, 0x12, _SOME)[1:], "2 is no version"),
        (_v1(0xCD07, 0x12, _SOME), "content codec 0xcd07"),
        (_v1(0x00, 0x12, _SOME), "content codec 0x0"),
        (_v1(0xCD02, 0xCD13, _SOME), "hash 0xcd13 is unknown"),
        (_v1(0xCD02, 0x05, _SOME), "hash 0x5 is unknown"),
        (_v1(0xCD02, 0x12, bytes(31)), "has 31 bytes, not 32"),
        (_v1(0xCD02, 0x12, bytes(33)), "has 33 bytes, not 32"),
        (_v1(0xCD02, 0x13, bytes(32)), "has 32 bytes, not 64"),
        (_v1(0x55, 0x1B, bytes(31)), "has 31 bytes, not 32"),
        (_v1(0xCD04, 0x00, bytes(129)), "not as long as it says"),
        (_v1(0xCD02, 0x12, _SOME) + b"\0", "not as long as it says"),
        (_v1(0xCD02, 0x12, _SOME)[:-1], "not as long as it says"),
        (b"\x12\x20" + bytes(31), "18 is no version"),
        (b"\x12\x20" + bytes(33), "18 is no version"),
        (b"\x81\x00" + _v1(0xCD02, 0x12, _SOME)[1:], "longer than it need be"),
        (bytes.fromhex("01829a8300") + b"\x12\x20" + _SOME, "longer than it need be"),
        (bytes.fromhex("01829a03") + b"\x92\x00\x20" + _SOME, "longer than it need be"),
        (b"\x01" * (cids.MAX_BYTES + 1), "1 to 160 bytes"),
    ],
)
def test_other_bytes_are_refused(raw: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        Cid.from_bytes(raw)


def test_long_text_is_refused_at_once() -> None:
    with pytest.raises(DecodeError, match="characters"):
        Cid.parse("z" * (cids.MAX_TEXT + 1))
    with pytest.raises(DecodeError, match="bytes"):
        Cid.parse("f" + "01" * (cids.MAX_BYTES + 1))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60) | st.builds(lambda head, rest: head + rest, _PREFIX, st.binary(max_size=40)))
def test_any_bytes_give_a_cid_or_a_refusal(raw: bytes) -> None:
    try:
        cid = Cid.from_bytes(raw)
    except DecodeError:
        return
    assert cid.raw == raw
    assert len(cid.digest) <= cids.MAX_DIGEST
    assert Cid.parse(str(cid)) == cid
    assert isinstance(cid.matches(b"x"), bool)
    assert cid.codec in cids.CODECS


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60) | st.from_regex(r"(Qm|z|b|f)[1-9A-HJ-NP-Za-z]{40,60}", fullmatch=True))
def test_any_text_gives_a_cid_or_a_refusal(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except DecodeError:
        return
    assert Cid.from_bytes(cid.raw) == cid
