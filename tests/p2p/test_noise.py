"""Noise: the published vectors both ways, what is sealed and framed, and that nothing false is opened."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from codex.errors import DecodeError
from codex.p2p.noise import (
    KEY_SIZE,
    MAX_FRAME,
    MAX_PLAIN,
    OVERHEAD,
    TAG_SIZE,
    Cipher,
    Frames,
    Handshake,
    Keys,
    frame,
)
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]
KEY = bytes(range(KEY_SIZE))


def keys(name: str) -> Keys:
    entropy = SeededEntropy(name)
    return Keys(entropy.token(KEY_SIZE), entropy.token(KEY_SIZE))


def pair() -> tuple[Handshake, Handshake]:
    return Handshake(keys("alice"), initiator=True), Handshake(keys("bob"), initiator=False)


def agreed() -> tuple[tuple[Cipher, Cipher], tuple[Cipher, Cipher]]:
    alice, bob = pair()
    bob.read(alice.write())
    alice.read(bob.write())
    bob.read(alice.write())
    return alice.ciphers(), bob.ciphers()


def sealed_frames(cipher: Cipher, messages: list[list[bytes]]) -> bytes:
    out = bytearray(sum(sum(map(len, parts)) + OVERHEAD for parts in messages))
    size = cipher.seal_frames(messages, out)
    assert size == len(out)
    return bytes(out)


@pytest.mark.parametrize("source", ["cacophony", "snow"])
def test_published_vectors(vectors: Vectors, source: str) -> None:
    [row] = [row for row in vectors("noise")["vectors"] if row["source"] == source]
    sides = [
        Handshake(
            Keys(bytes.fromhex(row[f"{who}_static"]), bytes.fromhex(row[f"{who}_ephemeral"])),
            initiator=who == "init",
            prologue=bytes.fromhex(row[f"{who}_prologue"]),
        )
        for who in ("init", "resp")
    ]
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in row["messages"]]
    for turn, (payload, ciphertext) in enumerate(messages[:3]):
        writer, reader = sides[turn % 2], sides[1 - turn % 2]
        assert writer.writes
        assert not reader.writes
        assert writer.write(payload) == ciphertext
        assert reader.read(ciphertext) == payload
    assert all(side.done for side in sides)
    if "handshake_hash" in row:
        assert {side.hash.hex() for side in sides} == {row["handshake_hash"]}
    ciphers = [side.ciphers() for side in sides]
    for turn, (payload, ciphertext) in enumerate(messages[3:], 3):
        assert ciphers[turn % 2][0].seal(payload) == ciphertext
        assert ciphers[1 - turn % 2][1].open(ciphertext) == payload


def test_each_side_learns_the_static_key_of_the_other() -> None:
    alice, bob = pair()
    assert alice.remote_static is None
    assert [alice.shows_static, bob.shows_static] == [False, False]
    bob.read(alice.write(b"open to all"))
    assert [alice.shows_static, bob.shows_static] == [True, True]
    assert bob.remote_static is None
    assert alice.read(bob.write(b"secret")) == b"secret"
    assert alice.remote_static == bob.static
    assert bob.read(alice.write(b"secret too")) == b"secret too"
    assert bob.remote_static == alice.static
    assert (
        alice.static
        == X25519PrivateKey.from_private_bytes(keys("alice").static).public_key().public_bytes_raw()
    )
    assert not alice.shows_static


def test_messages_out_of_turn_are_a_mistake_of_ours() -> None:
    alice, bob = pair()
    with pytest.raises(ValueError, match="not ours"):
        bob.write()
    with pytest.raises(ValueError, match="not the other side's"):
        alice.read(b"")
    with pytest.raises(ValueError, match="not done"):
        alice.ciphers()


@given(st.data())
def test_a_changed_bit_ends_the_handshake(data: st.DataObject) -> None:
    alice, bob = pair()
    first = alice.write()
    bob.read(first)
    second = bob.write(b"payload")
    at = data.draw(st.integers(0, 8 * len(second) - 1))
    forged = bytearray(second)
    forged[at // 8] ^= 1 << at % 8
    # X25519 does not look at the highest bit of a key, but the hash over all that was sent does.
    with pytest.raises(DecodeError):
        alice.read(bytes(forged))


@pytest.mark.parametrize("size", [0, 31])
def test_a_first_message_that_is_too_short(size: int) -> None:
    with pytest.raises(DecodeError, match="too short"):
        pair()[1].read(bytes(size))


@pytest.mark.parametrize("size", [0, 31, 32, 79, 80, 95])
def test_a_second_message_that_is_too_short(size: int) -> None:
    alice, bob = pair()
    bob.read(alice.write())
    with pytest.raises(DecodeError):
        alice.read(bob.write()[:size])


def test_a_key_that_gives_away_the_secret_is_refused() -> None:
    _, bob = pair()
    bob.read(bytes(KEY_SIZE))
    with pytest.raises(DecodeError, match="gives away"):
        bob.write()


def test_what_is_sealed_cannot_be_opened_twice_or_out_of_order() -> None:
    (alice, _), (_, bob) = agreed()
    first, second = alice.seal(b"first"), alice.seal(b"second")
    with pytest.raises(DecodeError):
        bob.open(second)
    assert bob.open(first) == b"first"
    with pytest.raises(DecodeError):
        bob.open(first)
    assert bob.open(second) == b"second"


def test_the_two_directions_have_keys_of_their_own() -> None:
    (alice_sends, alice_receives), _ = agreed()
    with pytest.raises(DecodeError):
        alice_receives.open(alice_sends.seal(b"back to where it came from"))


@given(
    st.lists(st.lists(st.binary(max_size=40), max_size=4), max_size=8),
    st.lists(st.integers(1, 30), max_size=60),
)
def test_frames_come_out_however_the_bytes_are_cut(messages: list[list[bytes]], cuts: list[int]) -> None:
    wire = sealed_frames(Cipher(KEY), messages)
    receiving, frames, opened = Cipher(KEY), Frames(), []
    for size in [*cuts, len(wire)]:
        piece, wire = wire[:size], wire[size:]
        opened.append(bytes(receiving.open_all(list(frames.feed(piece)))))
    assert b"".join(opened) == b"".join([part for parts in messages for part in parts])


def test_the_longest_frames_side_by_side() -> None:
    messages = [[bytes(MAX_PLAIN)], [b"x" * 5, b"y" * (MAX_PLAIN - 5)], [b"z"]]
    wire = sealed_frames(Cipher(KEY), messages)
    assert wire[:2] == MAX_FRAME.to_bytes(2, "big")
    receiving, frames, opened = Cipher(KEY), Frames(), []
    for at in range(0, len(wire), 50_000):
        opened += [receiving.open(message) for message in frames.feed(wire[at : at + 50_000])]
    assert opened == [b"".join(parts) for parts in messages]


def test_frames_and_single_messages_share_the_count() -> None:
    sending, receiving = Cipher(KEY), Cipher(KEY)
    assert receiving.open(sending.seal(b"one")) == b"one"
    wire = sealed_frames(sending, [[b"two"]])
    assert receiving.open(wire[2:]) == b"two"
    assert receiving.open(sending.seal(b"three")) == b"three"
    sealed = [sending.seal(plain) for plain in (b"four", b"", b"five")]
    assert bytes(receiving.open_all(sealed)) == b"fourfive"
    assert receiving.open(sending.seal(b"six")) == b"six"


@pytest.mark.parametrize("size", range(TAG_SIZE + 1))
def test_frames_too_short_to_be_sealed_do_not_open(size: int) -> None:
    [message] = Frames().feed(frame(bytes(size)))
    with pytest.raises(DecodeError):
        Cipher(KEY).open(message)
    with pytest.raises(DecodeError, match="does not decrypt"):
        Cipher(KEY).open_all([message])
    with pytest.raises(DecodeError, match="does not decrypt"):
        Cipher(KEY).open_all([Cipher(KEY).seal(b"before it"), message])
