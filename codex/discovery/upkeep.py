"""Keeping company: finding the first nodes, looking after those we know, and never giving up.

A node that knows nobody who answers calls those it was told to ask first and those it remembers, again and
again with growing pauses, and waits to be called itself. That is a state and no failure. One that has company
asks a node of its table every 5 to 10 s whether it is still there, or more rarely once all have shown it
lately; and it looks up a random place when it has looked up nothing for 5 minutes, or longer while its table
stays as it is. When its table is small and it remembers more, it calls those who are missing, ever more
rarely while they stay away.
"""

from collections.abc import Sequence
from math import inf

import trio

from codex.discovery.events import Contact, Verified
from codex.discovery.finding import Finder
from codex.discovery.messages import Answer, Ping, Pong, Request
from codex.discovery.nodes import Node
from codex.discovery.records import OwnRecords
from codex.discovery.seeds import Seeds
from codex.discovery.table import K, Table
from codex.discovery.talk import Talk
from codex.discovery.votes import Votes
from codex.errors import DecodeError
from codex.logs import get_logger
from codex.runtime import Clock, Entropy

REVALIDATION = (5.0, 10.0)
"""Seconds between two nodes that are looked after: a random pause in between."""
FRESH = 300.0
"""Seconds after a node's last answer or question in which it need not be looked after."""
QUIET = 30.0
"""Seconds after which one is looked after all the same: with few nodes each has its turn soon, and a router
in between goes on knowing us."""
CHECK = 30.0
"""Seconds between two looks whether there is still somebody who answers."""
REFRESH = 300.0
"""Seconds without a lookup after which one is made; twice as many while the table stays the same."""
LONGEST_REFRESH = 1800.0
FIRST_PAUSE = 1.0
"""Seconds after the first calls that nobody answered; the pauses double."""
LONGEST_PAUSE = 60.0
CALLS = 16
"""Nodes that are remembered and called at once."""
REMEMBRANCE = 8
"""After so many nodes of the table, one that is remembered and not in it is looked after."""
LONGEST_RECALL = 1800.0
"""Seconds at most between two calls of those who are missing from a table that was larger before."""
TRIES = 2
"""Pings, before a node counts as silent: a datagram gets lost now and then."""

_log = get_logger("discovery")


class Witness:
    """Notes in table, seeds and votes how others behave, the moment it is known. Waits for nothing.

    `arrivals` is woken whenever a node has shown that it is there.
    """

    def __init__(
        self, table: Table, seeds: Seeds, votes: Votes, *, arrivals: trio.lowlevel.ParkingLot, clock: Clock
    ) -> None:
        self._arrivals = arrivals
        self._table = table
        self._seeds = seeds
        self._votes = votes
        self._clock = clock

    def ended(self, node: Node, message: Request, answer: Sequence[Answer] | None) -> None:
        """Note how a request of ours ended. Pings are judged by who sends them: they may be sent twice."""
        if answer is None:
            if not isinstance(message, Ping):
                self._table.doubt(node.node_id)
            return
        now = trio.current_time()
        pong = next((one for one in answer if isinstance(one, Pong)), None)
        if pong is not None:
            self._votes.cast(node.node_id, (pong.ip, pong.port), now)
        if answer:
            self._is_there(node, -inf if pong is None else now)
            self._table.heard(node.node_id, node.address, now)

    def asked(self, contact: Contact) -> None:
        """Note a node that asks us."""
        self._table.heard(contact.node_id, contact.address, trio.current_time())

    def verified(self, event: Verified) -> None:
        """Note a node that has proved its name, if it is reached where it says."""
        try:
            node = Node.of(event.record)
        except DecodeError:
            return  # it asks, and cannot be asked
        if node.address == event.source:
            self._is_there(node, -inf)

    def _is_there(self, node: Node, at: float) -> None:
        self._table.answered(node, at)
        self._seeds.saw(node, self._clock.now())
        self._arrivals.unpark_all()


