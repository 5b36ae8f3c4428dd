"""What libp2p adds to Noise: each side proves in the handshake that its Noise key is that of its node.

The payload of the second and of the third message is {1: the node's public key, 2: its signature over the
Noise key}. Bytes in and bytes out, no I/O.
"""

from codex.codec.protobuf import Message, Writer
from codex.errors import DecodeError, HandshakeFailed
from codex.p2p import noise
from codex.p2p.identity import Identity, PeerId, PublicKey

PROTOCOL = "/noise"
MAX_MESSAGE = 4096
"""Bytes of a handshake message. Ours have under 300; the keys of other networks would still fit, so that
they can be told what is wrong."""

_SIGNED = b"noise-libp2p-static-key:"


class Securing:
    """One side of the handshake. Send `start()`, then what `feed` returns, until `done`."""

    def __init__(
        self, identity: Identity, keys: noise.Keys, *, dialer: bool, expect: PeerId | None = None
    ) -> None:
        """`expect` is whom the other side must turn out to be, when that is known."""
        self._identity = identity
        self._handshake = noise.Handshake(keys, initiator=dialer)
        self._expect = expect
        self._buffer = b""
        self._remote_key: PublicKey | None = None

    @property
    def done(self) -> bool:
        """Whether both sides have proved who they are, as far as we can see."""
        return self._handshake.done

    @property
    def remote_key(self) -> PublicKey:
        """The other node's key, proved; known at the end."""
        if self._remote_key is None:
            raise ValueError("the other side has not proved who it is yet")
        return self._remote_key

    def start(self) -> bytes:
        """What to send before anything came: the dialer's first message."""
        return self._answers()

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what to send now, possibly nothing.

        Raises HandshakeFailed when the other side is not whom we expect or has no key of this network, and
        DecodeError when what came is no such handshake.
        """
        self._buffer += data
        out = b""
        while not self.done and (message := self._next()) is not None:
            payload = self._handshake.read(message)
            # The first message shows no static key, so that its payload proves nothing.
            if (static := self._handshake.remote_static) is not None:
                self._remote_key = self._verify(static, payload)
            out += self._answers()
        return out

    def ciphers(self) -> tuple[noise.Cipher, noise.Cipher]:
        """What is sent and what is received with, once done."""
        return self._handshake.ciphers()

    def rest(self) -> bytes:
        """What came behind the handshake; it is given away, once."""
        rest, self._buffer = self._buffer, b""
        return rest

    def _next(self) -> bytes | None:
        """The next message of the handshake, when it is complete."""
        if len(self._buffer) < 2:
            return None
        after = 2 + int.from_bytes(self._buffer[:2])
        if after - 2 > MAX_MESSAGE:
            raise DecodeError(f"a message of the Noise handshake has more than {MAX_MESSAGE} bytes")
        if len(self._buffer) < after:
            return None
        message, self._buffer = self._buffer[2:after], self._buffer[after:]
        return message

    def _answers(self) -> bytes:
        if not self._handshake.writes:
            return b""
        return noise.frame(self._handshake.write(self._proof() if self._handshake.shows_static else b""))

    def _proof(self) -> bytes:
        signature = self._identity.sign(_SIGNED + self._handshake.static)
        return Writer().bytes(1, self._identity.public_key.to_bytes()).bytes(2, signature).finish()

    def _verify(self, static: bytes, payload: bytes) -> PublicKey:
        fields = Message(payload, limit=MAX_MESSAGE)
        message, signature = fields.bytes(1), fields.bytes(2)
        if message is None or signature is None:
            raise HandshakeFailed("the peer does not say who it is")
        try:
            key = PublicKey.from_bytes(message)
        except DecodeError as error:
            raise HandshakeFailed(
                f"the peer has no key of this network: {error.message}",
                remedy="Nodes of the network have secp256k1 keys; Ed25519 and RSA are of other networks.",
            ) from None
        if self._expect not in (None, key.peer_id):
            raise HandshakeFailed(f"the peer is {key.peer_id}, and not {self._expect}")
        if not key.verifies(signature, _SIGNED + static):
            raise HandshakeFailed(f"the peer does not prove that it is {key.peer_id}")
        return key
