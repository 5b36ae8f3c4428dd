"""Who was asked to prove its name, how often that is done, and whether a proof is good.

A challenge goes to wherever a packet claims to come from, so it is small, and counted: at most one at a time
to a node at an address, a rate to each site and one to all. Nodes that are known, at the address they are
known to be at, have a rate of their own, which a flood of strangers does not use up.
"""

from collections import OrderedDict
from collections.abc import Callable

from attrs import define, frozen

from codex.discovery import crypto, packets
from codex.discovery.crypto import Entropy
from codex.discovery.events import Counts
from codex.discovery.nodes import address_of
from codex.discovery.rates import Limiter, Rate, site_of
from codex.discovery.sessions import Place
from codex.errors import DecodeError
from codex.p2p import PublicKey, SignedPeerRecord

HANDSHAKE_TIMEOUT = 0.5
"""Seconds that a challenge can be answered."""
MAX_CHALLENGES = 512
"""Challenges not answered yet."""
MAX_ATTEMPTS = 4
"""Handshakes looked at for one challenge: checking a signature costs more than forging one."""
EACH = Rate(20, 50)
"""Challenges to one site, where there may be several nodes."""
TOTAL = Rate(200, 400)

Known = Callable[[bytes], SignedPeerRecord | None]
"""The record of a node id, where there is one."""


@define(eq=False)
class _Challenge:
    data: bytes
    public_key: PublicKey | None
    """Of the node that was challenged, when it is known."""
    expires: float
    attempts: int = 0


@frozen
class Proof:
    """What a good handshake shows: whose it is, and what keys are made of."""

    public_key: PublicKey
    ephemeral: PublicKey
    challenge: bytes
    record: SignedPeerRecord | None


class Challenges:
    """The challenges of the node `own` (its node id). Whatever it drops, it counts in `counts`."""

    def __init__(self, own: bytes, known: Known, entropy: Entropy, counts: Counts) -> None:
        self._own = own
        self._known = known
        self._entropy = entropy
        self._counts = counts
        # In the order in which they expire, since all live equally long.
        self._pending: OrderedDict[Place, _Challenge] = OrderedDict()
        self._to_strangers = Limiter(EACH, TOTAL)
        self._to_known = Limiter(EACH, TOTAL)

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def expires(self) -> float | None:
        """When the first of them is over."""
        return next((challenge.expires for challenge in self._pending.values()), None)

    def expire(self, now: float) -> None:
        """Forget those that are over."""
        while (expires := self.expires) is not None and expires <= now:
            self._pending.popitem(last=False)

    def issue(self, nonce: bytes, place: Place, now: float) -> packets.WhoAreYou | None:
        """The answer to a packet with that nonce that cannot be read; None when it gets none."""
        if place in self._pending:
            return None
        record = self._known(place[0])
        is_known = record is not None and address_of(record) == place[1]
        limiter = self._to_known if is_known else self._to_strangers
        if len(self._pending) >= MAX_CHALLENGES or not limiter.allows(site_of(place[1][0]), now):
            self._counts.limited += 1
            return None
        challenge = packets.WhoAreYou(
            iv=self._entropy.token(crypto.IV_BYTES),
            nonce=nonce,
            id_nonce=self._entropy.token(packets.ID_NONCE_BYTES),
            record_seq=record.record.seq if record else 0,
        )
        key = record.public_key if record else None
        self._pending[place] = _Challenge(challenge.challenge, key, now + HANDSHAKE_TIMEOUT)
        return challenge

    def meet(self, packet: packets.Handshake, place: Place) -> Proof | None:
        """What a handshake proves, which ends the challenge that it answers; None when there is no challenge,
        and when it proves nothing.
        """
        challenge = self._pending.get(place)
        if challenge is None:
            self._counts.unsolicited += 1
            return None
        challenge.attempts += 1
        try:
            proof = self._proof(packet, challenge)
        except DecodeError:
            self._counts.refused += 1
            # Anyone can send such, and must not spend the challenge of an honest node by it, nor our time.
            if challenge.attempts >= MAX_ATTEMPTS:
                del self._pending[place]
            return None
        del self._pending[place]
        return proof

    def _proof(self, packet: packets.Handshake, challenge: _Challenge) -> Proof:
        """Raises DecodeError when the handshake proves nothing."""
        ephemeral = PublicKey.from_bytes(packet.ephemeral)
        record = SignedPeerRecord.from_bytes(packet.record) if packet.record else None
        if record is None:
            key = challenge.public_key
        elif record.node_id == packet.source:
            key = record.public_key
        else:
            raise DecodeError("the handshake brings the record of another node")
        if key is None:
            raise DecodeError("the handshake of a node that is not known lacks its record")
        if not crypto.proves_identity(key, packet.signature, challenge.data, packet.ephemeral, self._own):
            raise DecodeError("the handshake is not signed by the node that it names")
        return Proof(key, ephemeral, challenge.data, record)
