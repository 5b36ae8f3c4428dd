"""Their side of the exchange: what peers want of us, whose turn it is, and what they got. Decides, and does
nothing.

A peer's wants are worked off in batches, each a message: of few blocks at first, then of 20, and of more for
one that takes them at once. Peers take turns, batch by batch; what is read for a peer and has not left is
bounded for each and for all. A block that is not here stays wanted, and is served when it arrives. What a
peer wants beyond the bounds is forgotten: it will ask again.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from attrs import define, field, frozen

from codex.data import BLOCK_SIZE, BlockAddress
from codex.exchange.messages import Entry
from codex.p2p import PeerId

BATCH = 20
"""Blocks of a message, as the network's others send them …"""
FIRST_BATCH = 5
"""Blocks of the first message to a peer: how soon it takes them is not known, and through a slow link more
would keep it waiting for longer than it may."""
BATCH_MOST = 64
"""… and at most, to a peer that takes a message within `QUICK` seconds: there is as much to do about a large
message as about a small one."""
BATCH_BYTES = 4 << 20
"""Bytes up to which messages become larger."""
QUICK, SLOW = 0.05, 0.2
"""Seconds within which a message must leave for the next ones to have twice as many blocks, and behind which
they have half as many: other peers and other messages wait for no longer."""
LONG = 5.0
"""Seconds that a message may take to leave. Behind a link so slow that it takes longer, messages have as many
blocks as leave in that time, and one at least: a peer that gets nothing for long looks elsewhere."""
QUERIES = 1024
"""Questions that are answered in one message."""
MAX_WANTED = 16384
"""Wants of one peer, a GiB."""
MAX_QUERIES = 16384
"""Questions of one peer that wait for an answer."""
PEER_BATCHES = 3
"""Batches of one peer that are being read or sent: while one is sent, the next is read."""
TOTAL_BYTES = 64 << 20
"""Bytes of all peers that are being read or sent. A peer that has nothing of it may still have one block."""
MAX_TOTAL = 16 * MAX_WANTED
"""Wants and questions of all peers, some 100 MB. Beyond, the latest are forgotten of whoever has most."""
FLOOD = 16 * MAX_WANTED
"""Wants beyond the bounds, after which a peer is told to stop by closing its connection."""
_ACCOUNTS = 1024


@frozen(slots=True)
class Trade:
    """What one peer and we have had of each other since this node started, and what is open.

    `wants_theirs` and `wants_ours` are the blocks that it and that we wait for; the others count blocks, and
    bytes of their content.
    """

    connected: bool
    wants_theirs: int
    wants_ours: int
    blocks_in: int
    bytes_in: int
    blocks_out: int
    bytes_out: int


@frozen(slots=True)
class Query:
    """A question whether we have a block; `deny` when an answer is also wanted if not."""

    address: BlockAddress
    deny: bool


@define(eq=False, slots=True)
class Batch:
    """Blocks to be read and sent to a peer in one message. `size` bytes are set aside for it."""

    account: "Account"
    addresses: Sequence[BlockAddress]
    size: int

    @property
    def peer(self) -> PeerId:
        """To whom it goes."""
        return self.account.peer


@define(eq=False, slots=True)
class Account:
    """One peer's wants by address: to be served, being served, and not here. The values say whether it wants
    to be told when a block is not here; None for one that was cancelled while it was being served. And the
    counts of all that went to and fro.
    """

    peer: PeerId
    waiting: dict[BlockAddress, bool] = field(factory=dict)
    sending: dict[BlockAddress, bool | None] = field(factory=dict)
    absent: dict[BlockAddress, bool] = field(factory=dict)
    queries: deque[Query] = field(factory=deque)
    batches: int = 0
    batch: int = FIRST_BATCH
    connected: bool = True
    forgotten: int = 0
    blocks_out: int = 0
    bytes_out: int = 0
    blocks_in: int = 0
    bytes_in: int = 0

    @property
    def wanted(self) -> int:
        """Blocks that the peer waits for."""
        return len(self.waiting) + len(self.sending) + len(self.absent)

    @property
    def size(self) -> int:
        """Wants and questions, which take memory."""
        return self.wanted + len(self.queries)

    def clear(self) -> None:
        """Forget what is wanted."""
        self.waiting.clear()
        self.absent.clear()
        self.queries.clear()


