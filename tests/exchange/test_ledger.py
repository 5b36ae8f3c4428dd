"""What peers want of us: the rules of the want list, turns, bounds; and a model of it all."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codex.codec import root_cid
from codex.data import BLOCK_SIZE, LeafAddress
from codex.exchange import ledger as ledger_module
from codex.exchange.ledger import (
    BATCH,
    BATCH_BYTES,
    BATCH_MOST,
    FIRST_BATCH,
    FLOOD,
    MAX_QUERIES,
    MAX_WANTED,
    PEER_BATCHES,
    QUICK,
    SLOW,
    TOTAL_BYTES,
    Ledger,
)
from codex.exchange.messages import Entry
from codex.p2p import PeerId

TREE = root_cid(b"t" * 32)
ALICE, BOB, CAROL = (PeerId(name.encode()) for name in ("alice", "bob", "carol"))


def leaf(index: int) -> LeafAddress:
    return LeafAddress(TREE, index)


def block(*indices: int, deny: bool = False) -> list[Entry]:
    return [Entry(leaf(index), send_dont_have=deny) for index in indices]


def have(*indices: int, deny: bool = False) -> list[Entry]:
    return [Entry(leaf(index), have=True, send_dont_have=deny) for index in indices]


def cancel(*indices: int) -> list[Entry]:
    return [Entry(leaf(index), have=True, cancel=True) for index in indices]


def with_peers(*peers: PeerId) -> Ledger:
    ledger = Ledger()
    for peer in peers:
        ledger.joined(peer)
    return ledger


def with_known(*peers: PeerId) -> Ledger:
    """With peers that have shown how soon they take messages, so that they get whole ones."""
    ledger = with_peers(*peers)
    for peer in peers:
        for count in (FIRST_BATCH, 2 * FIRST_BATCH):
            ledger.note(peer, block(*range(count)))
            ledger.ended(ledger.next_batch(), sent=True, took=SLOW)
    return ledger


def batches(ledger: Ledger) -> list[Any]:
    found = []
    while (batch := ledger.next_batch()) is not None:
        found.append(batch)
    return found


def indices(batch: Any) -> list[int]:
    return [address.index for address in batch.addresses]


def test_wants_are_served_twenty_at_a_time_in_their_order():
    ledger = with_known(ALICE)
    ledger.note(ALICE, block(*range(50)))
    assert [indices(batch) for batch in batches(ledger)] == [
        [*range(20)],
        [*range(20, 40)],
        [*range(40, 50)],
    ]


def test_peers_take_turns():
    ledger = with_known(ALICE, BOB)
    ledger.note(ALICE, block(*range(1000)))
    ledger.note(BOB, block(*range(30)))
    assert [batch.peer for batch in batches(ledger)] == [ALICE, BOB, ALICE, BOB, ALICE]


def test_a_peer_that_does_not_read_holds_nobody_up(monkeypatch):
    monkeypatch.setattr(ledger_module, "TOTAL_BYTES", PEER_BATCHES * BATCH * BLOCK_SIZE)
    ledger = with_known(ALICE, BOB)
    ledger.note(ALICE, block(*range(1000)))
    assert len(batches(ledger)) == PEER_BATCHES
    ledger.note(BOB, block(*range(1000)))
    [batch] = batches(ledger)
    assert batch.peer == BOB
    assert len(batch.addresses) == 1


def test_questions_are_answered_once_and_in_order():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, [*have(1), *have(2, deny=True), *block(3), *have(3), *cancel(4)])
    assert [(query.address.index, query.deny) for query in ledger.take_queries(ALICE)] == [
        (1, False),
        (2, True),
    ]
    assert ledger.take_queries(ALICE) == []


@pytest.mark.parametrize("size", [1, BLOCK_SIZE, 1 << 20])
def test_who_takes_messages_soon_gets_larger_ones_up_to_a_bound(size):
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(*range(1000)))
    counts = []
    for took in [QUICK / 2] * 6 + [(QUICK + SLOW) / 2] + [2 * SLOW] * 3:
        batch = ledger.next_batch()
        counts.append(len(batch.addresses))
        ledger.resize(batch, counts[-1] * size)
        ledger.ended(batch, sent=True, took=took)
    if size > BLOCK_SIZE:
        assert counts == [5, 10] + [BATCH] * 8
    else:
        assert counts == [5, 10, 20, 40, 64, 64, 64, 64, 32, 20]
        assert max(counts) == BATCH_MOST
        assert max(counts) * size <= BATCH_BYTES


def test_messages_through_a_slow_link_have_as_many_blocks_as_leave_soon():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(*range(1000)))
    counts = []
    for seconds_a_block in [2.0] * 3 + [6.5] * 3 + [1.0] * 4 + [0.01] * 6:
        batch = ledger.next_batch()
        counts.append(len(batch.addresses))
        ledger.ended(batch, sent=True, took=counts[-1] * seconds_a_block)
    assert counts == [5, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 4, 8, 16, 20, 20]


def test_what_was_never_sent_and_small_batches_say_nothing_of_the_pace():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(*range(3)))
    ledger.ended(ledger.next_batch(), sent=True, took=0.0)
    ledger.note(ALICE, block(*range(100)))
    batch = ledger.next_batch()
    assert len(batch.addresses) == FIRST_BATCH
    ledger.ended(batch, sent=False, took=0.0)
    assert len(ledger.next_batch().addresses) == FIRST_BATCH


def test_a_cancelled_want_is_not_served():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(1, 2, 3))
    ledger.note(ALICE, cancel(2))
    [batch] = batches(ledger)
    assert indices(batch) == [1, 3]


def test_what_is_not_here_stays_wanted_until_it_arrives():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, [*block(1), *block(2, deny=True), *block(3)])
    [batch] = batches(ledger)
    assert ledger.missed(batch, [leaf(1), leaf(2)]) == [leaf(2)]
    ledger.ended(batch, sent=True)
    assert ledger.trades({})[ALICE].wants_theirs == 2
    assert not ledger.arrived([leaf(3)])
    assert ledger.next_batch() is None
    assert ledger.arrived([leaf(1)])
    [batch] = batches(ledger)
    assert indices(batch) == [1]
    # Asked for again, it is looked for again.
    ledger.note(ALICE, block(2))
    [batch] = batches(ledger)
    assert indices(batch) == [2]


def test_what_arrives_while_it_is_read_and_is_not_found_has_its_turn_again():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(1, 2, deny=True))
    [batch] = batches(ledger)
    ledger.arrived([leaf(1)])
    assert ledger.missed(batch, [leaf(1), leaf(2)]) == [leaf(2)]
    ledger.ended(batch, sent=False)
    [batch] = batches(ledger)
    assert indices(batch) == [1]
    # What came before it was asked for again is no news.
    assert ledger.missed(batch, [leaf(1)]) == [leaf(1)]
    ledger.ended(batch, sent=False)
    assert batches(ledger) == []


def test_what_is_cancelled_while_it_is_read_is_not_wanted_when_it_is_not_found():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(1, 2, 3, deny=True))
    [batch] = batches(ledger)
    ledger.note(ALICE, [*cancel(1, 2, 3), *have(1), *block(3, deny=True)])
    # It is wanted no more, but may still be asked about.
    assert [query.address for query in ledger.take_queries(ALICE)] == [leaf(1)]
    assert ledger.missed(batch, [leaf(1), leaf(3)]) == [leaf(3)]
    ledger.ended(batch, sent=True)
    trade = ledger.trades({})[ALICE]
    assert (trade.wants_theirs, trade.blocks_out) == (1, 1)
    assert not ledger.arrived([leaf(1), leaf(2)])
    assert batches(ledger) == []


def test_accounts_count_what_was_sent_and_outlive_the_connection():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(1, 2))
    [batch] = batches(ledger)
    ledger.resize(batch, 1500)
    assert ledger.bytes == 1500
    ledger.ended(batch, sent=True)
    ledger.received(ALICE, 3, 4000)
    ledger.left(ALICE)
    ledger.joined(ALICE)
    trade = ledger.trades({ALICE: 7})[ALICE]
    assert (trade.blocks_out, trade.bytes_out, trade.blocks_in, trade.bytes_in) == (2, 1500, 3, 4000)
    assert (trade.wants_theirs, trade.wants_ours, trade.connected) == (0, 7, True)
    assert ledger.bytes == 0


def test_what_was_under_way_for_an_earlier_connection_does_not_touch_the_new_one():
    ledger = with_peers(ALICE)
    ledger.note(ALICE, block(1))
    [old] = batches(ledger)
    ledger.left(ALICE)
    ledger.joined(ALICE)
    ledger.note(ALICE, block(1))
    [new] = batches(ledger)
    ledger.missed(old, [leaf(1)])
    ledger.ended(old, sent=False)
    assert ledger.trades({})[ALICE].wants_theirs == 1
    ledger.ended(new, sent=True)
    assert ledger.trades({})[ALICE].blocks_out == 1


def test_a_flood_is_forgotten_and_then_stopped():
    ledger = with_peers(ALICE)
    assert ledger.note(ALICE, block(*range(MAX_WANTED + 10)))
    assert ledger.trades({})[ALICE].wants_theirs == MAX_WANTED
    assert ledger.note(ALICE, have(*range(MAX_WANTED + 10, MAX_WANTED + MAX_QUERIES + 20)))
    count = 0
    while ledger.take_queries(ALICE):
        count += 1
    assert count == MAX_QUERIES // ledger_module.QUERIES
    flood = block(*range(10**6, 10**6 + FLOOD // 8))
    answers = [ledger.note(ALICE, flood) for _ in range(9)]
    assert answers[:7] == [True] * 7
    assert answers[-1] is False


def test_who_is_not_connected_has_no_say():
    ledger = Ledger()
    ledger.note(ALICE, block(1))
    ledger.left(ALICE)
    assert ledger.take_queries(ALICE) == []
    assert ledger.next_batch() is None
    ledger.joined(ALICE)
    ledger.note(ALICE, [*block(1), *have(2)])
    ledger.left(ALICE)
    assert ledger.next_batch() is None
    assert ledger.take_queries(ALICE) == []


def test_accounts_are_bounded_and_those_of_the_connected_are_kept():
    ledger = Ledger()
    ledger.joined(ALICE)
    for number in range(2 * ledger_module._ACCOUNTS):
        peer = PeerId(number.to_bytes(4, "big"))
        ledger.joined(peer)
        ledger.left(peer)
    assert len(ledger.trades({})) <= ledger_module._ACCOUNTS
    assert ledger.trades({})[ALICE].connected


def sizes(ledger: Ledger) -> list[int]:
    return [account.size for account in ledger._accounts.values()]


def test_all_peers_together_have_so_much_wanted_and_each_its_share_of_it(monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_TOTAL", 1000)
    ledger = with_peers(ALICE, BOB, CAROL)
    ledger.note(ALICE, block(*range(600)) + have(*range(600, 900)))
    # What is not here takes memory, too.
    ledger.missed(batch := ledger.next_batch(), batch.addresses)
    ledger.ended(batch, sent=False)
    assert sizes(ledger) == [900, 0, 0]
    ledger.note(BOB, block(*range(50)) + have(*range(50, 100)))
    assert sizes(ledger) == [900, 100, 0]
    # Questions are forgotten first, and no more than is needed.
    ledger.note(CAROL, block(*range(100)))
    assert sizes(ledger) == [800, 100, 100]
    assert len(ledger.take_queries(ALICE)) == 200
    ledger.note(ALICE, have(*range(600, 800)))
    # Beyond its share, a peer has nobody forget anything.
    ledger.note(CAROL, block(*range(100, 1000)))
    assert sizes(ledger) == [567, 100, 333]
    ledger.note(CAROL, block(2000) + have(2001))
    ledger.note(ALICE, block(2000) + have(2001))
    assert sizes(ledger) == [567, 100, 333]
    # A list of what is not wanted any more takes no room.
    ledger.note(CAROL, cancel(*range(5000, 6000)))
    assert sizes(ledger) == [567, 100, 333]
    ledger.note(ALICE, cancel(*range(900)))
    ledger.note(CAROL, block(*range(3000, 3500)))
    assert sizes(ledger) == [0, 100, 833]


def test_what_is_forgotten_is_not_served_and_not_waited_for(monkeypatch):
    monkeypatch.setattr(ledger_module, "MAX_TOTAL", 20)
    ledger = with_known(ALICE, BOB)
    ledger.note(ALICE, block(*range(20)))
    ledger.missed(batch := ledger.next_batch(), batch.addresses)
    ledger.ended(batch, sent=False)
    ledger.note(BOB, block(*range(100, 110)))
    assert sizes(ledger) == [10, 10]
    assert not ledger.arrived([leaf(19)])
    assert ledger.arrived([leaf(0)])
    ledger.left(BOB)
    ledger.left(ALICE)
    assert not ledger.arrived([leaf(1)])
    assert ledger.next_batch() is None


class Serving(RuleBasedStateMachine):
    """Peers ask, cancel, come and go; batches are read, sent, or lost; blocks arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.peers: set[PeerId] = set()
        self.here: set[LeafAddress] = set()
        self.wanted: dict[PeerId, set[LeafAddress]] = {}
        self.under_way: list[Any] = []
        self.seen: dict[Any, set[LeafAddress]] = {}
        self.cancelled: dict[Any, set[LeafAddress]] = {}

    peer = st.sampled_from([ALICE, BOB, CAROL])
    some = st.lists(st.integers(0, 80), min_size=1, max_size=40, unique=True)

    @rule(peer=peer)
    def join(self, peer):
        if peer not in self.peers:
            self.peers.add(peer)
            self.wanted[peer] = set()
            self.ledger.joined(peer)

    @rule(peer=peer)
    def leave(self, peer):
        self.peers.discard(peer)
        self.wanted.pop(peer, None)
        self.ledger.left(peer)

    @rule(peer=peer, some=some)
    def want(self, peer, some):
        self.ledger.note(peer, block(*some))
        if peer in self.peers:
            self.wanted[peer] |= {leaf(index) for index in some}
            for batch in self.under_way:
                if batch.account is self.ledger._accounts[peer]:
                    self.cancelled[batch] -= {leaf(index) for index in some}

    @rule(peer=peer, some=some)
    def cancel(self, peer, some):
        self.ledger.note(peer, cancel(*some))
        if peer in self.peers:
            sending = self.ledger._accounts[peer].sending
            self.wanted[peer] -= {leaf(index) for index in some} - set(sending)
            for batch in self.under_way:
                if batch.account is self.ledger._accounts[peer]:
                    self.cancelled[batch] |= {leaf(index) for index in some} & set(batch.addresses)

    @rule(some=some)
    def arrive(self, some):
        self.here |= {leaf(index) for index in some}
        self.ledger.arrived([leaf(index) for index in some])

    @rule()
    def begin(self):
        batch = self.ledger.next_batch()
        if batch is not None:
            assert batch.peer in self.peers
            assert 0 < len(batch.addresses) <= BATCH_MOST
            assert set(batch.addresses) <= self.wanted[batch.peer]
            for other in self.under_way:
                assert other.account is not batch.account or not set(other.addresses) & set(batch.addresses)
            self.under_way.append(batch)
            # The store is looked through at once, and says late what it found.
            self.seen[batch], self.cancelled[batch] = set(self.here), set()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), sent=st.booleans(), took=st.sampled_from([0.0, 0.1, 1.0]))
    def end(self, data, sent, took):
        batch = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(batch)
        missing = [address for address in batch.addresses if address not in self.seen[batch]]
        self.ledger.missed(batch, missing)
        self.ledger.resize(batch, (len(batch.addresses) - len(missing)) * 1000)
        self.ledger.ended(batch, sent=sent, took=took)
        if self.ledger._accounts.get(batch.peer) is batch.account and batch.peer in self.peers:
            self.wanted[batch.peer] -= set(batch.addresses) - (set(missing) - self.cancelled[batch])

    @invariant()
    def nothing_is_lost_and_all_is_bounded(self):
        for peer in self.peers:
            account = self.ledger._accounts[peer]
            parts = [set(account.waiting), set(account.sending), set(account.absent)]
            assert sum(map(len, parts)) == len(set.union(*parts)) == len(self.wanted[peer])
            assert set.union(*parts) == self.wanted[peer]
            assert (
                account.batches == sum(batch.account is account for batch in self.under_way) <= PEER_BATCHES
            )
            assert bool(account.waiting) == (peer in self.ledger._turns)
            assert not self.here & set(account.absent)
        assert self.ledger.bytes == sum(batch.size for batch in self.under_way) <= TOTAL_BYTES
        seekers = {(address, peer) for address, peers in self.ledger._seekers.items() for peer in peers}
        absent = {(address, peer) for peer in self.peers for address in self.ledger._accounts[peer].absent}
        assert seekers == absent

    def teardown(self):
        """Whatever happened: when everything is here, everybody gets what they want."""
        self.ledger.arrived([leaf(index) for index in range(81)])
        for batch in self.under_way:
            self.ledger.ended(batch, sent=False)
        left = sum(account.wanted for account in self.ledger._accounts.values() if account.connected)
        while (batch := self.ledger.next_batch()) is not None:
            self.ledger.ended(batch, sent=True)
            left -= len(batch.addresses)
        assert left == 0
        assert self.ledger.bytes == 0


TestServing = Serving.TestCase
TestServing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
