"""What is known of the chain now, for everybody to see: how this node stands with it, and its newest block.

Made once, beside the service that writes it; it outlives each life of that. Reading never waits.
"""

import trio

from codex.chain.values import ChainState, Connected, Disconnected, Header
from codex.market import Address
from codex.runtime import Clock


class ChainBoard:
    """The state of the connection, the newest block, and whose account this node signs for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.state: ChainState = Disconnected(clock.now(), "no provider was tried yet", clock.now())
        self.head: Header | None = None
        self.account: Address | None = None
        """None until the service has started once."""
        self.chain: int | None = None
        """The id of the chain, from the first provider that was of use on."""
        self._seen = 0.0
        self._news = trio.Event()

    def tell_state(self, state: ChainState) -> None:
        """For the service: the state has changed."""
        self.state = state
        self._tell()

    def tell_head(self, head: Header) -> None:
        """For the service: there is a newer block, or another one in the place of the newest."""
        if head != self.head:
            self.head = head
            self._seen = self._clock.monotonic()
            self._tell()

    def now(self) -> float | None:
        """The time of the chain, in its unix seconds: that of its newest block, and what has passed since.
        None while no block was seen.
        """
        if self.head is None:
            return None
        return self.head.timestamp + (self._clock.monotonic() - self._seen)

    async def next_head(self, after: Header | None) -> Header:
        """Wait until the newest block is another than `after`, and return it."""
        await trio.lowlevel.checkpoint()
        while self.head is None or self.head == after:
            await self._news.wait()
        return self.head

    async def next_state(self, after: ChainState) -> ChainState:
        """Wait until the state is another than `after`, and return it."""
        await trio.lowlevel.checkpoint()
        while self.state == after:
            await self._news.wait()
        return self.state

    async def connected(self) -> Connected:
        """Wait until a provider answers."""
        await trio.lowlevel.checkpoint()
        while not isinstance(self.state, Connected):
            await self._news.wait()
        return self.state

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()
