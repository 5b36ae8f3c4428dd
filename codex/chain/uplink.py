"""Keeps this node connected with one of its providers, and follows the newest block there.

Providers are tried in the order they were named, and the one that answers is kept until it is lost: after a
good while the first one has its turn again, and before that the next one. A round in which none lasts is
followed by a pause, twice as long each time up to half a minute, for as long as it takes: an outage is a
state, which the board shows, and no error. Calls made meanwhile wait a little for a provider to come back,
then say that there is none.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import trio

from codex.chain.board import ChainBoard
from codex.chain.jsonrpc import Push, RpcError
from codex.chain.link import Link, LinkLost, Wire
from codex.chain.values import Connected, Disconnected, Header
from codex.errors import ChainFailed, ChainUnreachable, ConfigError, DecodeError
from codex.logs import get_logger
from codex.runtime import Clock, Offload, unwrapped

Dial = Callable[[str], AbstractAsyncContextManager[Wire]]

PATIENCE = 20.0
"""Seconds that calls wait for a provider, counted from when the last one was lost."""
PAUSE_MIN, PAUSE_MAX = 0.5, 30.0
"""Seconds between two rounds of attempts."""
STEADY = 30.0
"""Seconds that a connection must have lasted to count as a good one, after which pauses are short again."""
ATTEMPTS = 4
"""How often a call is asked when the connection is lost each time."""
POLL = 2.0
"""Seconds between two looks for a new block where the provider does not tell."""
QUIET = 15.0
"""The same where it does: a subscription is a hint, and may be forgotten by who gave it."""

_log = get_logger("chain")


def shown_url(url: str) -> str:
    """The part of a provider's URL that is no secret: many have a key in their path."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


