"""Deciding whom to ask what: questions, orders, and orders taken from slow peers. Pure; time is given.

Memory is bounded here: what a fetch may hold, what all may, and what one peer may have on order.
"""

from codex.data import BLOCK_SIZE, BlockAddress
from codex.exchange.orders import STALL, STRIKES, Action, AskHave, Order, Orders, Withdraw
from codex.exchange.sources import Fetch, Source, Want

HAVE_BATCH = 1024
"""Addresses of one message that asks what a peer has."""
PROBE = 32
"""Wants that peers are asked about first, whatever is known of them."""
FIRST_ORDER = 4
"""Blocks of the first order of a fetch, so that something comes soon."""
ORDER = 32
"""Blocks of one order: neighbours, as far as may be, which are cheap to read and to prove together."""

FETCH_WINDOW = 32 << 20
"""Bytes that one fetch may hold."""
TOTAL_WINDOW = 128 << 20
"""Bytes that all fetches may hold together; each has its share."""
LEAST_WINDOW = 8 * BLOCK_SIZE

PATIENCE = 15.0
"""Seconds without a block, or more of a message that has begun, after which a peer loses its orders. Small
talk does not keep them."""
LONGEST = 60.0
"""Seconds without a block, after which it does so whatever else it sends."""
ANSWER_TIME = 5.0
"""Seconds after which a peer that was asked what it has counts as silent."""
REFRESH_FIRST, REFRESH_MOST = 2.0, 36.0
"""Seconds until peers are asked again for what nobody had; doubles each time."""
REST = 2.0
"""Seconds that a peer is left alone after it lost its orders; doubles each time."""
DOUBT = 1.0
"""Seconds without a block from a peer that is taken to have everything, after which it is asked whether it
has. Not every implementation says unasked that it lacks what was ordered."""
HAND_OVER = 0.25
"""Seconds by which another peer must be faster to get orders of a slow one."""


