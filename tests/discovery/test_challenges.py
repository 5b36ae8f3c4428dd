"""Challenges: what proves a name and what does not, and what strangers can make a node do and keep."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import Multiaddr
from codex.discovery import crypto, messages, packets
from codex.discovery.challenges import MAX_CHALLENGES, TOTAL
from codex.discovery.events import Asked, Contact, Event, Send, Verified
from codex.discovery.messages import Ping
from codex.discovery.messenger import Messenger
from codex.discovery.rates import MAX_KEYS
from codex.discovery.sessions import MAX_SESSIONS, Address
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime.clock import SeededEntropy


class Person:
    """A node with a messenger, who knows some others."""

    def __init__(self, name: str, ip: str, *, knows: "list[Person] | None" = None) -> None:
        self.identity = Identity.generate(SeededEntropy(name))
        self.address: Address = (ip, 8090)
        self.record = SignedPeerRecord.sign(self.identity, 7, [Multiaddr.parse(f"/ip4/{ip}/udp/8090")])
        self.contact = Contact.of(self.record)
        known = {person.identity.node_id: person.record for person in knows or []}
        self.messenger = Messenger(
            self.identity, lambda: self.record, entropy=SeededEntropy(f"{name}/1"), known=known.get
        )


@pytest.fixture
def alice() -> Person:
    return Person("alice", "192.0.2.1")


@pytest.fixture
def bob() -> Person:
    return Person("bob", "192.0.2.2")


class Forger:
    """Carol, who knows the protocol and keeps to none of it. She is at her own address."""

    def __init__(self, victim: Person) -> None:
        self.identity = Identity.generate(SeededEntropy("carol"))
        self.address: Address = ("203.0.113.9", 9)
        self.victim = victim
        self.entropy = SeededEntropy("forger")
        self.record = SignedPeerRecord.sign(self.identity, 1).to_bytes()

    def noise(self, node_id: bytes | None = None) -> bytes:
        packet = packets.Ordinary(
            node_id or self.identity.node_id, self.entropy.token(16), self.entropy.token(12), bytes(20)
        )
        return packets.encode(packet, self.victim.identity.node_id)

    def challenged(self, now: float, source: Address | None = None, node_id: bytes | None = None) -> bytes:
        """Have the victim challenge a node at an address; return the challenge data."""
        (send,) = self.victim.messenger.receive(self.noise(node_id), source or self.address, now)
        assert isinstance(send, Send)
        packet = packets.decode(send.data, node_id or self.identity.node_id)
        assert isinstance(packet, packets.WhoAreYou)
        return packet.challenge

    def handshake(self, challenge: bytes, **changes: Any) -> bytes:
        """A handshake that is good but for `changes`: source, signature, ephemeral, record, key, message."""
        ephemeral = Identity.generate(self.entropy)
        key = changes.get("ephemeral", ephemeral.public_key.to_bytes())
        victim = self.victim.identity
        packet = packets.Handshake(
            source=changes.get("source", self.identity.node_id),
            iv=self.entropy.token(16),
            nonce=self.entropy.token(12),
            signature=changes.get(
                "signature", crypto.prove_identity(self.identity, challenge, key, victim.node_id)
            ),
            ephemeral=key,
            record=changes.get("record", self.record),
        )
        shared = crypto.shared_secret(ephemeral, victim.public_key, self.entropy)
        keys = self.keys = crypto.derive_keys(shared, packet.source, victim.node_id, challenge)
        message = changes.get("message", messages.encode(b"1", Ping(7)))
        return packets.encode(
            packets.with_message(packet, changes.get("key", keys.initiator), message), victim.node_id
        )

    def ordinary(self, keys: crypto.SessionKeys) -> bytes:
        """A question under the keys of a handshake."""
        packet = packets.Ordinary(self.identity.node_id, self.entropy.token(16), self.entropy.token(12))
        sealed = packets.with_message(packet, keys.initiator, messages.encode(b"1", Ping(7)))
        return packets.encode(sealed, self.victim.identity.node_id)

    def offer(self, datagram: bytes, now: float) -> list[Event]:
        return self.victim.messenger.receive(datagram, self.address, now)


def test_a_good_handshake_is_taken(alice: Person) -> None:
    carol = Forger(alice)
    verified, asked = carol.offer(carol.handshake(carol.challenged(0.0)), 0.1)
    assert isinstance(verified, Verified)
    assert isinstance(asked, Asked)
    assert asked.contact.address == carol.address


WRONG: list[dict[str, Any]] = [
    {"signature": b""},
    {"signature": bytes(70)},
    {"ephemeral": bytes(37)},
    {"ephemeral": b""},
    {"record": b""},
    {"record": b"garbage"},
    {"record": Person("bob", "192.0.2.2").record.to_bytes()},
    {"key": bytes(16)},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong}"[:40])
def test_a_handshake_that_proves_nothing_is_refused(alice: Person, wrong: dict[str, Any]) -> None:
    carol = Forger(alice)
    challenge = carol.challenged(0.0)
    assert carol.offer(carol.handshake(challenge, **wrong), 0.1) == []
    assert alice.messenger.counts.refused == 1
    assert alice.messenger.sessions == 0


def test_a_handshake_with_the_name_of_another_is_refused(alice: Person, bob: Person) -> None:
    carol = Forger(alice)
    challenge = carol.challenged(0.0, node_id=bob.identity.node_id)
    for record in (carol.record, bob.record.to_bytes()):
        assert carol.offer(carol.handshake(challenge, source=bob.identity.node_id, record=record), 0.1) == []
    assert alice.messenger.counts.refused == 2


def test_a_handshake_that_nobody_asked_for_is_refused(alice: Person) -> None:
    carol = Forger(alice)
    challenge = carol.challenged(0.0)
    good = carol.handshake(challenge)
    assert carol.offer(good, 0.5) == []  # too late
    assert len(carol.offer(carol.handshake(carol.challenged(1.0)), 1.1)) == 2
    assert carol.offer(good, 1.2) == []  # of a challenge before
    assert alice.messenger.counts.unsolicited == 2


def test_a_handshake_with_a_message_of_a_later_kind_begins_a_session(alice: Person) -> None:
    carol = Forger(alice)
    events = carol.offer(carol.handshake(carol.challenged(0.0), message=b"\x90later"), 0.1)
    assert [type(event) for event in events] == [Verified]
    assert alice.messenger.sessions == 1


def test_forged_handshakes_do_not_spend_the_challenge_of_an_honest_node(alice: Person) -> None:
    carol = Forger(alice)
    challenge = carol.challenged(0.0)
    for _ in range(3):
        assert carol.offer(carol.handshake(challenge, signature=bytes(70)), 0.1) == []
    assert len(carol.offer(carol.handshake(challenge), 0.2)) == 2


def test_forged_handshakes_are_looked_at_a_few_times_only(alice: Person) -> None:
    carol = Forger(alice)
    challenge = carol.challenged(0.0)
    for _ in range(10):
        assert carol.offer(carol.handshake(challenge, signature=bytes(70)), 0.1) == []
    assert alice.messenger.counts.refused == 4
    assert alice.messenger.counts.unsolicited == 6


def test_keys_that_do_not_work_end_the_session(alice: Person) -> None:
    carol = Forger(alice)
    carol.offer(carol.handshake(carol.challenged(0.0)), 0.1)
    assert alice.messenger.sessions == 1
    carol.offer(carol.handshake(carol.challenged(1.0), key=bytes(16)), 1.1)
    assert alice.messenger.sessions == 0


def test_a_packet_with_our_own_name_is_passed_over(alice: Person, bob: Person) -> None:
    datagram = Forger(alice).noise(alice.identity.node_id)
    assert alice.messenger.receive(datagram, bob.address, 0.0) == []


def test_a_key_that_is_in_use_outlives_a_new_one_that_is_not(alice: Person) -> None:
    carol, keys = Forger(alice), []
    for now in (0.0, 1.0):
        carol.offer(carol.handshake(carol.challenged(now)), now)
        keys.append(carol.keys)
    assert [type(event) for event in carol.offer(carol.ordinary(keys[0]), 1.5)] == [Asked]
    carol.offer(carol.handshake(carol.challenged(2.0)), 2.0)
    for key, event in ((carol.keys, Asked), (keys[0], Asked), (keys[1], Send)):
        assert [type(one) for one in carol.offer(carol.ordinary(key), 2.5)] == [event]


def test_challenges_are_bounded_whatever_the_rates_allow() -> None:
    people = [Person(f"person {n}", f"198.51.100.{n + 1}") for n in range(150)]
    alice = Person("alice", "192.0.2.1", knows=people)
    flood(alice, TOTAL.burst, seconds=0)
    carol = Forger(alice)
    answered = 0
    for person in people:
        answered += len(alice.messenger.receive(carol.noise(person.identity.node_id), person.address, 0.0))
    assert answered == MAX_CHALLENGES - TOTAL.burst


def test_one_challenge_at_a_time(alice: Person) -> None:
    carol = Forger(alice)
    carol.challenged(0.0)
    assert all(carol.offer(carol.noise(), n / 100) == [] for n in range(50))
    assert len(carol.offer(carol.noise(), 0.5)) == 1


def test_a_challenge_is_smaller_than_what_it_answers(alice: Person) -> None:
    """The smallest packet that is answered at all, by one byte."""
    carol = Forger(alice)
    smallest = packets.encode(
        packets.Ordinary(carol.identity.node_id, bytes(16), bytes(12), bytes(16)), alice.identity.node_id
    )
    (send,) = carol.offer(smallest, 0.0)
    assert isinstance(send, Send)
    assert len(send.data) < len(smallest)
    assert carol.offer(smallest[:-1], 1.0) == []


def flood(victim: Person, n: int, *, seconds: float, same_site: bool = False) -> tuple[int, int]:
    """Send `n` packets from as many nodes at as many addresses; return the bytes in and out."""
    carol, sent, answered = Forger(victim), 0, 0
    for number in range(n):
        name = number.to_bytes(32)
        site = 1 if same_site else number
        source = (f"10.{site >> 16 & 255}.{site >> 8 & 255}.{site & 255}", 1 + number % 60_000)
        datagram = carol.noise(name)
        sent += len(datagram)
        events = victim.messenger.receive(datagram, source, number * seconds / n)
        answered += sum(len(event.data) for event in events if isinstance(event, Send))
    return sent, answered


def size_of(messenger: Messenger) -> int:
    """How many entries there are in everything that a messenger keeps."""
    seen: set[int] = set()

    def walk(thing: object) -> int:
        if id(thing) in seen or isinstance(thing, str | bytes | int | float | type | None):
            return 0
        seen.add(id(thing))
        if isinstance(thing, dict):
            return len(thing) + sum(walk(value) for value in thing.values())
        if isinstance(thing, list | tuple | set) or type(thing).__name__ == "deque":
            return len(thing) + sum(walk(value) for value in thing)
        names = [*getattr(thing, "__dict__", ()), *getattr(type(thing), "__slots__", ())]
        return sum(walk(getattr(thing, name, None)) for name in names if not name.startswith("__"))

    return walk([getattr(messenger, name) for name in vars(messenger)])


def test_a_flood_of_strangers_is_answered_at_a_rate(alice: Person) -> None:
    before = size_of(alice.messenger)
    sent, answered = flood(alice, 20_000, seconds=4)
    assert answered <= 63 * (TOTAL.burst + 4 * TOTAL.per_second) < sent / 10
    assert size_of(alice.messenger) - before < 3 * (MAX_CHALLENGES + MAX_KEYS) + 100
    assert alice.messenger.counts.limited > 18_000
    # A second later nothing is left of it but the buckets.
    alice.messenger.tick(5.0)
    assert alice.messenger.next_tick() is None


def test_a_flood_from_one_address_does_not_use_up_the_rate_of_all(alice: Person, bob: Person) -> None:
    flood(alice, 5_000, seconds=0.1, same_site=True)
    _, (send,) = bob.messenger.request(alice.contact, Ping(7), 0.1)
    assert len(alice.messenger.receive(send.data, bob.address, 0.1)) == 1


def test_a_flood_of_strangers_does_not_shut_out_those_we_know(bob: Person) -> None:
    carol = Person("carol", "192.0.2.3")
    alice = Person("alice", "192.0.2.1", knows=[bob])
    flood(alice, 5_000, seconds=0)
    for person, answered in ((bob, 1), (carol, 0)):
        _, (send,) = person.messenger.request(alice.contact, Ping(7), 0.0)
        assert len(alice.messenger.receive(send.data, person.address, 0.0)) == answered


def test_a_known_name_at_another_address_is_a_stranger(bob: Person) -> None:
    alice = Person("alice", "192.0.2.1", knows=[bob])
    flood(alice, 5_000, seconds=0)
    datagram = Forger(alice).noise(bob.identity.node_id)
    assert alice.messenger.receive(datagram, ("198.51.100.1", 1), 0.0) == []


def test_sessions_are_bounded(alice: Person) -> None:
    now = 0.0
    for n in range(MAX_SESSIONS + 20):
        carol = Forger(alice)
        carol.address = ("203.0.113.9", n + 1)
        now += 0.1
        carol.offer(carol.handshake(carol.challenged(now)), now)
    assert alice.messenger.sessions == MAX_SESSIONS


# Each is a kind of packet that carol, who has a session with alice, may send her.
@settings(max_examples=60)
@given(st.data())
def test_no_message_of_a_node_breaks_anything(draw: st.DataObject) -> None:
    alice = Person("alice", "192.0.2.1")
    carol = Forger(alice)
    body = draw.draw(st.binary(max_size=60))
    kind = draw.draw(st.sampled_from([*messages.KIND_OF.values(), 0x07, 0xFF]))
    message = draw.draw(
        st.sampled_from(
            [body, bytes((kind,)) + body, bytes((kind,)) + b"\x0a\x011\x12" + bytes((len(body),)) + body]
        )
    )
    events = carol.offer(carol.handshake(carol.challenged(0.0), message=message), 0.1)
    assert isinstance(events[0], Verified)
    assert all(isinstance(event, Asked) for event in events[1:])