class Ledger:
    """The accounts of all peers, and whose turn it is. Accounts outlive connections, the latest thousand."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[PeerId, Account] = OrderedDict()
        # Peers that have something to be sent, the next one first.
        self._turns: OrderedDict[PeerId, None] = OrderedDict()
        self._seekers: dict[BlockAddress, set[PeerId]] = {}
        # Batches that are being read, with what has come to this node meanwhile: the reader may have looked
        # before it came.
        self._reading: dict[Batch, set[BlockAddress]] = {}
        self.bytes = 0
        """Bytes that are set aside for batches."""
        # No fewer than there are wants and questions; counted anew when they may be too many.
        self._at_most = 0

    # -- peers

    def joined(self, peer: PeerId) -> None:
        """A peer is connected."""
        new = Account(peer)
        old = self._accounts.pop(peer, None)
        if old is not None:
            # What is still under way for the connection that was, is ended on the account that was.
            new.blocks_out, new.bytes_out = old.blocks_out, old.bytes_out
            new.blocks_in, new.bytes_in = old.blocks_in, old.bytes_in
        self._accounts[peer] = new
        self._trim()

    def left(self, peer: PeerId) -> None:
        """A peer is gone, and wants nothing more. Batches of its that are under way are still to be ended."""
        account = self._accounts.get(peer)
        if account is not None:
            account.connected = False
            self._unseek(account, account.absent)
            account.clear()
            self._turns.pop(peer, None)

    def trades(self, on_order: Mapping[PeerId, int]) -> dict[PeerId, Trade]:
        """All accounts; `on_order` are the blocks that we wait for, by peer."""
        return {
            peer: Trade(
                account.connected,
                account.wanted,
                on_order.get(peer, 0),
                account.blocks_in,
                account.bytes_in,
                account.blocks_out,
                account.bytes_out,
            )
            for peer, account in self._accounts.items()
        }

    def received(self, peer: PeerId, blocks: int, size: int) -> None:
        """Count what a peer has sent us and we wanted."""
        account = self._accounts.get(peer)
        if account is not None:
            account.blocks_in += blocks
            account.bytes_in += size

    def _trim(self) -> None:
        if len(self._accounts) > _ACCOUNTS:
            idle = next(
                (peer for peer, a in self._accounts.items() if not a.connected and not a.batches), None
            )
            if idle is not None:
                del self._accounts[idle]

    # -- want lists

    def note(self, peer: PeerId, entries: Sequence[Entry]) -> bool:
        """Go through a want list, in its order. False when the peer floods us and is to be sent away."""
        account = self._accounts.get(peer)
        if account is None or not account.connected:
            return True
        most = account.size + self._make_room(account, entries)
        for entry in entries:
            self._note(account, entry, most)
        if account.waiting:
            self._turns.setdefault(peer)
        else:
            self._turns.pop(peer, None)
        return account.forgotten < FLOOD

    def _note(self, account: Account, entry: Entry, most: int) -> None:
        address, waiting, sending, absent = entry.address, account.waiting, account.sending, account.absent
        if address in sending and (entry.cancel or not entry.have):
            # It may turn out not to be here: then it counts whether it is still wanted.
            sending[address] = None if entry.cancel else entry.send_dont_have
        elif address in waiting or address in absent or sending.get(address) is not None:
            if entry.cancel:
                waiting.pop(address, None)
                if absent.pop(address, None) is not None:
                    self._unseek(account, [address])
            elif not entry.have and address in absent:
                self._unseek(account, [address])
                waiting[address] = absent.pop(address)
        elif entry.cancel:
            return
        elif entry.have:
            if len(account.queries) < MAX_QUERIES and account.size < most:
                account.queries.append(Query(address, entry.send_dont_have))
            else:
                account.forgotten += 1
        elif account.wanted < MAX_WANTED and account.size < most:
            waiting[address] = entry.send_dont_have
        else:
            account.forgotten += 1

    def _make_room(self, account: Account, entries: Sequence[Entry]) -> int:
        """How many more wants and questions there is room for of a peer, who sends these. An equal share is
        its due: those who have more forget some for it.
        """
        self._at_most += len(entries)
        if self._at_most <= MAX_TOTAL:
            return len(entries)
        count = sum(not entry.cancel for entry in entries)
        others = [other for other in self._accounts.values() if other.size and other is not account]
        total = account.size + sum(other.size for other in others)
        fair = MAX_TOTAL // (len(others) + 1)
        room = min(count, max(MAX_TOTAL - total, fair - account.size, 0))
        for other in sorted(others, key=lambda other: other.size, reverse=True):
            lacking = total + room - MAX_TOTAL
            if lacking <= 0 or other.size <= fair:
                break
            total -= self._forget(other, min(lacking, other.size - fair))
        room = max(0, min(room, MAX_TOTAL - total))
        self._at_most = total + room
        return room

    def _forget(self, account: Account, count: int) -> int:
        """Forget the latest questions and wants of a peer, but for those that are being served; how many."""
        before = account.size
        while count and account.queries:
            account.queries.pop()
            count -= 1
        while count and account.absent:
            address, _ = account.absent.popitem()
            self._unseek(account, [address])
            count -= 1
        while count and account.waiting:
            account.waiting.popitem()
            count -= 1
        if not account.waiting:
            self._turns.pop(account.peer, None)
        return before - account.size

    def ask(self, peer: PeerId, addresses: Sequence[BlockAddress]) -> None:
        """Have a peer told whether these are here, as if it had asked that: when it takes answers again."""
        account = self._accounts.get(peer)
        if account is not None and account.connected:
            room = self._make_room(account, [Entry(address, have=True) for address in addresses])
            room = min(room, MAX_QUERIES - len(account.queries))
            account.queries.extend([Query(address, True) for address in addresses[:room]])

    def asks(self, peer: PeerId) -> bool:
        """Whether questions of a peer wait for an answer."""
        return peer in self._accounts and bool(self._accounts[peer].queries)

    def take_queries(self, peer: PeerId) -> list[Query]:
        """The next questions of a peer, which the caller answers in one message."""
        account = self._accounts.get(peer)
        if account is None:
            return []
        return [account.queries.popleft() for _ in range(min(QUERIES, len(account.queries)))]

    # -- batches

    def next_batch(self) -> Batch | None:
        """The batch of the peer whose turn it is; None while there is nothing to do, or no room for it."""
        for peer in list(self._turns):
            account = self._accounts[peer]
            count = min(account.batch, (TOTAL_BYTES - self.bytes) // BLOCK_SIZE)
            if account.batches >= PEER_BATCHES or (count <= 0 and account.batches):
                continue
            addresses = tuple(islice(account.waiting, max(1, count)))
            for address in addresses:
                account.sending[address] = account.waiting.pop(address)
            account.batches += 1
            self._turns.move_to_end(peer)
            if not account.waiting:
                del self._turns[peer]
            batch = Batch(account, addresses, len(addresses) * BLOCK_SIZE)
            self.bytes += batch.size
            self._reading[batch] = set()
            return batch
        return None

    def resize(self, batch: Batch, size: int) -> None:
        """The blocks of a batch have been read, and have so many bytes."""
        self._reading.pop(batch, None)
        self.bytes += size - batch.size
        batch.size = size

    def missed(self, batch: Batch, addresses: Iterable[BlockAddress]) -> list[BlockAddress]:
        """A batch was read, and of it these were not here. Those that have come meanwhile have their turn
        again, the others stay wanted; returned are those of them that the peer wants to know of.
        """
        account = batch.account
        came = self._reading.pop(batch, set())
        denied = []
        for address in addresses:
            deny = account.sending.pop(address)
            if deny is None or not account.connected:
                continue
            if address in came:
                account.waiting[address] = deny
                self._turns.setdefault(batch.peer)
            else:
                account.absent[address] = deny
                self._seekers.setdefault(address, set()).add(batch.peer)
                if deny:
                    denied.append(address)
        return denied

    def ended(self, batch: Batch, *, sent: bool, took: float = SLOW) -> None:
        """A batch was sent, which took so many seconds, or will not be: then what was in it is dropped. Once
        for each batch.
        """
        account = batch.account
        self._reading.pop(batch, None)
        account.batches -= 1
        self.bytes -= batch.size
        for address in batch.addresses:
            if address in account.sending:
                del account.sending[address]
                account.blocks_out += sent
        if sent:
            account.bytes_out += batch.size
            _adapt(account, batch, took)

    def arrived(self, addresses: Iterable[BlockAddress]) -> bool:
        """Blocks have come to this node; whether anybody waits for one of them."""
        wanted = False
        if not self._seekers and not self._reading:
            return False
        for address in addresses:
            for batch, came in self._reading.items():
                if address in batch.account.sending:
                    came.add(address)
            for peer in self._seekers.pop(address, ()):
                account = self._accounts[peer]
                account.waiting[address] = account.absent.pop(address)
                self._turns.setdefault(peer)
                wanted = True
        return wanted

    def _unseek(self, account: Account, addresses: Iterable[BlockAddress]) -> None:
        for address in addresses:
            seekers = self._seekers.get(address)
            if seekers is not None:
                seekers.discard(account.peer)
                if not seekers:
                    del self._seekers[address]


def _adapt(account: Account, batch: Batch, took: float) -> None:
    """Have the next batches of a peer as large as it takes them soon."""
    count = len(batch.addresses)
    if took > LONG:
        account.batch = max(1, int(count * LONG / took))
    elif account.batch < BATCH:
        if took < LONG / 4 and count >= account.batch:
            account.batch = min(2 * count, BATCH)
    elif took > SLOW:
        account.batch = max(account.batch // 2, BATCH)
    elif took < QUICK and count >= account.batch:
        most = max(BATCH, min(BATCH_MOST, BATCH_BYTES * count // max(batch.size, 1)))
        account.batch = min(2 * count, most)
