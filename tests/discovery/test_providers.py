"""Provider records: expiry, newest records, bounds that are fair, and any order against a simple model."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from codex.codec import Multiaddr
from codex.discovery.providers import TTL, Bounds, Changes, Providers, Said
from codex.p2p import Identity, PeerId, SignedPeerRecord
from codex.runtime import SeededEntropy

NOW = 1_750_000_000.0
PEOPLE = [Identity.generate(SeededEntropy(f"person {number}")) for number in range(6)]
ADDRESS = Multiaddr.parse("/ip4/10.0.0.1/tcp/8070")


def record(person: int, seq: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord.sign(PEOPLE[person], seq, [ADDRESS])


RECORDS = {(person, seq): record(person, seq) for person in range(6) for seq in (1, 2, 3)}


def content(number: int) -> bytes:
    return number.to_bytes(32)


def peers(records: list[SignedPeerRecord]) -> list[int]:
    names = [person.peer_id for person in PEOPLE]
    return [names.index(one.record.peer_id) for one in records]


def test_who_said_so_last_comes_first() -> None:
    known = Providers()
    for person in (0, 1, 2, 0):
        known.add(content(1), RECORDS[person, 1], NOW)
    known.add(content(2), RECORDS[3, 1], NOW)
    assert peers(known.get(content(1), NOW)) == [0, 2, 1]
    assert peers(known.get(content(2), NOW)) == [3]
    assert known.get(content(3), NOW) == []
    assert (len(known), known.contents, known.providers) == (4, 2, 4)


def test_what_is_not_said_again_is_not_told_after_a_day() -> None:
    known = Providers()
    known.add(content(1), RECORDS[0, 1], NOW)
    known.add(content(1), RECORDS[1, 1], NOW + 10)
    known.add(content(1), RECORDS[0, 1], NOW + 20)
    assert len(known.get(content(1), NOW + TTL + 9)) == 2
    assert peers(known.get(content(1), NOW + TTL + 10)) == [0]
    assert known.get(content(1), NOW + TTL + 20) == []
    assert len(known) == 2  # not swept yet, and all the same not told
    known.sweep(NOW + TTL + 10)
    assert len(known) == 1
    known.sweep(NOW + TTL + 20)
    assert (len(known), known.contents, known.providers) == (0, 0, 0)


@pytest.mark.parametrize("order", [(1, 3, 2), (3, 1), (2, 3)])
def test_of_a_provider_the_newest_record_is_told_whatever_it_came_with(order: tuple[int, ...]) -> None:
    known = Providers()
    for number, seq in enumerate(order):
        known.add(content(number % 2), RECORDS[0, seq], NOW)
    for number in range(2):
        assert known.get(content(number), NOW) == [RECORDS[0, 3]]
    assert known.record_of(PEOPLE[0].peer_id) == RECORDS[0, 3]
    assert known.record_of(PEOPLE[1].peer_id) is None


def test_the_only_content_said_again_with_an_older_record_keeps_the_newer_one() -> None:
    known = Providers()
    known.add(content(1), RECORDS[0, 3], NOW)
    known.add(content(1), RECORDS[0, 1], NOW)
    assert known.get(content(1), NOW) == [RECORDS[0, 3]]


def test_a_record_can_be_renewed_by_itself() -> None:
    known = Providers()
    known.renew(RECORDS[0, 2])
    assert len(known) == 0
    known.add(content(1), RECORDS[0, 1], NOW)
    known.take_changes()
    known.renew(RECORDS[0, 2])
    known.renew(RECORDS[0, 1])
    assert known.get(content(1), NOW) == [RECORDS[0, 2]]
    assert known.take_changes() == Changes(records=(RECORDS[0, 2],))


def test_a_provider_that_is_forgotten_has_nothing() -> None:
    known = Providers()
    for number in range(3):
        known.add(content(number), RECORDS[0, 1], NOW)
        known.add(content(number), RECORDS[1, 1], NOW)
    known.forget(PEOPLE[0].peer_id)
    known.forget(PEOPLE[5].peer_id)
    assert peers(known.get(content(1), NOW)) == [1]
    assert (len(known), known.providers) == (3, 1)


# Bounds


def test_a_content_has_so_many_providers_and_a_crowd_of_one_source_gives_way() -> None:
    known = Providers(Bounds(a_content=3))
    known.add(content(1), RECORDS[0, 1], NOW, source="honest")
    for person in range(1, 6):
        known.add(content(1), RECORDS[person, 1], NOW + person, source="flood")
    assert peers(known.get(content(1), NOW + 9)) == [5, 4, 0]


def test_one_source_has_its_share_and_loses_its_own_oldest() -> None:
    known = Providers(Bounds(entries=16))
    for number in range(4):
        known.add(content(number), RECORDS[0, 1], NOW, source="honest")
        known.add(content(number), RECORDS[2, 1], NOW, source="honest too")
    for number in range(100):
        known.add(content(1000 + number), RECORDS[1, 1], NOW, source="flood")
    assert len(known) == 12
    assert [len(known.get(content(number), NOW)) for number in range(4)] == [2] * 4
    assert [len(known.get(content(1000 + number), NOW)) for number in (95, 96, 99)] == [0, 1, 1]


def test_where_all_is_full_the_source_with_the_most_gives_way() -> None:
    known = Providers(Bounds(entries=8))
    for source in range(8):
        known.add(content(source), RECORDS[0, 1], NOW, source=str(source))
    known.add(content(8), RECORDS[0, 1], NOW, source="7")
    assert len(known) == 8
    assert known.get(content(0), NOW) == []  # all had as many, and this one is the oldest
    known.add(content(9), RECORDS[0, 1], NOW, source="9")
    assert len(known.get(content(7), NOW)) == 0
    assert len(known.get(content(8), NOW)) == 1


def test_there_are_so_many_providers_and_a_crowd_of_one_source_gives_way() -> None:
    known = Providers(Bounds(providers=3))
    known.add(content(0), RECORDS[0, 1], NOW, source="honest")
    for person in range(1, 6):
        known.add(content(person), RECORDS[person, 1], NOW, source="flood")
    assert known.providers == 3
    assert peers(known.get(content(0), NOW)) == [0]
    assert peers(known.get(content(5), NOW)) == [5]


# Written down


def test_changes_are_told_once_and_in_the_order_of_their_last() -> None:
    known = Providers()
    known.add(content(1), RECORDS[0, 1], NOW, source="here")
    known.add(content(2), RECORDS[1, 1], NOW)
    known.add(content(1), RECORDS[0, 1], NOW + 1, source="there")
    changes = known.take_changes()
    assert [(one.content, one.expiry, one.source) for one in changes.said] == [
        (content(2), NOW + TTL, ""),
        (content(1), NOW + 1 + TTL, "there"),
    ]
    assert set(changes.records) == {RECORDS[0, 1], RECORDS[1, 1]}
    assert not known.take_changes()
    known.forget(PEOPLE[0].peer_id)
    assert known.take_changes() == Changes(gone=((content(1), PEOPLE[0].peer_id),))


def test_what_could_not_be_written_is_told_again_as_it_is_by_then() -> None:
    known = Providers()
    known.add(content(1), RECORDS[0, 1], NOW)
    known.add(content(2), RECORDS[1, 1], NOW)
    lost = known.take_changes()
    known.forget(PEOPLE[1].peer_id)
    known.add(content(3), RECORDS[2, 1], NOW)
    known.put_back(lost)
    changes = known.take_changes()
    assert {one.content for one in changes.said} == {content(1), content(3)}
    assert changes.gone == ((content(2), PEOPLE[1].peer_id),)
    assert set(changes.records) == {RECORDS[0, 1], RECORDS[2, 1]}


def test_what_is_restored_is_no_change_and_what_makes_no_sense_is_left_out() -> None:
    known = Providers()
    lines = [
        Said(content(1), PEOPLE[0].peer_id, NOW, ""),  # has expired
        Said(content(2), PEOPLE[0].peer_id, NOW + 1, ""),
        Said(content(3), PEOPLE[1].peer_id, NOW + 5, ""),  # has no record
        Said(content(4), PEOPLE[0].peer_id, NOW + TTL + 1, ""),  # cannot have been said yet
    ]
    known.restore(lines, [RECORDS[0, 1]], NOW)
    assert [number for number in range(5) if known.get(content(number), NOW)] == [2]
    assert not known.take_changes()


# Any order


class Anything(RuleBasedStateMachine):
    """Providers beside a dict of who has what until when, and a dict that is what was written down."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.known = Providers()
        self.model: dict[tuple[bytes, PeerId], float] = {}
        self.seqs: dict[PeerId, int] = {}
        self.written: dict[tuple[bytes, PeerId], Said] = {}
        self.records: dict[PeerId, SignedPeerRecord] = {}

    contents = st.integers(0, 4).map(content)
    people = st.integers(0, 5)

    @rule(content=contents, person=people, seq=st.integers(1, 3))
    def add(self, content: bytes, person: int, seq: int) -> None:
        peer = PEOPLE[person].peer_id
        self._expire()
        held = any(one == peer for _, one in self.model)
        self.known.sweep(self.now)
        self.known.add(content, RECORDS[person, seq], self.now, source=str(person % 2))
        self.model[content, peer] = self.now + TTL
        self.seqs[peer] = max(seq, self.seqs[peer]) if held else seq

    @rule(person=people)
    def forget(self, person: int) -> None:
        peer = PEOPLE[person].peer_id
        self.known.forget(peer)
        self.model = {pair: expiry for pair, expiry in self.model.items() if pair[1] != peer}

    @rule(seconds=st.sampled_from([1.0, TTL / 3, TTL]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(succeeds=st.booleans())
    def save(self, succeeds: bool) -> None:
        changes = self.known.take_changes()
        if not succeeds:
            self.known.put_back(changes)
            return
        for pair in changes.gone:
            self.written.pop(pair, None)
        for line in changes.said:
            self.written[line.content, line.provider] = line
        self.records.update({one.record.peer_id: one for one in changes.records})

    @rule()
    def restart(self) -> None:
        self.known.sweep(self.now)
        self.save(True)
        lines = sorted(self.written.values(), key=lambda line: line.expiry)
        self.known = Providers()
        self.known.restore(lines, self.records.values(), self.now)
        self._expire()

    def _expire(self) -> None:
        self.model = {pair: expiry for pair, expiry in self.model.items() if self.now < expiry}

    @invariant()
    def holds(self) -> None:
        told: dict[Any, int] = {}
        for number in range(5):
            for one in self.known.get(content(number), self.now):
                told[content(number), one.record.peer_id] = one.record.seq
        expected = {pair: self.seqs[pair[1]] for pair, expiry in self.model.items() if self.now < expiry}
        assert told == expected
        assert len(self.known) == sum(map(len, self.known._contents.values()))
        assert len(self.known) == sum(map(len, self.known._sources.values()))
        assert sum(self.known._crowd.values()) == self.known.providers


def test_any_order_is_as_the_model_says() -> None:
    run_state_machine_as_test(
        Anything, settings=settings(max_examples=80, stateful_step_count=30, deadline=None)
    )