class Planner:
    """Decides over the orders. `retries` is how often one block is asked for at most."""

    def __init__(self, orders: Orders, retries: int) -> None:
        self._orders = orders
        self._retries = max(1, retries)

    def window_of(self, fetch: Fetch) -> int:
        """Bytes that a fetch may hold now."""
        return min(max(TOTAL_WINDOW // max(1, len(self._orders.fetches)), LEAST_WINDOW), FETCH_WINDOW)

    def plan(self, now: float) -> list[Action]:
        """What is now to be said to whom, in this order; counts as said."""
        for source in list(self._orders.sources.values()):
            if source.asked and (now - source.heard > PATIENCE or now - source.since > LONGEST):
                self._stall(source, now)
        # The fetch that was served first is served last the next time.
        if len(self._orders.fetches) > 1:
            first = next(iter(self._orders.fetches))
            self._orders.fetches[first] = self._orders.fetches.pop(first)
        for fetch in list(self._orders.fetches):
            self._enquire(fetch, now)
            self._give_orders(fetch, now)
        self._hand_over(now)
        actions, self._orders.actions = self._orders.actions, []
        return actions

    def _stall(self, source: Source, now: float) -> None:
        """A peer did not deliver in its time."""
        source.stalls += 1
        for want in source.asked:
            for fetch in (want.fetch, *want.followers):
                fetch.tried.of(source.peer).stalled = True
        source.resting = now + REST * 2 ** min(source.stalls, 5)
        self._orders.take_back_all(source, withdraw=True)
        if source.strikes + STALL * source.stalls >= STRIKES:
            self._orders.strike(source, STRIKES, "did not send what it was asked for")

    def _enquire(self, fetch: Fetch, now: float) -> None:
        """Ask peers what they have of what is new, and sometimes of what nobody had."""
        again = now >= fetch.refresh_at
        if again:
            fetch.refreshes += 1
            fetch.refresh_at = now + min(REFRESH_FIRST * 2**fetch.refreshes, REFRESH_MOST)
        for peer, source in self._orders.sources.items():
            if source.shunned:
                continue
            told = fetch.told.get(peer)
            new: list[Want] = []
            if told is None and peer not in fetch.ready:
                new = _not_ordered(fetch, PROBE)
            elif peer in fetch.ready and (told or 0) < fetch.places:
                if peer not in fetch.presumed or _is_doubtful(source, fetch, now):
                    new = _since(fetch, told or 0)
                elif told is None:
                    new = _since(fetch, 0)[:PROBE]
            elif again:
                new = _not_ordered(fetch, HAVE_BATCH, held=False)
            if not new:
                continue
            fetch.told[peer] = max(told or 0, max(want.place for want in new))
            fetch.unheard.setdefault(peer, now)
            fetch.tried.of(peer).asked = True
            for at in range(0, len(new), HAVE_BATCH):
                addresses = tuple([want.address for want in new[at : at + HAVE_BATCH]])
                self._orders.actions.append(AskHave(peer, addresses, told is None and at == 0))

    def _give_orders(self, fetch: Fetch, now: float) -> None:
        """Order what may be ordered, of the peer that will be done with its orders first, and so on."""
        able = {peer: self._orders.sources[peer] for peer in fetch.ready if peer in self._orders.sources}
        able = {peer: source for peer, source in able.items() if source.resting <= now and _has_room(source)}
        window = self.window_of(fetch)
        while able:
            # One block may always be on order, also when a single one is larger than the window.
            if fetch.held and fetch.held + BLOCK_SIZE > window:
                return
            peer = min(able, key=lambda peer: able[peer].pace.expected(able[peer].asked_bytes))
            source = able[peer]
            addresses = self._fill_order(fetch, source, window, now)
            if addresses:
                fetch.tried.of(peer).asked = True
                self._orders.actions.append(Order(peer, tuple(addresses)))
            if not addresses or source.room < BLOCK_SIZE:
                del able[peer]

    def _fill_order(self, fetch: Fetch, source: Source, window: int, now: float) -> list[BlockAddress]:
        count = ORDER if fetch.delivered or fetch.on_order else FIRST_ORDER
        addresses: list[BlockAddress] = []
        peer, ready = source.peer, fetch.ready[source.peer]
        while ready and len(addresses) < count:
            want = ready[0]
            wanted = not want.over and want.asked is None and peer in want.holders
            if wanted and (
                (fetch.held and fetch.held + want.size > window) or (source.asked and source.room < want.size)
            ):
                break
            ready.popleft()
            if not wanted:
                continue
            if want.tries >= self._retries:
                fetch.exhausted = want
                continue
            self._orders.give(source, want, now)
            addresses.append(want.address)
        return addresses

    def _hand_over(self, now: float) -> None:
        """Give orders of slow peers to those that have nothing left to do."""
        busy = [source for source in self._orders.sources.values() if source.asked]
        if not busy:
            return
        for peer in dict.fromkeys(peer for fetch in self._orders.fetches for peer in fetch.ready):
            source = self._orders.sources.get(peer)
            if source is None or source.resting > now or source.asked_bytes > source.pace.window // 4:
                continue
            slowest = max(
                (other for other in busy if other is not source), key=lambda s: _due(s, now), default=None
            )
            if slowest is not None and slowest.asked:
                self._relieve(slowest, source, now)

    def _relieve(self, slow: Source, idle: Source, now: float) -> None:
        """Move the latest orders of a slow peer to an idle one, until both should be done together."""
        due, size = _due(slow, now), 0
        moved: list[Want] = []
        latency = idle.pace.latency or 0.0
        for want in reversed(slow.asked):
            soon = latency + idle.pace.expected(idle.asked_bytes + size + want.size)
            if due <= 2 * soon + HAND_OVER or len(moved) == ORDER or want.tries >= self._retries:
                break
            # Nobody gets back what was taken away from it: two slow ones would pass it to and fro.
            if idle.peer in want.holders and idle.peer not in want.asked_before:
                moved.append(want)
                size += want.size
                due *= 1 - want.size / max(slow.asked_bytes, 1)
        if not moved:
            return
        moved.reverse()
        for want in moved:
            self._orders.take_back(want)
            self._orders.give(idle, want, now)
            want.fetch.tried.of(idle.peer).asked = True
        addresses = tuple(want.address for want in moved)
        self._orders.actions += [Withdraw(slow.peer, addresses), Order(idle.peer, addresses)]

    def is_stuck(self, fetch: Fetch, now: float) -> bool:
        """Whether nobody who is connected has any of what is left, as far as they have said.

        Who has not answered in its time counts as not having it; who is resting may still.
        """
        if not fetch.wants or fetch.on_order:
            return False
        for want in fetch.wants:
            if want.fetch is not fetch or any(peer in self._orders.sources for peer in want.holders):
                return False
        return all(now - since >= ANSWER_TIME for since in fetch.unheard.values())


def _due(source: Source, now: float) -> float:
    """Seconds until a peer should be done: by its pace, and by how long it has been silent."""
    silent = now - source.since
    if source.pace.rate is None:
        return 4 * silent
    return max(source.pace.expected(source.asked_bytes), 2 * silent)


def _is_doubtful(source: Source, fetch: Fetch, now: float) -> bool:
    """Whether a peer keeps us waiting for blocks of a fetch that it may not have after all."""
    if not source.asked or now - source.since < DOUBT:
        return False
    return any(want.fetch is fetch for want in source.asked)


def _has_room(source: Source) -> bool:
    """Whether an order is worth a message: a quarter of the window is free, or half a usual order."""
    least = min(source.pace.window // 4, ORDER // 2 * BLOCK_SIZE)
    return not source.asked or source.room >= least


def _not_ordered(fetch: Fetch, count: int, *, held: bool = True) -> list[Want]:
    """The first wants of a fetch that are not on order; unless `held`, of those that nobody has."""
    some: list[Want] = []
    for want in fetch.wants:
        if want.fetch is fetch and want.asked is None and (held or not want.holders):
            some.append(want)
            if len(some) == count:
                break
    return some


def _since(fetch: Fetch, place: int) -> list[Want]:
    """The wants of a fetch behind a place, in order."""
    new: list[Want] = []
    for want in reversed(fetch.wants):
        if want.fetch is not fetch:
            continue
        if want.place <= place:
            break
        new.append(want)
    new.reverse()
    return new
