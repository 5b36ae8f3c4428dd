"""Answers go out no faster than a peer takes them."""

import trio
from trio.testing import wait_all_tasks_blocked

from codex.data import LeafAddress
from codex.errors import CorruptData
from codex.exchange.ledger import FIRST_BATCH, MAX_QUERIES, PEER_BATCHES, QUERIES, Ledger
from codex.exchange.messages import Entry, Presence, decode
from codex.exchange.peering import Session
from codex.exchange.serving import _ANSWERS_BYTES, READS, Server
from codex.p2p import Identity
from codex.runtime import SeededEntropy
from codex.store import ProvedBlock

ALICE = Identity.generate(SeededEntropy("alice")).peer_id


class Shelf:
    """A store that says to have everything, and finds nothing of it."""

    def __init__(self):
        self.asked = 0

    async def find_leaves(self, tree, indices):
        await trio.lowlevel.checkpoint()
        return [None] * len(indices)

    async def has_many(self, addresses):
        await trio.lowlevel.checkpoint()
        self.asked += len(addresses)
        return [True] * len(addresses)


class Sessions:
    """A connection to alice, from which she takes what is said to her when the test does."""

    def __init__(self):
        self.alice = Session(ALICE)
        self.alice.talking = True

    def session(self, peer):
        return self.alice if peer == ALICE else None


def _presences(session):
    """What waits to be sent; it is taken."""
    notes = list(session.notes)
    session.take_notes()
    return [presence for note in notes for presence in decode(b"".join(note[1:])).presences]


async def test_a_peer_that_takes_no_answers_has_no_more_questions_answered(nursery, autojump_clock, world):
    dataset, ledger, shelf, sessions = world.dataset(1), Ledger(), Shelf(), Sessions()
    ledger.joined(ALICE)
    server = Server(shelf, ledger, sessions)
    nursery.start_soon(server.run)
    entries = [Entry(LeafAddress(dataset.cid, i), True, False, True) for i in range(MAX_QUERIES)]
    asked = 0
    for _ in range(4):
        ledger.note(ALICE, entries)
        server.ask(ALICE)
        await wait_all_tasks_blocked()
    session = sessions.alice
    # One message above the bound, and what it holds no longer waits with the questions.
    size = session.notes_bytes // (shelf.asked // QUERIES)
    assert _ANSWERS_BYTES < session.notes_bytes <= _ANSWERS_BYTES + size
    assert len(ledger._accounts[ALICE].queries) == MAX_QUERIES
    while shelf.asked > asked:
        asked = shelf.asked
        assert _presences(session)
        await wait_all_tasks_blocked()
        assert session.notes_bytes <= _ANSWERS_BYTES + size
    # All that were not too many are answered once she takes the answers.
    assert asked > MAX_QUERIES
    assert not ledger._accounts[ALICE].queries
    assert not session.answering


async def test_so_many_batches_are_read_at_once_and_the_next_when_one_is_done(nursery, autojump_clock, world):
    dataset, ledger, reading, most, read = world.dataset(1), Ledger(), 0, 0, 0

    class Slow:
        async def find_leaves(self, tree, indices):
            nonlocal reading, most, read
            reading += 1
            most = max(most, reading)
            await trio.sleep(1)
            reading -= 1
            read += len(indices)
            return [None] * len(indices)

    server = Server(Slow(), ledger, Sessions())
    nursery.start_soon(server.run)
    peers = [Identity.generate(SeededEntropy(f"peer {number}")).peer_id for number in range(2 * READS)]
    for peer in peers:
        ledger.joined(peer)
        ledger.note(peer, [Entry(LeafAddress(dataset.cid, i)) for i in range(FIRST_BATCH)])
        server.wake()
    await trio.sleep(0.5)
    assert reading == READS
    await trio.sleep(1)
    assert (reading, read) == (READS, READS * FIRST_BATCH)
    await trio.sleep(1)
    assert (reading, most, read) == (0, READS, len(peers) * FIRST_BATCH)


async def test_who_takes_no_blocks_does_not_keep_others_from_having_theirs_read(
    nursery, autojump_clock, world
):
    dataset, ledger, sessions = world.dataset(1), Ledger(), {}

    class Full:
        async def find_leaves(self, tree, indices):
            await trio.sleep(1)
            return [ProvedBlock(dataset.blocks[0], b"") for _ in indices]

    class Deaf:
        def session(self, peer):
            return sessions[peer]

    server = Server(Full(), ledger, Deaf())
    nursery.start_soon(server.run)
    for number in range(2 * READS):
        peer = Identity.generate(SeededEntropy(f"peer {number}")).peer_id
        sessions[peer] = Session(peer, talking=True)
        ledger.joined(peer)
        ledger.note(peer, [Entry(LeafAddress(dataset.cid, 0))])
    server.wake()
    await trio.sleep(10)
    assert [len(session.deliveries) for session in sessions.values()] == [1] * 2 * READS


