"""How a peer is reached: its addresses one shortly after the other, until one of them leads to it.

A dial is a task of its own, which whoever wants that peer waits for; when nobody does any more, it ends. An
attempt is one address of it. Connections race, handshakes do not: of two that led to the same peer, its end
might keep the one that ours gives up.
"""

from collections.abc import Callable, Iterable, Sequence

import trio
from attrs import define, field

from codex.codec import Multiaddr
from codex.errors import CodexError, PeerUnreachable, ServiceUnavailable
from codex.logs import get_logger
from codex.p2p.addresses import MAX_DIALLED, to_dial
from codex.p2p.counts import Counts
from codex.p2p.handlers import contained
from codex.p2p.holding import Holder
from codex.p2p.identity import PeerId
from codex.p2p.links import Links
from codex.p2p.peers import Connected, Failure, Go, Hopeless, PeerTable
from codex.p2p.throttling import Throttle
from codex.p2p.transport import Transport

STAGGER = 0.25
"""Seconds between two attempts, when the first has not failed by then (RFC 8305 has the same)."""
CONNECTING = 10.0
"""Seconds in which a host must answer: three lost packets."""
DIALLING = 60.0
"""Seconds for all addresses together."""
AT_ONCE = 32
"""Hosts that are called at the same time; further attempts wait."""

_log = get_logger("p2p")


@define(eq=False)
class _Attempt:
    address: Multiaddr
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    shaking: bool = False  # its handshake has begun
    joined: bool = False


@define(eq=False)
class _Dial:
    """`done` is set when the peer has joined, or `error` says why it has not; neither: it was given up."""

    peer: PeerId
    addresses: tuple[Multiaddr, ...]
    failures: list[Failure]
    waiting: int = 0
    joined: bool = False
    error: CodexError | None = None
    done: trio.Event = field(factory=trio.Event)
    news: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    handshake: trio.Lock = field(factory=trio.Lock)
    attempts: dict[Multiaddr, _Attempt] = field(factory=dict)

    def tell(self) -> None:
        self.news.set()
        self.news = trio.Event()


