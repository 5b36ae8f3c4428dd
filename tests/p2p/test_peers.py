"""The table of peers: its rules one by one, and all of them held to a simple model over long histories."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codex.codec import Multiaddr
from codex.p2p import PeerId
from codex.p2p.peers import (
    FIRST_REST,
    HALF_OPEN,
    HALF_OPEN_PER_SOURCE,
    KNOWN,
    LEAST_SHARE,
    LONGEST_REST,
    NEWCOMER,
    REMEMBERED,
    SETTLE,
    Connected,
    Go,
    Hopeless,
    PeerTable,
    UnderWay,
)

OWN = PeerId(b"\x00\x01m")
SMALLER = PeerId(b"\x00\x01a")
LARGER = PeerId(b"\x00\x01z")
ADDRESSES = tuple(Multiaddr.parse(f"/ip4/192.0.2.{number}/tcp/1") for number in range(4))


def peer(number: int) -> PeerId:
    return PeerId(b"\x00\x02" + number.to_bytes(2))


def link(table: PeerTable, who: PeerId, now: float = 0.0, *, dialled: bool = False) -> int:
    number = table.join(who, dialled=dialled, now=now).link
    assert number is not None
    return number


# -- strangers


def test_one_source_begins_few_handshakes() -> None:
    table = PeerTable(OWN, 10)
    tickets = [table.knock("a").ticket for _ in range(HALF_OPEN_PER_SOURCE)]
    assert None not in tickets
    assert table.knock("a").ticket is None
    assert table.knock("b").ticket is not None
    assert tickets[0] is not None
    table.answered(tickets[0])
    table.answered(tickets[0])
    assert table.knock("a").ticket is not None
    assert table.knock("a").ticket is None


def test_when_all_is_full_the_crowd_makes_room() -> None:
    table = PeerTable(OWN, 10)
    crowd = [table.knock("machine", counted=False).ticket for _ in range(HALF_OPEN)]
    assert table.half_open == HALF_OPEN
    assert table.knock("machine", counted=False).ticket is None
    newcomer = table.knock("b")
    assert newcomer.ticket is not None
    assert newcomer.evicted == crowd[0]
    assert table.half_open == HALF_OPEN


def test_when_all_is_full_of_single_strangers_one_more_waits_outside() -> None:
    table = PeerTable(OWN, 10)
    for number in range(HALF_OPEN):
        assert table.knock(f"{number}").ticket is not None
    assert table.knock("one more").ticket is None


# -- dials


def test_there_is_one_dial_to_a_peer() -> None:
    table = PeerTable(OWN, 10)
    assert table.want(LARGER, ADDRESSES[:2], 0) == Go(ADDRESSES[:2])
    assert table.want(LARGER, ADDRESSES[2:], 0) == UnderWay()
    assert table.want(SMALLER, ADDRESSES[2:], 0) == Go(ADDRESSES[2:])
    table.dialled(LARGER)
    number = link(table, LARGER)
    assert table.want(LARGER, ADDRESSES, 0) == Connected()
    table.left(number)
    assert table.want(LARGER, ADDRESSES, 0) == Go(ADDRESSES)


def test_nobody_dials_itself_or_nowhere() -> None:
    table = PeerTable(OWN, 10)
    assert isinstance(table.want(OWN, ADDRESSES, 0), Hopeless)
    assert isinstance(table.want(LARGER, (), 0), Hopeless)
    assert table.join(OWN, dialled=False, now=0).link is None


def test_a_failed_address_rests_longer_each_time() -> None:
    table = PeerTable(OWN, 10)
    now, rests = 0.0, []
    for _ in range(12):
        failure = table.failed(LARGER, ADDRESSES[0], "refused", now)
        rests.append(failure.until - now)
        assert table.want(LARGER, ADDRESSES[:1], failure.until - 0.1, ()) == Hopeless(
            "its addresses failed a moment ago", (failure,)
        )
        # Others of its addresses, and others at its address, do not rest.
        assert table.want(LARGER, ADDRESSES[:2], now) == Go(ADDRESSES[1:2], (failure,))
        table.dialled(LARGER)
        assert table.want(SMALLER, ADDRESSES[:1], now) == Go(ADDRESSES[:1])
        table.dialled(SMALLER)
        now = failure.until
        assert table.want(LARGER, ADDRESSES[:1], now) == Go(ADDRESSES[:1])
        table.dialled(LARGER)
    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests[-1] == LONGEST_REST
    # Where it was reached, all is forgiven.
    table.left(table.join(LARGER, dialled=True, now=now, address=ADDRESSES[0]).link or 0)
    assert table.failed(LARGER, ADDRESSES[0], "refused", now).times == 1


def test_memory_of_failures_and_addresses_is_bounded() -> None:
    table = PeerTable(OWN, 10)
    for number in range(REMEMBERED + 1):
        table.failed(peer(number), ADDRESSES[0], "refused", 0)
    assert isinstance(table.want(peer(0), ADDRESSES[:1], 1), Go)
    assert isinstance(table.want(peer(1), ADDRESSES[:1], 1), Hopeless)
    for number in range(KNOWN + 1):
        table.remember(peer(number), ADDRESSES)
    assert table.known(peer(0)) == ()
    assert table.known(peer(1)) == ADDRESSES


# -- links


@pytest.mark.parametrize(("other", "ours_stays"), [(LARGER, True), (SMALLER, False)])
@pytest.mark.parametrize("ours_first", [True, False])
def test_of_two_simultaneous_links_the_smaller_name_keeps_its_own(
    other: PeerId, ours_stays: bool, ours_first: bool
) -> None:
    table = PeerTable(OWN, 10)
    first = table.join(other, dialled=ours_first, now=0)
    second = table.join(other, dialled=not ours_first, now=1)
    assert (first.first, second.first) == (True, False)
    ours, theirs = (first.link, second.link) if ours_first else (second.link, first.link)
    assert table.pick(other) == (ours if ours_stays else theirs)
    # One side only ends the other: the one whose name is smaller.
    assert second.retire == (theirs if ours_stays else None)
    assert second.close == ()


@pytest.mark.parametrize("other", [LARGER, SMALLER])
def test_an_old_link_is_a_ghost_when_a_new_one_comes_the_other_way(other: PeerId) -> None:
    table = PeerTable(OWN, 10)
    old = link(table, other, dialled=True)
    new = table.join(other, dialled=False, now=SETTLE + 1)
    assert table.pick(other) == new.link
    assert new.retire == (old if OWN.raw < other.raw else None)


def test_a_new_link_the_same_way_takes_the_place_of_the_old() -> None:
    table = PeerTable(OWN, 10)
    old = link(table, LARGER)
    new = table.join(LARGER, dialled=False, now=0.5)
    assert new.close == ((old, "the same peer connected anew"),)
    assert not new.first
    assert table.pick(LARGER) == new.link
    assert table.left(old) is False
    assert new.link is not None
    assert table.left(new.link) is True
    assert table.pick(LARGER) is None


def test_a_peer_that_is_parted_from_is_no_longer_picked_and_leaves_once() -> None:
    table = PeerTable(OWN, 10)
    old = link(table, LARGER)
    table.part(old)
    assert table.pick(LARGER) is None
    assert table.peers() == ()
    new = table.join(LARGER, dialled=False, now=1)
    assert not new.first  # it has not left yet
    assert table.left(old) is False
    assert table.left(new.link or 0) is True


def fill(table: PeerTable, count: int, now: float = 0.0, *, dialled: bool = False) -> list[int]:
    return [link(table, peer(number), now + number / 100, dialled=dialled) for number in range(count)]


def test_an_eighth_of_the_room_is_kept_for_dials() -> None:
    table = PeerTable(OWN, 16)
    links = fill(table, 14)
    refused = table.join(peer(99), dialled=False, now=1)
    assert refused.link is None
    assert "all 16 connections" in refused.why
    assert table.join(peer(98), dialled=True, now=1).close == ()
    assert table.join(peer(97), dialled=True, now=1).close == ()
    assert table.join(peer(96), dialled=True, now=1).link is None
    later = NEWCOMER + 1
    made = table.join(peer(96), dialled=True, now=later, busy=links[10:])
    assert made.close == ((links[9], "made room for another peer"),)
    assert len(table.peers()) == 16


def test_the_busy_the_new_and_the_dialled_are_not_thrown_out() -> None:
    table = PeerTable(OWN, 4)
    links = fill(table, 4, dialled=True)
    later = NEWCOMER + 1
    assert table.join(peer(9), dialled=False, now=later).link is None
    assert table.join(peer(9), dialled=True, now=later, busy=links).link is None
    assert table.join(peer(9), dialled=True, now=NEWCOMER - 1).link is None
    assert isinstance(table.want(peer(9), ADDRESSES, later, links), Hopeless)
    assert isinstance(table.want(peer(9), ADDRESSES, later, links[:2]), Go)
    assert table.join(peer(9), dialled=True, now=later, busy=links[:2]).close == (
        (links[3], "made room for another peer"),
    )


def come(
    table: PeerTable, numbers: Iterable[int], source: str, *, now: float = 0.0, shared: bool = False
) -> list[int | None]:
    """What becomes of each that comes by itself."""
    return [
        table.join(peer(one), dialled=False, now=now, source=source, shared=shared).link for one in numbers
    ]


@pytest.mark.parametrize(("shared", "room"), [(False, 17), (True, 70)])
def test_one_source_takes_its_share_and_leaves_the_rest_to_others(shared: bool, room: int) -> None:
    table = PeerTable(OWN, 160)
    crowd = come(table, range(160), "machine", shared=shared)
    assert None not in crowd[:room]
    assert set(crowd[room:]) == {None}
    refused = table.join(peer(200), dialled=False, now=1, source="machine", shared=shared)
    assert refused.why == f"all {room} connections that machine may have are in use"
    # Who is there needs no place, and what this node dials there takes none.
    assert table.join(peer(0), dialled=False, now=1, source="machine", shared=shared).link is not None
    assert table.join(peer(300), dialled=True, now=1).link is not None
    assert None not in come(table, range(400, 450), "b", shared=True)


def test_one_source_makes_room_among_its_own_only() -> None:
    table = PeerTable(OWN, 160)
    [others] = come(table, [900], "b")
    crowd = come(table, range(17), "machine")
    later = table.join(peer(99), dialled=False, now=NEWCOMER + 1, source="machine", busy={crowd[0] or 0})
    [(gone, why)] = later.close
    assert gone in crowd[1:]
    assert why == "made room for another peer"
    assert others != gone
    stay = set(table.links_to(peer(900))) | {one for one in crowd if one is not None} | {later.link or 0}
    assert table.join(peer(98), dialled=False, now=2 * NEWCOMER, source="machine", busy=stay).link is None


def test_a_small_node_takes_a_household() -> None:
    table = PeerTable(OWN, 8)
    assert None not in come(table, range(LEAST_SHARE), "home")
    assert come(table, [99], "home") == [None]


def test_one_that_comes_back_needs_no_room() -> None:
    table = PeerTable(OWN, 4)
    fill(table, 4)
    assert table.join(peer(2), dialled=False, now=1).link is not None
    assert len(table.peers()) == 4


# -- all together

PEERS: Sequence[PeerId] = (SMALLER, LARGER, peer(1), peer(2), peer(3))
ROOM = 3


class Histories(RuleBasedStateMachine):
    """The table among five peers and with room for three, against lists of what was granted and ended."""

    def __init__(self) -> None:
        super().__init__()
        self.table = PeerTable(OWN, ROOM)
        self.now = 0.0
        self.links: dict[int, tuple[PeerId, bool]] = {}
        self.ending: set[int] = set()
        self.joined: set[PeerId] = set()
        self.dials: set[PeerId] = set()

    @rule(seconds=st.sampled_from([0.1, 5.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(who=st.sampled_from(PEERS), dialled=st.booleans(), busy=st.integers(0, 2))
    def join(self, who: PeerId, dialled: bool, busy: int) -> None:
        held = set(sorted(self.links)[:busy])
        verdict = self.table.join(who, dialled=dialled, now=self.now, busy=held)
        if verdict.link is None:
            assert verdict.why
            assert verdict.close == ()
            assert not any(found == (who, dialled) for found in self._present().values())
            return
        assert verdict.first == (who not in self.joined)
        for number, why in verdict.close:
            assert why
            assert number not in self.ending
            self.ending.add(number)
            # Who works is thrown out by itself only.
            assert number not in held or self.links[number][0] == who
        self.links[verdict.link] = (who, dialled)
        self.joined.add(who)
        if verdict.retire is not None:
            assert OWN.raw < who.raw
            assert self.links[verdict.retire][0] == who
            assert verdict.retire != self.table.pick(who)

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.links)))
        who, _ = self.links.pop(number)
        self.ending.discard(number)
        last = all(found != who for found, _ in self.links.values())
        assert self.table.left(number) is last
        if last:
            self.joined.remove(who)

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def part(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.links)))
        self.table.part(number)
        self.ending.add(number)

    @rule(who=st.sampled_from(PEERS))
    def want(self, who: PeerId) -> None:
        verdict = self.table.want(who, ADDRESSES, self.now)
        if any(found == who for found, _ in self._present().values()):
            assert verdict == Connected()
        elif who in self.dials:
            assert verdict == UnderWay()
        elif isinstance(verdict, Go):
            assert set(verdict.addresses) | {failure.address for failure in verdict.resting} == set(ADDRESSES)
            assert verdict.addresses
            self.dials.add(who)
        else:
            assert isinstance(verdict, Hopeless)
            assert len(verdict.failures) == len(ADDRESSES) or len(self._here()) == ROOM

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), failed=st.sets(st.sampled_from(ADDRESSES)))
    def dialled(self, data: st.DataObject, failed: set[Multiaddr]) -> None:
        who = data.draw(st.sampled_from(sorted(self.dials, key=lambda one: one.raw)))
        for address in sorted(failed, key=str):
            self.table.failed(who, address, "refused", self.now)
        self.table.dialled(who)
        self.dials.remove(who)

    @invariant()
    def room_and_doubles_are_bounded(self) -> None:
        assert set(self.table.peers()) == self._here()
        assert len(self._here()) <= ROOM
        present = list(self._present().values())
        assert len(present) == len(set(present)), "two links to a peer the same way"
        for who in PEERS:
            assert set(self.table.links_to(who)) == {
                n for n, (found, _) in self.links.items() if found == who
            }
            assert (self.table.pick(who) in self._present()) == (who in self._here())

    def _present(self) -> dict[int, tuple[PeerId, bool]]:
        return {number: found for number, found in self.links.items() if number not in self.ending}

    def _here(self) -> set[PeerId]:
        return {who for who, _ in self._present().values()}


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