async def test_the_batches_of_a_peer_are_asked_of_the_store_in_their_order(nursery, autojump_clock, world):
    dataset, ledger, asked = world.dataset(1), Ledger(), []

    class Notes:
        async def find_leaves(self, tree, indices):
            asked.extend(indices)
            await trio.sleep(1)
            return [None] * len(indices)

    server = Server(Notes(), ledger, Sessions())
    nursery.start_soon(server.run)
    for number in range(10):
        peer = Identity.generate(SeededEntropy(f"peer {number}")).peer_id
        ledger.joined(peer)
        entries = [Entry(LeafAddress(dataset.cid, i)) for i in range(PEER_BATCHES * FIRST_BATCH)]
        ledger.note(peer, entries)
        server.wake()
        await trio.sleep(2)
        assert asked == list(range(len(entries)))
        asked.clear()


async def test_a_peer_that_leaves_has_nobody_wait_for_it(nursery, autojump_clock, world):
    dataset, ledger, shelf, sessions = world.dataset(1), Ledger(), Shelf(), Sessions()
    ledger.joined(ALICE)
    server = Server(shelf, ledger, sessions)
    nursery.start_soon(server.run)
    entries = [Entry(LeafAddress(dataset.cid, i), True, False, True) for i in range(MAX_QUERIES)]
    for _ in range(3):
        ledger.note(ALICE, entries)
        server.ask(ALICE)
        await wait_all_tasks_blocked()
    asked = shelf.asked
    assert sessions.alice.answering
    ledger.left(ALICE)
    sessions.alice.take_notes()
    await wait_all_tasks_blocked()
    assert shelf.asked == asked
    assert not sessions.alice.answering


async def test_a_peer_that_takes_no_answers_is_not_told_without_end_what_is_not_here(
    nursery, autojump_clock, world
):
    dataset, ledger, shelf, sessions = world.dataset(1), Ledger(), Shelf(), Sessions()
    ledger.joined(ALICE)
    server = Server(shelf, ledger, sessions)
    nursery.start_soon(server.run)
    wanted = [LeafAddress(dataset.cid, i) for i in range(8000)]
    session, told = sessions.alice, set()
    for _ in range(4):
        ledger.note(ALICE, [Entry(address, send_dont_have=True) for address in wanted])
        server.wake()
        await wait_all_tasks_blocked()
        ledger.note(ALICE, [Entry(address, cancel=True) for address in wanted])
    assert _ANSWERS_BYTES < session.notes_bytes < 1.2 * _ANSWERS_BYTES
    # The others are told when it takes answers again.
    while presences := _presences(session):
        told.update(presence.address for presence in presences)
        await wait_all_tasks_blocked()
    assert told == set(wanted)
    assert not ledger._accounts[ALICE].queries


async def test_a_tree_that_cannot_be_read_is_denied_and_what_else_is_wanted_is_sent(
    nursery, autojump_clock, world
):
    sound, damaged = world.dataset(4), world.dataset(4, seed=1)
    ledger, sessions = Ledger(), Sessions()
    proved = [ProvedBlock(block, sound.tree.proof(i).to_bytes()) for i, block in enumerate(sound.blocks)]

    class Damaged:
        async def find_leaves(self, tree, indices):
            await trio.lowlevel.checkpoint()
            if tree == damaged.cid:
                raise CorruptData("the index lacks nodes")
            return [proved[index] for index in indices]

    ledger.joined(ALICE)
    server = Server(Damaged(), ledger, sessions)
    nursery.start_soon(server.run)
    trees = [LeafAddress(dataset.cid, i) for dataset in (damaged, sound) for i in range(2)]
    ledger.note(ALICE, [Entry(address, send_dont_have=True) for address in trees])
    server.wake()
    await wait_all_tasks_blocked()
    sent = [decode(b"".join(parts[1:])) for _, parts in sessions.alice.deliveries]
    assert [(told.address, told.block) for message in sent for told in message.deliveries] == list(
        zip(trees[2:], sound.blocks[:2], strict=True)
    )
    assert _presences(sessions.alice) == [Presence(address, False) for address in trees[:2]]