class Dialler:
    """Reaches peers. Its tasks live in `nursery`, and so do the connections that come of them."""

    def __init__(
        self,
        nursery: trio.Nursery,
        transport: Transport,
        *,
        table: PeerTable,
        links: Links,
        holder: Holder,
        throttle: Throttle,
        own: Callable[[], Sequence[Multiaddr]],
        counts: Counts,
    ) -> None:
        """`own` tells where this node itself is met; what becomes of dials is added to `counts`."""
        self._nursery = nursery
        self._transport = transport
        self._table = table
        self._links = links
        self._holder = holder
        self._throttle = throttle
        self._own = own
        self._counts = counts
        self._dials: dict[PeerId, _Dial] = {}
        self._calls = trio.Semaphore(AT_ONCE)
        self._stopped = False

    async def connect(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> None:
        """Return when the peer is here. Raises PeerUnreachable, ServiceUnavailable."""
        addresses = tuple(addresses)
        await trio.lowlevel.checkpoint()
        while True:
            verdict = self._table.want(
                peer, self._candidates(peer, addresses), trio.current_time(), self._links.busy()
            )
            match verdict:
                case Connected():
                    return
                case Hopeless(why, failures):
                    raise unreachable(peer, why, failures, trio.current_time())
                case Go(found, resting):
                    dial = self._dials[peer] = _Dial(peer, found, list(resting))
                    self._nursery.start_soon(self._run, dial)
                case _:
                    dial = self._dials[peer]
            if await _outcome(dial):
                return
            if self._stopped:
                raise ServiceUnavailable("the p2p service is stopping")
            # Whoever had joined the dial of another looks again: it may know of other addresses.
            if isinstance(verdict, Go) and dial.error is not None:
                raise dial.error

    def joined(self, peer: PeerId) -> None:
        """The peer is here, whoever has dialled whom."""
        dial = self._dials.get(peer)
        if dial is not None and not dial.joined:
            dial.joined = True
            dial.done.set()
            for attempt in dial.attempts.values():
                # A handshake in progress goes on: the peer may count on it.
                if not attempt.shaking:
                    attempt.scope.cancel()
            dial.tell()

    def stop(self) -> None:
        """Give up everything that is under way."""
        self._stopped = True
        for dial in self._dials.values():
            dial.scope.cancel()

    def _candidates(self, peer: PeerId, given: Iterable[Multiaddr]) -> tuple[Multiaddr, ...]:
        own = self._own()
        found = (*to_dial(peer, given, own), *to_dial(peer, self._table.known(peer), own))
        return tuple(dict.fromkeys(found))[:MAX_DIALLED]

    async def _run(self, dial: _Dial) -> None:
        """Begin the attempts, and wait for what becomes of them."""
        now = trio.current_time()
        dial.scope.deadline = now + DIALLING
        try:
            with dial.scope:
                for address in dial.addresses:
                    if dial.joined:
                        break
                    attempt = dial.attempts[address] = _Attempt(address)
                    self._nursery.start_soon(self._attempt, dial, attempt)
                    with trio.move_on_after(STAGGER):
                        while address in dial.attempts and not dial.joined:
                            await dial.news.wait()
                while dial.attempts:
                    await dial.news.wait()
            if trio.current_time() >= now + DIALLING:
                for address in dial.attempts:
                    self._failed(dial, address, f"nothing came of it within {DIALLING:.0f} s")
        finally:
            for attempt in dial.attempts.values():
                attempt.scope.cancel()
            self._table.dialled(dial.peer)
            del self._dials[dial.peer]
            if dial.failures and not dial.joined:
                dial.error = unreachable(dial.peer, "", dial.failures, trio.current_time())
            dial.done.set()

    async def _attempt(self, dial: _Dial, attempt: _Attempt) -> None:
        """Try one address, and keep the connection that comes of it for as long as it lives."""

        def told(error: Exception) -> None:
            if isinstance(error, CodexError):
                why = error.message
            else:
                _log.error("dial crashed", address=str(attempt.address), exc_info=error)
                why = "this node failed over it"
            if not attempt.joined:
                self._failed(dial, attempt.address, why)

        try:
            with attempt.scope, contained(told):
                stream = await self._call(attempt.address)
                await self._secure(dial, attempt, stream)
        finally:
            dial.attempts.pop(attempt.address, None)
            dial.tell()

    async def _call(self, address: Multiaddr) -> trio.abc.Stream:
        """A bare stream to the address. Raises PeerUnreachable."""
        async with self._calls:
            with trio.move_on_after(CONNECTING):
                return self._throttle.around(await self._transport.dial(address))
        raise PeerUnreachable(f"nothing answered within {CONNECTING:.0f} s")

    async def _secure(self, dial: _Dial, attempt: _Attempt, stream: trio.abc.Stream) -> None:
        try:
            await dial.handshake.acquire()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        attempt.shaking = True

        def joined() -> None:
            attempt.joined = True
            self._counts.reached += 1
            dial.attempts.pop(attempt.address, None)
            dial.handshake.release()
            dial.tell()

        try:
            await self._holder.hold(stream, attempt.address, dialled=True, expect=dial.peer, joined=joined)
        finally:
            if not attempt.joined:
                dial.handshake.release()

    def _failed(self, dial: _Dial, address: Multiaddr, why: str) -> None:
        self._counts.failed += 1
        dial.failures.append(self._table.failed(dial.peer, address, why, trio.current_time()))
        _log.debug("address failed", peer=str(dial.peer), address=str(address), why=why)


async def _outcome(dial: _Dial) -> bool:
    """Wait for a dial; whether the peer has joined. When nobody waits any more, it is given up."""
    dial.waiting += 1
    try:
        await dial.done.wait()
    finally:
        dial.waiting -= 1
        if not dial.waiting and not dial.done.is_set():
            dial.scope.cancel()
    return dial.joined


def unreachable(peer: PeerId, why: str, failures: Iterable[Failure], now: float) -> PeerUnreachable:
    """The error that names every address and what happened there."""
    found = [f"{failure.address}: {failure.why}{_rest(failure, now) if why else ''}" for failure in failures]
    what = "; ".join([*([why] if why else []), *found])
    return PeerUnreachable(
        f"{peer} cannot be reached: {what}",
        remedy="Check that the node is running and the address its own, and that no firewall is between.",
    )


def _rest(failure: Failure, now: float) -> str:
    return f" (tried again in {max(1, round(failure.until - now))} s at the earliest)"
