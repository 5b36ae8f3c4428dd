"""Protection and verification by themselves; inside manifests they are held to the reference's bytes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import protobuf
from codex.codec.cid import Cid, proving_root_cid, root_cid, slot_root_cid
from codex.data import CELL_SIZE, Protection, Strategy, Verification
from codex.errors import DecodeError

Vectors = Callable[[str], Any]

_DIGEST = st.binary(min_size=32, max_size=32)
_UINT32 = st.integers(0, 2**32 - 1)

_VERIFICATIONS = st.builds(
    Verification,
    verify_root=_DIGEST.map(proving_root_cid),
    slot_roots=st.lists(_DIGEST.map(slot_root_cid), max_size=6).map(tuple),
    cell_size=_UINT32,
    strategy=st.sampled_from(Strategy),
)
_PROTECTIONS = st.builds(
    Protection,
    ec_k=_UINT32,
    ec_m=_UINT32,
    original_tree_cid=_DIGEST.map(root_cid),
    original_dataset_size=st.integers(0, 2**64 - 1),
    strategy=st.sampled_from(Strategy),
    verification=st.none() | _VERIFICATIONS,
)


@settings(deadline=None)
@given(_PROTECTIONS)
def test_it_reads_back(protection: Protection) -> None:
    assert Protection.from_bytes(protection.encoder().finish()) == protection
    if protection.verification is not None:
        assert Verification.from_bytes(protection.verification.encoder().finish()) == protection.verification


def test_a_known_verification(vectors: Vectors) -> None:
    for row in vectors("slots")["datasets"]:
        roots = tuple(Cid.parse(text) for text in row["slots"]["slot_root_cids"])
        verification = Verification(Cid.parse(row["slots"]["verify_root_cid"]), roots)
        assert (verification.cell_size, verification.strategy) == (CELL_SIZE, Strategy.LINEAR)
        assert verification.encoder().finish().hex() in row["verifiable_manifest"]["hex"]
        assert verification.broken(row["K"] + row["M"]) == ""
        assert "slot roots for" in verification.broken(row["K"])


@pytest.mark.parametrize("strategy", [2, 255, 2**64 - 1])
def test_a_strategy_that_is_unknown_is_refused(strategy: int) -> None:
    tree, root = root_cid(bytes(32)).raw, proving_root_cid(bytes(32)).raw
    with pytest.raises(DecodeError, match=f"strategy {strategy} is unknown"):
        Protection.from_bytes(protobuf.Writer().bytes(3, tree).varint(5, strategy).finish())
    with pytest.raises(DecodeError, match=f"strategy {strategy} is unknown"):
        Verification.from_bytes(protobuf.Writer().bytes(1, root).varint(4, strategy).finish())


def test_the_trees_must_be_named() -> None:
    with pytest.raises(DecodeError, match="original tree CID is missing"):
        Protection.from_bytes(b"")
    with pytest.raises(DecodeError, match="verify root CID is missing"):
        Verification.from_bytes(b"")


_SEED = (
    Protection(2, 1, root_cid(bytes(32)), 7, verification=Verification(proving_root_cid(bytes(32)), ()))
    .encoder()
    .finish()
)


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=60)
    | st.builds(
        lambda at, cut, new: _SEED[:at] + new + _SEED[at + cut :],
        st.integers(0, len(_SEED)),
        st.integers(0, 8),
        st.binary(max_size=8),
    )
)
def test_any_bytes_give_a_value_or_a_refusal(data: bytes) -> None:
    for kind in (Protection, Verification):
        try:
            value = kind.from_bytes(data)
        except DecodeError:
            continue
        assert kind.from_bytes(value.encoder().finish()) == value