class Upkeep:
    """The tasks that keep a node's table good. `bootstrap` are the nodes to ask first."""

    def __init__(
        self,
        bootstrap: Sequence[Node],
        table: Table,
        seeds: Seeds,
        records: OwnRecords,
        *,
        talk: Talk,
        finder: Finder,
        arrivals: trio.lowlevel.ParkingLot,
        entropy: Entropy,
    ) -> None:
        self.searching = False
        """Whether there is nobody who answers."""
        self._bootstrap = bootstrap
        self._table = table
        self._seeds = seeds
        self._records = records
        self._talk = talk
        self._finder = finder
        self._arrivals = arrivals
        self._entropy = entropy
        for node in bootstrap:
            table.pinned.add(node.node_id)
            table.add(node)
        for node in seeds.missing(()):
            table.add(node)

    async def ping(self, node: Node) -> bool:
        """Whether a node answers; its record is asked for when it says that there is a newer one."""
        for _ in range(TRIES):
            answer = await self._talk.ask(node, Ping(self._records.node.record.seq))
            for one in answer or ():
                if isinstance(one, Pong):
                    if one.record_seq > node.seq:
                        await self._finder.ask_record(node)
                    return True
        self._table.silent(node.node_id)
        return False

    async def find_company(self) -> None:
        """Call those we know of while nobody answers; look around when the first one does."""
        pause, alone, missed = FIRST_PAUSE, True, _Missed()
        while True:
            if self._table.verified:
                self.searching = False
                if alone:
                    _log.info("other nodes answer", nodes=self._table.verified)
                    await self._look_around()
                pause, alone = FIRST_PAUSE, False
                await trio.sleep(CHECK)
                known = self._table.verified
                if missed.is_due(known, min(K, len(self._seeds)), trio.current_time()):
                    await self._call()
                    if self._table.verified > known:
                        await self._look_around()
                continue
            if not self.searching and not alone:
                _log.warning("no other node answers", known=len(self._table), remembered=len(self._seeds))
            self.searching = alone = True
            await self._call()
            if not self._table.verified:
                with trio.move_on_after(pause):
                    await self._arrivals.park()
                pause = min(2 * pause, LONGEST_PAUSE)

    async def revalidate(self) -> None:
        """Look after one node at a time."""
        turn, last, rest = 0, -QUIET, 0.0
        while True:
            least, most = REVALIDATION
            await trio.sleep(max(rest, least + (most - least) * self._choose(1000) / 1000))
            rest = 0.0
            if self.searching:
                continue  # those we know of are being called anyway
            turn += 1
            if turn % REMEMBRANCE == 0:
                gone = self._seeds.missing({entry.node.node_id for entry in self._table})
                if gone:
                    await self.ping(gone[self._choose(len(gone))])
                    continue
            now = trio.current_time()
            entry = self._table.stalest(self._choose, inf if now >= last + QUIET else now - FRESH)
            if entry is None:
                rest = last + QUIET - now
            else:
                last = now
                await self.ping(entry.node)

    async def refresh(self) -> None:
        """Look up a random place now and then, so that the table does not only know our own corner."""
        pause, changes = REFRESH, 0
        while True:
            await trio.sleep(pause)
            if trio.current_time() >= self._finder.last_lookup + pause and len(self._table):
                await self._finder.lookup(self._entropy.token(len(self._table.own)))
            settled = changes == self._table.changes
            pause = min(2 * pause, LONGEST_REFRESH) if settled else REFRESH
            changes = self._table.changes

    async def _call(self) -> None:
        """Ping those that we were told of, and some that we remember; none that answers already."""
        present = {entry.node.node_id for entry in self._table if entry.good}
        told = [node for node in self._bootstrap if node.node_id not in present]
        remembered = self._seeds.missing(present | {node.node_id for node in told})
        first = self._choose(len(remembered)) if len(remembered) > CALLS else 0
        chosen = (remembered[first:] + remembered[:first])[:CALLS]
        async with trio.open_nursery() as nursery:
            for node in (*told, *chosen):
                nursery.start_soon(self.ping, node)

    async def _look_around(self) -> None:
        await self._finder.lookup(self._table.own)
        await self._finder.lookup(self._entropy.token(len(self._table.own)))

    def _choose(self, count: int) -> int:
        return int.from_bytes(self._entropy.token(8)) % count


class _Missed:
    """When to call those who are missing from the table. Pure; times are seconds of one clock, any."""

    def __init__(self) -> None:
        self._most = 0
        self._pause = CHECK
        self._at = 0.0

    def is_due(self, answer: int, wanted: int, now: float) -> bool:
        """Whether to call them now: fewer nodes `answer` than are `wanted`, and the pause is over. It doubles
        with each call, and is short again when one more is gone or all are there.
        """
        if answer < self._most or answer >= wanted:
            self._pause, self._at = CHECK, now
        self._most = answer
        if answer >= wanted or now < self._at:
            return False
        self._at, self._pause = now + self._pause, min(2 * self._pause, LONGEST_RECALL)
        return True
