"""Multibase: every base both ways, against values from elsewhere and against the standard library."""

import base64

import base58
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import multibase
from codex.errors import DecodeError

_YES = b"yes mani !"


@pytest.mark.parametrize(
    ("base", "text"),
    [
        # The multibase specification spells out this sentence in every base.
        ("base2", "001111001011001010111001100100000011011010110000101101110011010010010000000100001"),
        ("base8", "7362625631006654133464440102"),
        ("base10", "9573277761329450583662625"),
        ("base16", "f796573206d616e692021"),
        ("base16upper", "F796573206D616E692021"),
        ("base32", "bpfsxgidnmfxgsibb"),
        ("base32upper", "BPFSXGIDNMFXGSIBB"),
        ("base32hex", "vf5in683dc5n6i811"),
        ("base32hexupper", "VF5IN683DC5N6I811"),
        ("base32pad", "cpfsxgidnmfxgsibb"),
        ("base32z", "hxf1zgedpcfzg1ebb"),
        ("base36", "k2lcpzo5yikidynfl"),
        ("base36upper", "K2LCPZO5YIKIDYNFL"),
        ("base58btc", "z7paNL19xttacUY"),
        ("base58flickr", "Z7Pznk19XTTzBtx"),
        ("base64", "meWVzIG1hbmkgIQ"),
        ("base64pad", "MeWVzIG1hbmkgIQ=="),
        ("base64url", "ueWVzIG1hbmkgIQ"),
        ("base64urlpad", "UeWVzIG1hbmkgIQ=="),
    ],
)
def test_the_sentence_of_the_specification(base: str, text: str) -> None:
    assert multibase.encode(base, _YES) == text
    assert multibase.decode(text) == _YES


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(multibase.BASES)), st.binary(max_size=200))
def test_bytes_read_back_in_every_base(base: str, data: bytes) -> None:
    text = multibase.encode(base, data)
    assert text[0] == multibase.BASES[base].prefix
    assert multibase.decode(text) == data


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_bases_agree_with_other_implementations(data: bytes) -> None:
    assert multibase.encode("base58btc", data)[1:] == base58.b58encode(data).decode()
    assert multibase.encode("base32padupper", data)[1:] == base64.b32encode(data).decode()
    assert multibase.encode("base32hexpadupper", data)[1:] == base64.b32hexencode(data).decode()
    assert multibase.encode("base64pad", data)[1:] == base64.b64encode(data).decode()
    assert multibase.encode("base64urlpad", data)[1:] == base64.urlsafe_b64encode(data).decode()
    assert multibase.encode("base16", data)[1:] == data.hex()


def test_leading_zeros_are_kept() -> None:
    for base in multibase.BASES:
        for data in (b"", b"\0", b"\0\0\x01", b"\0" * 40):
            assert multibase.decode(multibase.encode(base, data)) == data


def test_case_is_free_where_a_base_has_none() -> None:
    assert multibase.decode("bPFSXGIDNMFXGSIBB") == _YES
    assert multibase.decode("F796573206d616e692021") == _YES
    assert multibase.decode("K2lcpzo5yikidynfl") == _YES


@pytest.mark.parametrize(
    "text",
    [
        *("", "!", "zDv0", "z é", "zO", "x00", "\0abc"),
        *("0123", "78", "9a", "fgg", "b0", "b1", "m-", "u+", "hl"),  # digits of another base
        *("f7", "b7", "bab", "m7", "mYWJ", "01", "71", "mYWJjZ"),  # bits left over, or too few characters
        *("MYQ", "MYQ=", "MYQ===", "M====", "mYQ==", "cme", "cme=====", "c=", "M=YQ="),  # padding
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        multibase.decode(text)


def test_long_text_is_refused_before_it_costs_anything() -> None:
    with pytest.raises(DecodeError, match="more than 8192"):
        multibase.decode("z" + "2" * multibase.MAX_TEXT)
    with pytest.raises(DecodeError, match="more than 10"):
        multibase.decode("f" + "00" * 10, limit=10)


def test_a_base_that_is_unknown_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        multibase.encode("base57", b"")


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([base.prefix for base in multibase.BASES.values()]) | st.characters(),
    st.text(max_size=40),
)
def test_any_text_gives_bytes_or_a_refusal(prefix: str, text: str) -> None:
    try:
        data = multibase.decode(prefix + text)
    except DecodeError:
        return
    base = next(base for base in multibase.BASES.values() if base.prefix == prefix)
    again = multibase.encode(base.name, data)
    # Text that is read is canonical, but for the case where there is none.
    assert again == prefix + text or (not base.cased and again.lower() == (prefix + text).lower())
