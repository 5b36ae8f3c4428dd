"""The proof of who somebody is: taken from those who are, and refused from all others, with a reason."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from codex.codec.protobuf import Writer
from codex.errors import DecodeError, HandshakeFailed
from codex.p2p import Identity
from codex.p2p.noise import KEY_SIZE, Handshake, Keys, frame
from codex.p2p.securing import MAX_MESSAGE, Securing
from codex.runtime.clock import SeededEntropy

ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))
CAROL = Identity.generate(SeededEntropy("carol"))
SIGNED = b"noise-libp2p-static-key:"


def keys(name: str) -> Keys:
    entropy = SeededEntropy(name)
    return Keys(entropy.token(KEY_SIZE), entropy.token(KEY_SIZE))


def dialer(expect: Identity | None = BOB) -> Securing:
    return Securing(ALICE, keys("alice"), dialer=True, expect=expect.peer_id if expect else None)


def listener() -> Securing:
    return Securing(BOB, keys("bob"), dialer=False)


def answered(payload: bytes, expect: Identity | None = None) -> None:
    """Have a dialer read a second message with that payload."""
    alice, bob = dialer(expect), Handshake(keys("bob"), initiator=False)
    bob.read(alice.start()[2:])
    alice.feed(frame(bob.write(payload)))


def payload_of(key: bytes, signature: bytes) -> bytes:
    return Writer().bytes(1, key).bytes(2, signature).finish()


def bob_static() -> bytes:
    return Handshake(keys("bob"), initiator=False).static


@given(st.lists(st.integers(1, 200), max_size=20))
def test_both_prove_themselves_however_the_bytes_are_cut(cuts: list[int]) -> None:
    alice, bob = dialer(), listener()
    assert bob.start() == b""
    sizes = iter(cuts)
    wires = {alice: b"", bob: alice.start()}
    while any(wires.values()):
        for side, other in ((bob, alice), (alice, bob)):
            size = next(sizes, 1000)
            piece, wires[side] = wires[side][:size], wires[side][size:]
            wires[other] += side.feed(piece)
    assert alice.done
    assert bob.done
    assert alice.remote_key == BOB.public_key
    assert bob.remote_key == ALICE.public_key
    sending, receiving = alice.ciphers()[0], bob.ciphers()[1]
    assert receiving.open(sending.seal(b"hello")) == b"hello"


def test_what_follows_the_handshake_is_left() -> None:
    alice, bob = dialer(), listener()
    third = alice.feed(bob.feed(alice.start()))
    assert bob.feed(third + b"more") == b""
    assert bob.done
    assert (bob.rest(), bob.rest()) == (b"more", b"")


def test_somebody_else_than_expected_is_refused() -> None:
    alice = dialer(expect=CAROL)
    second = listener().feed(alice.start())
    with pytest.raises(HandshakeFailed, match=f"the peer is {BOB.peer_id}, and not {CAROL.peer_id}"):
        alice.feed(second)


def test_who_is_not_expected_may_be_anybody() -> None:
    alice = dialer(expect=None)
    alice.feed(listener().feed(alice.start()))
    assert alice.remote_key.peer_id == BOB.peer_id


def test_the_key_is_not_known_before_it_is_proved() -> None:
    with pytest.raises(ValueError, match="not proved"):
        _ = listener().remote_key


def test_a_signature_by_somebody_else_is_refused() -> None:
    payload = payload_of(BOB.public_key.to_bytes(), CAROL.sign(SIGNED + bob_static()))
    with pytest.raises(HandshakeFailed, match="does not prove"):
        answered(payload)


def test_a_signature_over_another_noise_key_is_refused() -> None:
    other = Handshake(keys("carol"), initiator=False).static
    with pytest.raises(HandshakeFailed, match="does not prove"):
        answered(payload_of(BOB.public_key.to_bytes(), BOB.sign(SIGNED + other)))


def test_the_payload_that_is_right_is_taken() -> None:
    answered(payload_of(BOB.public_key.to_bytes(), BOB.sign(SIGNED + bob_static())), expect=BOB)


def test_a_key_of_another_network_is_refused_with_its_reason() -> None:
    secret = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key = Writer().varint(1, 1).bytes(2, secret.public_key().public_bytes_raw()).finish()
    with pytest.raises(HandshakeFailed, match="secp256k1") as caught:
        answered(payload_of(key, secret.sign(SIGNED + bob_static())))
    assert "Ed25519" in caught.value.remedy


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        Writer().bytes(1, BOB.public_key.to_bytes()).finish(),
        Writer().bytes(2, b"signature").finish(),
    ],
)
def test_a_payload_that_lacks_something_is_refused(payload: bytes) -> None:
    with pytest.raises(HandshakeFailed, match="does not say who it is"):
        answered(payload)


@given(st.binary(max_size=300))
def test_garbage_for_a_payload(payload: bytes) -> None:
    with pytest.raises((HandshakeFailed, DecodeError)):
        answered(payload)


@given(st.binary(max_size=300))
def test_garbage_instead_of_the_answer(data: bytes) -> None:
    alice = dialer()
    alice.start()
    try:
        assert alice.feed(data) == b""
    except DecodeError:
        return
    assert not alice.done


def test_a_long_message_is_refused_by_its_length() -> None:
    alice = dialer()
    alice.start()
    with pytest.raises(DecodeError, match="more than 4096"):
        alice.feed((MAX_MESSAGE + 1).to_bytes(2, "big"))
