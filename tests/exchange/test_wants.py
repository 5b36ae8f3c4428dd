"""The want scheduler: rules one by one, and a model in which peers do what they like."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codex.codec import block_cid, root_cid
from codex.data import BLOCK_SIZE, LeafAddress
from codex.exchange import planning
from codex.exchange.messages import Presence
from codex.exchange.orders import STRIKES, AskHave, Order, SendAway, Withdraw
from codex.exchange.pace import FIRST_WINDOW, MAX_WINDOW
from codex.exchange.planning import DOUBT, FETCH_WINDOW, FIRST_ORDER, HAVE_BATCH, LONGEST, PATIENCE, PROBE
from codex.exchange.sources import Fetch
from codex.exchange.wants import Wants
from codex.p2p import PeerId

TREE = root_cid(b"t" * 32)
ALICE, BOB, CAROL = (PeerId(name.encode()) for name in ("alice", "bob", "carol"))


def leaves(*indices: int) -> list[LeafAddress]:
    return [LeafAddress(TREE, index) for index in indices]


def of_kind(actions: list[Any], kind: type) -> list[Any]:
    return [action for action in actions if isinstance(action, kind)]


def ordered(actions: list[Any], peer: PeerId) -> list[int]:
    """The indices that are ordered of a peer."""
    return [a.index for action in of_kind(actions, Order) if action.peer == peer for a in action.addresses]


def have(*indices: int) -> list[Presence]:
    return [Presence(address, True) for address in leaves(*indices)]


def have_not(*indices: int) -> list[Presence]:
    return [Presence(address, False) for address in leaves(*indices)]


def asked(wants: Wants, peer: PeerId) -> list[int]:
    """The indices that are on order from a peer."""
    source = wants.source(peer)
    assert source is not None
    return [want.address.index for want in source.asked if isinstance(want.address, LeafAddress)]


def delivered(wants: Wants, peer: PeerId, index: int, now: float) -> list[Fetch]:
    """Have a peer send a block; the fetches that wanted it of it."""
    [want] = wants.wanted(peer, leaves(index))
    return list(wants.delivered(peer, [(want, BLOCK_SIZE, None)], now)) if want else []


def deliver(wants: Wants, peer: PeerId, indices: list[int], now: float) -> None:
    owed = wants.arriving(peer, leaves(*indices), now)
    given = wants.delivered(peer, [(want, BLOCK_SIZE, want.place) for want in owed if want], now)
    assert sum(map(len, given.values())) == len(indices)
    for fetch, some in given.items():
        wants.taken(fetch, len(some) * BLOCK_SIZE)


def test_strangers_are_asked_about_the_beginning_only():
    wants = Wants()
    wants.joined(ALICE, -1000)
    wants.add(wants.open(TREE, 0), leaves(*range(100)))
    [ask] = wants.plan(0)
    assert isinstance(ask, AskHave)
    assert list(ask.addresses) == leaves(*range(PROBE))
    assert ask.full
    assert wants.plan(0.1) == []


def _with_much_wanted() -> tuple[Wants, list[Any]]:
    """Wants of 3,000 leaves, and what was said to ALICE when she had the first of them."""
    wants = Wants()
    wants.joined(ALICE, -1000)
    wants.add(wants.open(TREE, 0), leaves(*range(3000)))
    wants.plan(0)
    wants.heard(ALICE, have(0))
    return wants, wants.plan(0.1)


def _assert_asked_about_the_rest(actions) -> None:
    asks = of_kind(actions, AskHave)
    assert [a.index for ask in asks for a in ask.addresses] == list(range(PROBE, 3000))
    assert max(len(ask.addresses) for ask in asks) == HAVE_BATCH
    assert not any(ask.full for ask in asks)


def test_who_has_some_is_hoped_to_have_all_and_asked_no_more_while_it_delivers():
    wants, actions = _with_much_wanted()
    assert of_kind(actions, AskHave) == []
    assert ordered(actions, ALICE) == list(range(FIRST_WINDOW // BLOCK_SIZE))
    assert len(of_kind(actions, Order)[0].addresses) == FIRST_ORDER
    for n in range(8):
        deliver(wants, ALICE, [n], 0.2 + n)
        assert of_kind(wants.plan(0.2 + n), AskHave) == []


def test_who_is_hoped_to_have_all_and_keeps_us_waiting_is_asked():
    wants, _ = _with_much_wanted()
    deliver(wants, ALICE, [0], 0.2)
    assert of_kind(wants.plan(0.1 + DOUBT), AskHave) == []
    _assert_asked_about_the_rest(wants.plan(0.2 + DOUBT))
    assert wants.plan(0.3 + DOUBT) == []


def test_who_lacks_one_is_asked_about_all_the_others():
    wants, _ = _with_much_wanted()
    wants.heard(ALICE, have_not(2))
    _assert_asked_about_the_rest(wants.plan(0.2))


def test_a_hint_orders_without_asking_first():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0, 1, 2))
    wants.hint(ALICE, TREE)
    actions = wants.plan(0)
    # The question goes ahead of the order, so that what is not there is said to be.
    assert [type(action) for action in actions] == [AskHave, Order]
    wants.heard(ALICE, have_not(1))
    assert wants.plan(0.1) == [Withdraw(ALICE, tuple(leaves(1)))]
    assert not wants.is_stuck(fetch, 0.1)


def test_a_peer_that_had_the_neighbours_is_known_in_the_next_fetch():
    wants = Wants()
    wants.joined(ALICE, -1000)
    first = wants.open(TREE, 0)
    wants.add(first, leaves(0))
    wants.plan(0)
    wants.heard(ALICE, have(0))
    wants.plan(0.1)
    deliver(wants, ALICE, [0], 0.2)
    wants.close(first)
    wants.add(wants.open(TREE, 1), leaves(1, 2))
    assert ordered(wants.plan(1), ALICE) == [1, 2]


def test_more_of_a_message_of_whom_something_is_on_order_keeps_all_fetches_up_that_wait_for_it():
    wants = Wants()
    wants.joined(ALICE, -1000)
    wants.joined(BOB, -1000)
    fetches = [wants.open(TREE, 0), wants.open(root_cid(b"2" * 32), 0)]
    for fetch in fetches:
        wants.add(fetch, [LeafAddress(fetch.subject, 0)])
        wants.hint(ALICE, fetch.subject)
    wants.plan(0)
    assert len(wants.source(ALICE).asked) == 2
    assert not wants.is_given_up(fetches[0], 5, 4.9)
    assert wants.is_given_up(fetches[0], 5, 5)
    wants.alive(BOB, 7)
    assert [wants.is_given_up(fetch, 5, 11) for fetch in fetches] == [True, True]
    wants.alive(ALICE, 9)
    assert [wants.is_given_up(fetch, 5, 13.9) for fetch in fetches] == [False, False]
    assert [wants.is_given_up(fetch, 5, 14) for fetch in fetches] == [True, True]
    # With a block, patience begins anew.
    deliver(wants, ALICE, [0], 9)
    assert not wants.is_given_up(fetches[0], 5, 13.9)


@pytest.mark.parametrize("timeout", [5, 60, 300])
def test_messages_that_come_little_by_little_keep_a_fetch_up_for_so_long_only_whoever_sends_them(timeout):
    wants = Wants()
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0))
    now, peers = 0, []
    while not wants.is_given_up(fetch, timeout, now):
        assert now < timeout + LONGEST
        if now % 20 == 0:
            peers.append(PeerId(f"peer {now}".encode()))
            wants.joined(peers[-1], now)
            wants.hint(peers[-1], TREE)
        wants.plan(now)
        for peer in peers:
            wants.alive(peer, now)
        now += 1
    assert now == timeout + LONGEST


def test_the_window_bounds_what_a_fetch_holds():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(*range(2000)))
    wants.hint(ALICE, TREE)
    now = 0.0
    untaken = 0
    for _ in range(200):
        now += 0.01
        wants.plan(now)
        for index in asked(wants, ALICE)[:64]:
            wants.arriving(ALICE, leaves(index), now)
            delivered(wants, ALICE, index, now)
            untaken += BLOCK_SIZE
        assert fetch.held <= FETCH_WINDOW
    assert untaken == fetch.held == FETCH_WINDOW
    assert not wants.source(ALICE).asked


def test_what_has_come_is_not_kept_for_a_source_that_is_never_asked():
    wants = Wants()
    for peer in (ALICE, BOB):
        wants.joined(peer, 0)
        wants.hint(peer, TREE)
    source = wants.source(BOB)
    assert source is not None
    source.resting = float("inf")
    fetch = wants.open(TREE, 0)
    for number in range(200):
        wants.add(fetch, leaves(*range(4 * number, 4 * number + 4)))
        wants.plan(number)
        deliver(wants, ALICE, asked(wants, ALICE), number)
    assert fetch.delivered == 800
    assert len(fetch.ready[BOB]) < 100


def test_many_fetches_share_the_memory():
    wants = Wants()
    fetches = [wants.open(root_cid(bytes([i]) * 32), 0) for i in range(100)]
    assert sum(wants._planner.window_of(fetch) for fetch in fetches) <= planning.TOTAL_WINDOW


def test_two_seeders_share_by_pace():
    wants = Wants()
    for peer in (ALICE, BOB):
        wants.joined(peer, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(*range(4000)))
    for peer in (ALICE, BOB):
        wants.hint(peer, TREE)
    now, came = 0.0, {ALICE: 0, BOB: 0}
    for _ in range(100):
        wants.plan(now)
        now += 0.1
        for peer, blocks in ((ALICE, 30), (BOB, 10)):
            some = asked(wants, peer)[:blocks]
            came[peer] += len(some)
            deliver(wants, peer, some, now)
    assert 2 < came[ALICE] / came[BOB] < 4
    assert sum(came.values()) > 3900


def test_a_silent_peer_loses_its_orders_to_others_and_is_sent_away_in_the_end():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0, 1))
    wants.hint(ALICE, TREE)
    assert ordered(wants.plan(0), ALICE) == [0, 1]
    now, away = 0.0, []
    while not away and now < 300:
        now += 1
        away = of_kind(wants.plan(now), SendAway)
    assert [action.peer for action in away] == [ALICE]
    assert now <= 4 * PATIENCE + 30
    assert not wants.source(ALICE).asked
    wants.left(ALICE)
    wants.joined(BOB, -1000)
    wants.hint(BOB, TREE)
    assert ordered(wants.plan(now), BOB) == [0, 1]


def test_a_peer_that_only_dribbles_loses_its_orders_too():
    wants = Wants()
    wants.joined(ALICE, -1000)
    wants.add(wants.open(TREE, 0), leaves(0))
    wants.hint(ALICE, TREE)
    wants.plan(0)
    now = 0.0
    while not of_kind(wants.plan(now), Withdraw):
        assert now < LONGEST + 2
        now += 1
        wants.alive(ALICE, now)
    assert now > LONGEST


def test_at_the_end_a_slow_peers_orders_go_to_an_idle_one():
    wants = Wants()
    for peer in (ALICE, BOB):
        wants.joined(peer, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(*range(40)))
    for peer in (ALICE, BOB):
        wants.hint(peer, TREE)
    actions, now = wants.plan(0), 0.0
    slow = ordered(actions, ALICE)
    assert slow
    moved: list[int] = []
    while set(slow) - set(moved):
        assert now < PATIENCE
        now += 0.1
        deliver(wants, BOB, asked(wants, BOB)[:4], now)
        actions = wants.plan(now)
        taken = [a.index for action in of_kind(actions, Withdraw) for a in action.addresses]
        assert set(taken) <= set(ordered(actions, BOB))
        moved += taken
    # A late answer is as good as any.
    assert wants.wanted(ALICE, leaves(slow[0])) != [None]


def test_a_peer_that_is_busy_with_what_was_withdrawn_keeps_its_orders():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0, 1))
    wants.hint(ALICE, TREE)
    wants.plan(0)
    wants.close(fetch)
    wants.add(wants.open(TREE, 1), leaves(2))
    wants.plan(1)
    wants.arriving(ALICE, leaves(0), PATIENCE)
    assert not of_kind(wants.plan(PATIENCE + 2), Withdraw)
    # Anything else that it sends is small talk.
    wants.arriving(ALICE, leaves(7), PATIENCE + 5)
    assert of_kind(wants.plan(2 * PATIENCE + 1), Withdraw)


def test_two_slow_peers_do_not_pass_an_order_to_and_fro():
    wants = Wants()
    for peer in (ALICE, BOB, CAROL):
        wants.joined(peer, -1000)
        wants.hint(peer, TREE)
    wants.add(wants.open(TREE, 0), leaves(0))
    now, asked = 0.0, []
    while now < PATIENCE:
        asked += [action.peer for action in of_kind(wants.plan(now), Order)]
        now += 0.5
    assert len(asked) == len(set(asked)) == 3


def test_what_comes_late_is_excused_and_what_was_never_asked_is_not():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0, 1))
    wants.hint(ALICE, TREE)
    wants.plan(0)
    wants.close(fetch)
    assert wants.plan(1) == [Withdraw(ALICE, tuple(leaves(0, 1)))]
    wants.unasked(ALICE, LeafAddress(TREE, 0), 1)
    assert wants.source(ALICE).strikes == 0
    for _ in range(STRIKES):
        assert not of_kind(wants.plan(1), SendAway)
        wants.unasked(ALICE, LeafAddress(TREE, 9), 1)
    assert of_kind(wants.plan(1), SendAway)


def test_a_message_may_bring_what_was_on_order_lately_and_no_more():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(*range(12)))
    assert wants.due_bytes(ALICE) == wants.due_bytes(BOB) == 0
    wants.hint(ALICE, TREE)
    wants.plan(0)
    assert wants.due_bytes(ALICE) == 2 * 12 * BLOCK_SIZE
    wants.close(fetch)
    assert wants.due_bytes(ALICE) == 12 * BLOCK_SIZE
    for first in range(12, 1012, 10):
        more = wants.open(TREE, 1)
        wants.add(more, leaves(*range(first, first + 10)))
        wants.hint(ALICE, TREE)
        wants.plan(1)
        wants.close(more)
    assert wants.due_bytes(ALICE) == 64 * BLOCK_SIZE


def test_what_an_earlier_life_asked_for_is_forgiven():
    wants = Wants()
    wants.joined(ALICE, 0)
    for index in range(100):
        wants.unasked(ALICE, LeafAddress(TREE, index), 10)
    assert wants.source(ALICE).strikes == 0


def test_stalls_are_forgotten_when_it_delivers():
    wants = Wants()
    wants.joined(ALICE, 0)
    wants.add(wants.open(TREE, 0), leaves(*range(20)))
    wants.hint(ALICE, TREE)
    now = 0.0
    for index in range(10):
        while index not in asked(wants, ALICE):
            now += 1
            assert not of_kind(wants.plan(now), SendAway)
        now += PATIENCE + 1
        wants.plan(now)  # a stall
        while index not in asked(wants, ALICE):
            now += 1
            wants.plan(now)
        deliver(wants, ALICE, [index], now)
    assert wants.source(ALICE).strikes == 0


def test_two_lies_are_enough_and_others_get_the_orders():
    wants = Wants()
    for peer in (ALICE, BOB):
        wants.joined(peer, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(*range(4)))
    wants.hint(ALICE, TREE)
    assert ordered(wants.plan(0), ALICE) == [0, 1, 2, 3]
    wants.lied(ALICE, LeafAddress(TREE, 0))
    wants.hint(BOB, TREE)
    actions = wants.plan(0.1)
    assert set(ordered(actions, ALICE) + ordered(actions, BOB)) == {0, 1, 2, 3}
    assert 0 not in ordered(actions, ALICE)
    wants.lied(ALICE, LeafAddress(TREE, 1))
    actions = wants.plan(0.2)
    assert [action.peer for action in of_kind(actions, SendAway)] == [ALICE]
    assert set(asked(wants, BOB)) == {0, 1, 2, 3}
    assert fetch.tried.peers[ALICE].lied == 2


def test_a_shunned_peer_is_not_asked():
    wants = Wants()
    wants.joined(ALICE, 0, shunned=True)
    wants.add(wants.open(TREE, 0), leaves(0))
    wants.hint(ALICE, TREE)
    wants.heard(ALICE, have(0))
    assert wants.plan(0) == []


def test_two_fetches_want_the_same_and_it_is_ordered_once():
    wants = Wants()
    wants.joined(ALICE, -1000)
    first, second = wants.open(TREE, 0), wants.open(TREE, 0)
    wants.hint(ALICE, TREE)
    wants.add(first, leaves(0, 1))
    wants.add(second, leaves(1, 2))
    assert sorted(ordered(wants.plan(0), ALICE)) == [0, 1, 2]
    assert delivered(wants, ALICE, 1, 1) == [first, second]
    assert delivered(wants, ALICE, 1, 1) == []


def test_an_order_passes_to_the_other_fetch_that_wants_the_same():
    wants = Wants()
    wants.joined(ALICE, -1000)
    first, second = wants.open(TREE, 0), wants.open(TREE, 0)
    wants.hint(ALICE, TREE)
    wants.add(first, leaves(0, 1))
    wants.add(second, leaves(1))
    wants.plan(0)
    wants.close(first)
    actions = wants.plan(0.1)
    assert of_kind(actions, Withdraw) == [Withdraw(ALICE, tuple(leaves(0)))]
    assert not of_kind(actions, Order)
    assert second.held == BLOCK_SIZE
    assert delivered(wants, ALICE, 1, 1) == [second]
    assert second.held == BLOCK_SIZE


def test_peers_are_asked_again_for_what_nobody_had():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0))
    wants.plan(0)
    wants.heard(ALICE, have_not(0))
    assert wants.is_stuck(fetch, 0.1)
    asked = [now for now in range(1, 100) if of_kind(wants.plan(now), AskHave)]
    assert asked[0] == 2
    gaps = [b - a for a, b in pairwise(asked)]
    assert gaps == sorted(gaps)
    wants.heard(ALICE, have(0))
    assert ordered(wants.plan(100), ALICE) == [0]


def test_who_does_not_answer_counts_as_having_nothing_after_a_while():
    wants = Wants()
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0))
    wants.plan(0)
    assert not wants.is_stuck(fetch, 1)
    assert wants.is_stuck(fetch, planning.ANSWER_TIME)


def test_after_an_interruption_everything_is_said_again():
    wants = Wants()
    wants.joined(ALICE, -1000)
    wants.add(wants.open(TREE, 0), leaves(0, 1))
    wants.hint(ALICE, TREE)
    before = wants.plan(0)
    wants.interrupted(ALICE)
    again = wants.plan(1)
    assert ordered(again, ALICE) == ordered(before, ALICE) == [0, 1]
    assert of_kind(again, AskHave)[0].full


def test_retries_are_bounded():
    wants = Wants(retries=2)
    wants.joined(ALICE, -1000)
    fetch = wants.open(TREE, 0)
    wants.add(fetch, leaves(0))
    wants.hint(ALICE, TREE)
    for now in (0, 1):
        assert ordered(wants.plan(now), ALICE) == [0]
        wants.interrupted(ALICE)
    assert ordered(wants.plan(2), ALICE) == []
    assert fetch.exhausted is not None


def test_single_blocks_go_the_same_way():
    cid = block_cid(b"b" * 32)
    wants = Wants()
    wants.joined(ALICE, -1000)
    wants.add(wants.open(cid, 0), [cid])
    wants.plan(0)
    wants.heard(ALICE, [Presence(cid, True)])
    assert of_kind(wants.plan(0), Order) == [Order(ALICE, (cid,))]


class Exchanges(RuleBasedStateMachine):
    """Peers join, leave, tell truths and lies, deliver or not; fetches come and go; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.wants = Wants()
        self.peers: set[PeerId] = set()
        self.fetches: list[Any] = []
        self.orders: dict[PeerId, set[LeafAddress]] = {}  # as the peers see them
        self.untaken: dict[Any, int] = {}
        self.sent_away: set[PeerId] = set()

    peer = st.sampled_from([ALICE, BOB, CAROL])
    index = st.integers(0, 60)

    def act(self) -> None:
        for action in self.wants.plan(self.now):
            if isinstance(action, Order):
                assert action.addresses
                mine = self.orders.setdefault(action.peer, set())
                assert not mine & set(action.addresses), "ordered twice"
                mine |= set(action.addresses)
                assert action.peer in self.peers
                assert action.peer not in self.sent_away
            elif isinstance(action, Withdraw):
                self.orders.get(action.peer, set()).difference_update(action.addresses)
            elif isinstance(action, SendAway):
                self.sent_away.add(action.peer)
                self.orders.pop(action.peer, None)

    @rule(peer=peer)
    def join(self, peer):
        if peer not in self.peers:
            self.peers.add(peer)
            self.wants.joined(peer, -1000)
            self.sent_away.discard(peer)
        self.act()

    @rule(peer=peer)
    def leave(self, peer):
        if peer in self.peers:
            self.peers.discard(peer)
            self.orders.pop(peer, None)
            self.wants.left(peer)
        self.act()

    @rule(peer=peer)
    def interrupt(self, peer):
        self.orders.pop(peer, None)
        self.wants.interrupted(peer)
        self.act()

    @precondition(lambda self: len(self.fetches) < 3)
    @rule()
    def open(self):
        fetch = self.wants.open(TREE, self.now)
        self.fetches.append(fetch)
        self.untaken[fetch] = 0

    @precondition(lambda self: self.fetches)
    @rule(data=st.data(), first=index, count=st.integers(1, 40))
    def add(self, data, first, count):
        fetch = data.draw(st.sampled_from(self.fetches))
        self.wants.add(fetch, leaves(*range(first, first + count)))
        self.act()

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def close(self, data):
        fetch = data.draw(st.sampled_from(self.fetches))
        self.fetches.remove(fetch)
        del self.untaken[fetch]
        self.wants.close(fetch)
        self.act()

    @rule(peer=peer, some=st.sets(index, max_size=20), true=st.booleans())
    def tell(self, peer, some, true):
        self.wants.heard(peer, (have if true else have_not)(*sorted(some)))
        self.act()

    @rule(peer=peer)
    def hint(self, peer):
        self.wants.hint(peer, TREE)
        self.act()

    @rule(peer=peer, count=st.integers(1, 25), data=st.data())
    def send(self, peer, count, data):
        mine = sorted(self.orders.get(peer, ()), key=lambda address: address.index)
        some = mine[:count]
        self.wants.arriving(peer, some, self.now)
        for address in some:
            self.orders[peer].discard(address)
            self.receive(peer, address)
        self.act()

    @rule(peer=peer, index=index)
    def send_anything(self, peer, index):
        address = LeafAddress(TREE, index)
        if self.wants.wanted(peer, [address]) != [None]:
            self.orders.get(peer, set()).discard(address)
            self.receive(peer, address)
        else:
            self.wants.unasked(peer, address, self.now)
        self.act()

    def receive(self, peer, address):
        [want] = self.wants.wanted(peer, [address])
        wanted = [fetch for fetch in self.fetches if want in fetch.wants]
        got = self.wants.delivered(peer, [(want, BLOCK_SIZE, address)] * 2, self.now)
        assert got == {fetch: [address] for fetch in wanted}
        assert self.wants.wanted(peer, [address]) == [None]
        for fetch in got:
            self.untaken[fetch] += BLOCK_SIZE

    @rule(peer=peer, data=st.data())
    def lie(self, peer, data):
        mine = sorted(self.orders.get(peer, ()), key=lambda address: address.index)
        if mine:
            self.wants.lied(peer, data.draw(st.sampled_from(mine)))
            self.act()

    @rule(seconds=st.sampled_from([0.01, 0.3, 2.0, 20.0]))
    def wait(self, seconds):
        self.now += seconds
        self.act()

    @precondition(lambda self: self.fetches)
    @rule(data=st.data())
    def take(self, data):
        fetch = data.draw(st.sampled_from(self.fetches))
        self.wants.taken(fetch, self.untaken[fetch])
        self.untaken[fetch] = 0
        self.act()

    @invariant()
    def everything_adds_up(self):
        on_order: dict[LeafAddress, PeerId] = {}
        for peer in (ALICE, BOB, CAROL):
            source = self.wants.source(peer)
            if source is None:
                continue
            assert source.asked_bytes == len(source.asked) * BLOCK_SIZE
            assert source.asked_bytes <= MAX_WINDOW
            for want in source.asked:
                assert want.address not in on_order, "on order twice"
                assert want.asked is source
                assert not want.over
                on_order[want.address] = peer
            # What the peer takes to be ordered is what we do.
            assert self.orders.get(peer, set()) == {want.address for want in source.asked}
        for fetch in self.fetches:
            own = [want for want in fetch.wants if want.fetch is fetch]
            assert fetch.on_order == sum(want.asked is not None for want in own)
            assert fetch.held == fetch.on_order * BLOCK_SIZE + self.untaken[fetch]
            for want in own:
                assert (want.asked is None) == (want.address not in on_order)
                if want.asked is None:
                    for peer in want.holders:
                        assert want in fetch.ready[peer], "lost"

    def teardown(self):
        """Whatever happened: with one honest peer, everything that is wanted comes."""
        dave = PeerId(b"dave")
        self.wants.joined(dave, -1000)
        self.peers.add(dave)
        self.wants.hint(dave, TREE)
        for _ in range(400):
            self.now += 1
            self.act()
            for address in sorted(self.orders.pop(dave, set()), key=lambda address: address.index)[:50]:
                self.receive(dave, address)
            self.orders[dave] = {want.address for want in self.wants.source(dave).asked}
            for fetch in self.fetches:
                self.wants.taken(fetch, self.untaken[fetch])
                self.untaken[fetch] = 0
            if not any(fetch.wants for fetch in self.fetches):
                break
        assert not any(fetch.wants for fetch in self.fetches)
        for fetch in self.fetches:
            self.wants.close(fetch)
        assert not self.wants._pending


TestExchanges = Exchanges.TestCase
TestExchanges.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
