"""Manifests: the bytes of the reference both ways, and what is no manifest."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import protobuf
from codex.codec.cid import Cid, block_cid, proving_root_cid, root_cid, slot_root_cid
from codex.data import BLOCK_SIZE, MAX_MANIFEST, Manifest, Protection, Strategy, Verification
from codex.errors import DecodeError, InvalidInput

Vectors = Callable[[str], Any]

_TREE = root_cid(bytes(range(32)))
_ORIGINAL = root_cid(bytes(range(1, 33)))
_BASIC = Manifest.of_upload(_TREE, 200_000, "codex.png", "image/png")
_VERIFICATION = Verification(
    proving_root_cid(bytes(32)), tuple(slot_root_cid(i.to_bytes(32, "little")) for i in range(5))
)
_PROTECTION = Protection(3, 2, _ORIGINAL, 5 * BLOCK_SIZE - 7, Strategy.STEPPED, _VERIFICATION)
_VERIFIABLE = Manifest(tree_cid=_TREE, dataset_size=10 * BLOCK_SIZE, filename="a", protection=_PROTECTION)


def _fields(manifest: Manifest) -> dict[str, object]:
    """A manifest the way the known ones are written down."""
    some: dict[str, object] = {
        "tree_cid": str(manifest.tree_cid),
        "block_size": manifest.block_size,
        "dataset_size": manifest.dataset_size,
        "codec": hex(manifest.codec),
        "hcodec": hex(manifest.hcodec),
        "version_ordinal": manifest.version + 1,
        "protected": manifest.protected,
        "filename": manifest.filename,
        "mimetype": manifest.mimetype,
    }
    if manifest.protection is not None:
        some |= {
            "ec_k": manifest.protection.ec_k,
            "ec_m": manifest.protection.ec_m,
            "original_tree_cid": str(manifest.protection.original_tree_cid),
            "original_dataset_size": manifest.protection.original_dataset_size,
            "protected_strategy": int(manifest.protection.strategy),
            "verifiable": manifest.verifiable,
        }
        if manifest.protection.verification is not None:
            verification = manifest.protection.verification
            some |= {
                "verify_root_cid": str(verification.verify_root),
                "slot_root_cids": [str(root) for root in verification.slot_roots],
                "cell_size": verification.cell_size,
                "verifiable_strategy": int(verification.strategy),
            }
    return some


def _check(row: dict[str, Any]) -> Manifest:
    data = bytes.fromhex(row["hex"])
    manifest = Manifest.from_bytes(memoryview(data))
    assert _fields(manifest) == row["fields"]
    assert manifest.to_bytes() == data
    assert str(manifest.cid) == row["cid"]
    return manifest


def test_known_manifests(vectors: Vectors) -> None:
    rows = vectors("manifest")["manifests"]
    assert len(rows) > 15
    for row in rows:
        _check(row)


def test_manifests_of_storage_requests(vectors: Vectors) -> None:
    cases = vectors("protected")["cases"]
    assert len(cases) > 10
    for case in cases:
        original = _check(case["original_manifest"])
        verifiable = _check(case["verifiable_manifest"])
        assert verifiable.as_original() == original
        assert verifiable.original_size == case["bytes"]
        geometry = case["geometry"]
        assert verifiable.original_block_count == geometry["original_blocks"]
        assert verifiable.rounded - verifiable.original_block_count == geometry["padding_blocks"]
        assert verifiable.block_count - verifiable.rounded == geometry["parity_blocks"]
        assert verifiable.steps == verifiable.slot_block_count == geometry["steps"]
        listed = case["verifiable_manifest"]["listed_as"]
        assert (verifiable.protected, verifiable.verifiable) == (listed["protected"], listed["verifiable"])


def test_manifests_of_slots(vectors: Vectors) -> None:
    rows = vectors("slots")["datasets"]
    assert rows
    for row in rows:
        protected = Manifest.from_bytes(bytes.fromhex(row["protected_manifest"]["hex"]))
        assert str(protected.cid) == row["protected_manifest"]["cid"]
        assert (protected.protected, protected.verifiable) == (True, False)
        assert (protected.slot_count, protected.steps) == (row["K"] + row["M"], row["steps"])
        assert (protected.rounded, protected.block_count) == (row["rounded"], row["total_blocks"])
        assert str(protected.as_original().cid) == row["original_manifest_cid"]
        assert protected.protection is not None
        verifiable = evolve(
            protected,
            protection=evolve(
                protected.protection,
                verification=Verification(
                    Cid.parse(row["slots"]["verify_root_cid"]),
                    tuple(Cid.parse(text) for text in row["slots"]["slot_root_cids"]),
                ),
            ),
        )
        assert verifiable.to_bytes().hex() == row["verifiable_manifest"]["hex"]
        assert str(verifiable.cid) == row["verifiable_manifest"]["cid"]


def test_known_manifests_to_refuse(vectors: Vectors) -> None:
    rows = vectors("manifest")["to_reject"]
    assert rows
    # The last one is of a later network, which numbers the fields in another way.
    for row in (*rows, vectors("manifest")["other_numbering_2026"]):
        with pytest.raises(DecodeError):
            Manifest.from_bytes(bytes.fromhex(row["hex"]))


def test_an_upload() -> None:
    same = Manifest(tree_cid=_TREE, dataset_size=200_000, filename="codex.png", mimetype="image/png")
    assert same == _BASIC
    assert (_BASIC.block_size, _BASIC.block_count, _BASIC.original_block_count) == (65536, 4, 4)
    assert _BASIC.original_size == 200_000
    assert _BASIC.original_tree_cid == _TREE
    assert not _BASIC.protected
    assert not _BASIC.verifiable
    assert _BASIC.as_original() is _BASIC


def test_an_empty_name_is_an_absent_one() -> None:
    bare = Manifest.of_upload(_TREE, 1)
    assert Manifest.of_upload(_TREE, 1, "", "") == bare
    header = protobuf.Message(bare.to_bytes()).bytes(1) or b""
    named = protobuf.Writer().bytes(1, header + protobuf.Writer().text(8, "").text(9, "").finish()).finish()
    assert Manifest.from_bytes(named) == bare


def test_only_a_protected_dataset_has_rows() -> None:
    for ask in ("rounded", "steps", "slot_count", "slot_block_count"):
        with pytest.raises(InvalidInput, match="not protected"):
            getattr(_BASIC, ask)


def test_the_rows_of_a_protected_dataset() -> None:
    assert (_VERIFIABLE.original_block_count, _VERIFIABLE.rounded, _VERIFIABLE.steps) == (5, 6, 2)
    assert (_VERIFIABLE.slot_count, _VERIFIABLE.slot_block_count, _VERIFIABLE.block_count) == (5, 2, 10)
    assert _VERIFIABLE.original_size == 5 * BLOCK_SIZE - 7
    assert _VERIFIABLE.as_original() == Manifest.of_upload(_ORIGINAL, 5 * BLOCK_SIZE - 7, "a")
    assert _VERIFIABLE.original_tree_cid == _ORIGINAL


def _verification(**changes: Any) -> Manifest:
    verification = evolve(_VERIFICATION, **changes)
    return evolve(_VERIFIABLE, protection=evolve(_PROTECTION, verification=verification))


def _protection(**changes: Any) -> Manifest:
    return evolve(_VERIFIABLE, protection=evolve(_PROTECTION, **changes))


_BROKEN = [
    (evolve(_BASIC, version=0), "version"),
    (evolve(_BASIC, version=2), "version"),
    (evolve(_BASIC, codec=0x55), "Codex blocks"),
    (evolve(_BASIC, hcodec=0x13), "Codex blocks"),
    (evolve(_BASIC, block_size=0), "0 bytes"),
    (evolve(_BASIC, block_size=2**32 - 1), "4294967295 bytes"),
    (evolve(_BASIC, dataset_size=2**63), "9223372036854775808 bytes"),
    (evolve(_BASIC, tree_cid=block_cid(bytes(32))), "names no tree"),
    (evolve(_VERIFIABLE, dataset_size=9 * BLOCK_SIZE), "do not make 9"),
    (evolve(_VERIFIABLE, dataset_size=10 * BLOCK_SIZE + 1), "do not make 11"),
    (_protection(ec_k=0), "K = 0"),
    (_protection(ec_k=65535), "K = 65535"),
    (_protection(ec_k=4), "K = 4 and M = 2 do not make 10"),
    (_protection(original_dataset_size=2**63), "9223372036854775808 bytes"),
    (_protection(original_tree_cid=Cid(b"\x12\x20" + bytes(32))), "original tree CID"),
    (_verification(slot_roots=_VERIFICATION.slot_roots[:4]), "4 slot roots for 5 slots"),
    (_verification(slot_roots=()), "0 slot roots for 5 slots"),
    (_verification(slot_roots=(*_VERIFICATION.slot_roots[:4], block_cid(bytes(32)))), "names no slot root"),
    (_verification(verify_root=slot_root_cid(bytes(32))), "names no proving root"),
    (_verification(cell_size=0), "cell cannot have 0 bytes"),
]


@pytest.mark.parametrize(("manifest", "why"), _BROKEN)
def test_a_broken_manifest_is_not_written(manifest: Manifest, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"broken manifest: .*{why}"):
        manifest.verify()
    with pytest.raises(InvalidInput, match=why):
        manifest.to_bytes()


@pytest.mark.parametrize(("manifest", "why"), _BROKEN)
def test_a_broken_manifest_is_not_read(manifest: Manifest, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a node that does not check would write.
    with monkeypatch.context() as unchecked:
        unchecked.setattr(Manifest, "verify", lambda self: None)
        data = manifest.to_bytes()
    with pytest.raises(DecodeError, match=f"broken manifest: .*{why}"):
        Manifest.from_bytes(data)


def test_negative_numbers_are_broken() -> None:
    for manifest in (evolve(_BASIC, dataset_size=-1), evolve(_BASIC, block_size=-1), _protection(ec_m=-1)):
        with pytest.raises(InvalidInput, match="broken manifest"):
            manifest.to_bytes()


def test_parity_may_be_absent() -> None:
    protection = Protection(2, 0, _ORIGINAL, 3 * BLOCK_SIZE)
    manifest = Manifest(tree_cid=_TREE, dataset_size=4 * BLOCK_SIZE, protection=protection)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


def _header(*, without: int = 0) -> protobuf.Writer:
    out = protobuf.Writer()
    for number, value in ((1, _TREE.raw), (2, 65536), (3, 18), (4, 0xCD02), (5, 0x12), (6, 2)):
        if number == without:
            continue
        if isinstance(value, int):
            out.varint(number, value)
        else:
            out.bytes(number, value)
    return out


def _outer(header: protobuf.Writer) -> bytes:
    return protobuf.Writer().message(1, header).finish()


def test_a_manifest_is_read_forgivingly() -> None:
    plain = Manifest.of_upload(_TREE, 18)
    assert Manifest.from_bytes(_outer(_header())) == plain
    assert Manifest.from_bytes(_outer(_header().varint(14, 1).bytes(200, b"?").bytes(7, b""))) == plain
    # The size may be absent, as zeros are where another writer leaves them out.
    assert Manifest.from_bytes(_outer(_header(without=3))).dataset_size == 0


@pytest.mark.parametrize("without", [1, 2, 4, 5, 6])
def test_a_manifest_needs_its_fields(without: int) -> None:
    with pytest.raises(DecodeError):
        Manifest.from_bytes(_outer(_header(without=without)))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (_header().varint(2, 2**32), "32 bits"),
        (_header().bytes(1, b"\x01"), "varint"),
        (_header().text(7, "a filename of another network"), "wire type|ends inside|varint"),
        (_header().bytes(7, b"\x08\x01"), "original tree CID is missing"),
        (_header().message(7, protobuf.Writer().bytes(3, _ORIGINAL.raw).varint(5, 2)), "strategy 2"),
        (
            _header().message(
                7,
                protobuf.Writer().varint(1, 1).bytes(3, _ORIGINAL.raw).bytes(6, b"\x18\x01"),
            ),
            "verify root CID is missing",
        ),
    ],
)
def test_broken_fields_are_refused(header: protobuf.Writer, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        Manifest.from_bytes(_outer(header))


@pytest.mark.parametrize("data", [b"", b"\x12\x00", b"\x0a\x00", b"\x08\x01", b"some file contents"])
def test_other_data_is_no_manifest(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Manifest.from_bytes(data)


def test_a_name_that_is_not_text_is_taken() -> None:
    latin = Manifest.from_bytes(_outer(_header().bytes(8, "größe".encode("latin-1"))))
    assert latin.filename == "gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e"
    assert Manifest.from_bytes(latin.to_bytes()) == latin


def test_a_name_that_is_not_unicode_is_not_written() -> None:
    with pytest.raises(InvalidInput, match="Unicode"):
        Manifest.of_upload(_TREE, 1, filename="\udcff").to_bytes()


def test_size_is_bounded() -> None:
    long = Manifest.of_upload(_TREE, 1, filename="x" * MAX_MANIFEST)
    with pytest.raises(InvalidInput, match="more than 262144"):
        long.to_bytes()
    with pytest.raises(DecodeError, match="more than 262144"):
        Manifest.from_bytes(bytes(MAX_MANIFEST + 1))
    count = 6000
    roots = tuple(slot_root_cid(i.to_bytes(32)) for i in range(count))
    protection = Protection(
        count - 1, 1, _ORIGINAL, 1, verification=Verification(proving_root_cid(bytes(32)), roots)
    )
    large = Manifest(tree_cid=_TREE, dataset_size=count * BLOCK_SIZE, protection=protection)
    assert Manifest.from_bytes(large.to_bytes()) == large


@pytest.mark.parametrize("filler", [b"\x12\x00", b"\x18\x01", b"\x0a\x00", b"\x80\x01\x01"])
def test_hostile_bytes_take_little_memory(filler: bytes) -> None:
    stuffed = filler * ((MAX_MANIFEST - 10) // len(filler))
    data = protobuf.Writer().bytes(1, stuffed).finish()
    assert len(data) <= MAX_MANIFEST
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            Manifest.from_bytes(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_MANIFEST


_CIDS = st.binary(min_size=32, max_size=32)
_NAMES = st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@st.composite
def _manifests(draw: st.DrawFn) -> Manifest:
    block_size = draw(st.sampled_from([1, 4096, BLOCK_SIZE, 100 * 2**20]))
    original = draw(st.integers(0, 2**40))
    tree, names = root_cid(draw(_CIDS)), (draw(_NAMES), draw(_NAMES))
    plain = Manifest(
        tree_cid=tree, block_size=block_size, dataset_size=original, filename=names[0], mimetype=names[1]
    )
    if draw(st.booleans()):
        return plain
    k, m = draw(st.integers(1, 20)), draw(st.integers(0, 20))
    verification = None
    if draw(st.booleans()):
        roots = tuple(slot_root_cid(draw(_CIDS)) for _ in range(k + m))
        verification = Verification(
            proving_root_cid(draw(_CIDS)),
            roots,
            draw(st.integers(1, 2**32 - 1)),
            draw(st.sampled_from(Strategy)),
        )
    strategy = draw(st.sampled_from(Strategy))
    protection = Protection(k, m, root_cid(draw(_CIDS)), original, strategy, verification)
    steps = -(-plain.block_count // k)
    return evolve(plain, dataset_size=steps * (k + m) * block_size, protection=protection)


@settings(deadline=None)
@given(_manifests())
def test_every_manifest_reads_back(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    assert Manifest.from_bytes(data) == manifest
    assert manifest.cid.matches(data)
    assert not manifest.as_original().protected
    assert manifest.as_original().dataset_size == manifest.original_size
    if manifest.protected:
        assert manifest.rounded % manifest.steps == 0 if manifest.steps else manifest.rounded == 0
        assert manifest.steps == manifest.slot_block_count
        assert manifest.original_block_count <= manifest.rounded <= manifest.block_count


_SEEDS = [_BASIC.to_bytes(), _VERIFIABLE.to_bytes()]


@settings(deadline=None, max_examples=400)
@given(
    st.binary(max_size=100)
    | st.builds(
        lambda seed, at, cut, new: seed[:at] + new + seed[at + cut :],
        st.sampled_from(_SEEDS),
        st.integers(0, 420),
        st.integers(0, 8),
        st.binary(max_size=8),
    )
)
def test_any_bytes_give_a_manifest_or_a_refusal(data: bytes) -> None:
    try:
        manifest = Manifest.from_bytes(data)
    except DecodeError:
        return
    manifest.verify()
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    assert manifest.as_original().block_count >= 0