class Uplink:
    """The connection with whichever provider answers. `run` is its task."""

    def __init__(
        self,
        urls: Sequence[str],
        dial: Dial,
        *,
        board: ChainBoard,
        clock: Clock,
        offload: Offload,
        check: Callable[[Link], Awaitable[int]],
    ) -> None:
        """`check` looks at a provider that has answered, and returns its chain's id; it raises ConfigError
        when this is not the chain that is meant, and LinkLost when the provider is of no use now.
        """
        self._urls = urls
        self._dial = dial
        self._board = board
        self._clock = clock
        self._offload = offload
        self._check = check
        self._link: Link | None = None
        self._news = trio.Event()
        self._hint = trio.Event()
        self._lost_at = trio.current_time()
        self.tried = trio.Event()
        """Set when each provider was tried once, or one has answered."""
        self.misfit: ConfigError | None = None
        """Why the last provider that answered is not the one that is meant."""
        self.connections = 0
        """How many there have been."""

    async def run(self) -> None:
        """Be connected, again and again, until cancelled."""
        failures = 0
        why = "no provider was tried yet"
        while True:
            reasons = []
            for url in self._urls:
                began = trio.current_time()
                before = self.connections
                try:
                    await self._with(url)
                except LinkLost as error:
                    reasons.append(f"{shown_url(url)}: {error}")
                if self.connections > before:
                    if trio.current_time() - began >= STEADY:
                        failures = 0
                        break
                    self._tell_lost("; ".join(reasons), 0.0)
            why = "; ".join(reasons)
            failures += 1
            await self._pause(min(PAUSE_MAX, PAUSE_MIN * 2.0 ** min(failures - 1, 10)), why)

    def _tell_lost(self, why: str, seconds: float) -> None:
        """Show that there is no provider, and that another try is in so many seconds."""
        now = self._clock.now()
        state = self._board.state
        since = state.since if isinstance(state, Disconnected) else now
        self._board.tell_state(Disconnected(since, why, now + seconds))

    async def _pause(self, seconds: float, why: str) -> None:
        self._tell_lost(why, seconds)
        self.tried.set()
        _log.warning("no provider of the chain answers", why=why, again_in=seconds)
        await trio.sleep(seconds)

    async def _with(self, url: str) -> None:
        """Be connected with one provider until it is lost. Raises LinkLost, always."""
        with unwrapped():
            async with self._dial(url) as wire:
                link = Link(wire, self._offload, self._hear)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._listen, link, nursery.cancel_scope)
                    try:
                        await self._be_connected(link, url)
                    except (RpcError, DecodeError) as error:
                        link.lose(str(error))
                    except ConfigError as error:
                        self.misfit = error
                        link.lose(error.message)
                    except LinkLost as error:
                        link.lose(str(error))
                    finally:
                        self._drop(link)
                        nursery.cancel_scope.cancel()
                raise LinkLost(link.lost or "the connection is gone")

    async def _listen(self, link: Link, scope: trio.CancelScope) -> None:
        await link.run()
        scope.cancel()

    async def _be_connected(self, link: Link, url: str) -> None:
        chain = await self._check(link)
        self.misfit = None
        head = await _newest(link)
        self._link = link
        self.connections += 1
        self._board.tell_head(head)
        self._board.tell_state(Connected(shown_url(url), self._clock.now(), chain))
        _log.info(
            "connected with a provider of the chain", url=shown_url(url), chain=chain, block=head.number
        )
        self._tell()
        self.tried.set()
        await self._follow(link)

    def _drop(self, link: Link) -> None:
        if self._link is link:
            self._link = None
            self._lost_at = trio.current_time()
            self._hint.set()  # so that whoever follows it finds out
            self._tell()

    # -- the newest block

    async def _follow(self, link: Link) -> None:
        pause = QUIET if await _subscribed(link) else POLL
        while True:
            self._hint = trio.Event()
            self._board.tell_head(await _newest(link))
            with trio.move_on_after(pause):
                await self._hint.wait()

    def _hear(self, push: Push) -> None:
        # Only one subscription was asked for. What it says is looked up, and not believed.
        self._hint.set()

    def look(self) -> None:
        """Look for a new block now: there is reason to think that there is one."""
        self._hint.set()

    # -- calls

    async def call(self, method: str, *params: Any) -> Any:
        """Have a method answered by whichever provider there is, again by the next when one is lost over it.

        For what may be asked twice. Raises RpcError, ChainUnreachable, and ChainFailed when it is this call
        that providers are lost over.
        """
        for _ in range(ATTEMPTS):
            link = await self._present()
            try:
                return await link.call(method, *params)
            except LinkLost as error:
                self._drop(link)
                last = error
        raise ChainFailed(
            f"the providers were lost {ATTEMPTS} times in a row over {method}: {last}",
            remedy="Try again in a moment, or name another provider with --eth-provider.",
        )

    async def call_once(self, method: str, *params: Any) -> Any:
        """As `call`, for what must not be asked twice. Raises LinkLost when nobody knows what came of it."""
        return await (await self._present()).call(method, *params)

    async def _present(self) -> Link:
        await trio.lowlevel.checkpoint()
        with trio.move_on_at(self._lost_at + PATIENCE):
            while self._link is None:
                await self._news.wait()
        if self._link is None:
            raise self.unreachable()
        return self._link

    def unreachable(self) -> ChainUnreachable:
        """What calls are told while there is no provider."""
        state = self._board.state
        why = state.why if isinstance(state, Disconnected) else "it was lost just now"
        return ChainUnreachable(
            f"no provider of the chain answers: {why}",
            remedy="Start it, or name one that runs with --eth-provider; the node tries again by itself.",
        )

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


async def _newest(link: Link) -> Header:
    return Header.from_json(await link.call("eth_getBlockByNumber", "latest", False))


async def _subscribed(link: Link) -> bool:
    """Ask to be told of new blocks; whether that is so."""
    if not link.pushes:
        return False
    try:
        await link.call("eth_subscribe", "newHeads")
    except RpcError as error:
        _log.info("the provider tells of no new blocks; it is asked for them", why=error.message)
        return False
    return True
