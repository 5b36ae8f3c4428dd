"""What comes in one message is taken as if it had come block by block."""

from typing import Any

from attrs import asdict
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import root_cid
from codex.config import ExchangeConfig
from codex.data import BLOCK_SIZE, Block, LeafAddress
from codex.exchange.examining import Finding
from codex.exchange.messages import Delivery
from codex.exchange.service import ExchangeService
from codex.p2p import PeerId
from codex.runtime import Inline

TREE = root_cid(b"t" * 32)
ALICE, BOB = PeerId(b"alice"), PeerId(b"bob")
BLOCK = Block.of(bytes(BLOCK_SIZE))


class Taken:
    """A service that two fetches and two peers are known to, and what it makes of deliveries."""

    def __init__(self) -> None:
        nothing: Any = None
        self.service = ExchangeService(
            ExchangeConfig(),
            switch=nothing,
            discovery=nothing,
            store=nothing,
            board=nothing,
            offload=Inline(),
        )
        self.got: list[tuple[int, LeafAddress]] = []
        self.calls: list[int] = []
        self.wants = wants = self.service._wants
        self.service._fetcher.arrived = self.arrived  # type: ignore[method-assign]
        for peer in (ALICE, BOB):
            wants.joined(peer, -1000)
            self.service._ledger.joined(peer)
        self.fetches = [wants.open(TREE, 0) for _ in range(2)]
        for fetch, indices in zip(self.fetches, (range(8), range(6, 10)), strict=True):
            wants.add(fetch, [LeafAddress(TREE, index) for index in indices])
        # Some are on order from the one, the next from the other, and the last from nobody.
        wants.hint(ALICE, TREE)
        wants.plan(0)
        wants.hint(BOB, TREE)
        wants.plan(0)

    def arrived(self, fetch: Any, peer: PeerId, deliveries: Any) -> None:
        assert peer == ALICE
        self.calls.append(len(deliveries))
        self.got += [(self.fetches.index(fetch), delivery.address) for delivery in deliveries]

    def take(self, some: list[tuple[int, Finding]]) -> None:
        deliveries = [Delivery(LeafAddress(TREE, index), BLOCK) for index, _ in some]
        self.service._take(ALICE, deliveries, [finding for _, finding in some])

    def state(self) -> Any:
        source = self.wants.source(ALICE)
        assert source is not None
        return (
            sorted(self.got, key=lambda one: one[0]),
            source.strikes,
            [want.address for want in source.asked],
            [(fetch.held, fetch.on_order, fetch.delivered, len(fetch.wants)) for fetch in self.fetches],
            [asdict(fetch.tried.of(ALICE)) for fetch in self.fetches],
            self.service.ledger(),
            self.wants._orders.actions,
        )


found = st.sampled_from([*[Finding.TRUE] * 6, *Finding])
indices = st.integers(0, 11)


@settings(max_examples=150, deadline=None)
@given(some=st.lists(st.tuples(indices, found), max_size=12, unique_by=lambda one: one[0]))
async def test_a_message_is_taken_as_its_blocks_one_by_one(some: list[tuple[int, Finding]]) -> None:
    _assert_the_same(some)


@settings(max_examples=100, deadline=None)
@given(some=st.lists(st.tuples(indices, found), max_size=20))
async def test_what_comes_twice_in_a_message_is_taken_once(some: list[tuple[int, Finding]]) -> None:
    _assert_the_same(some)


def _assert_the_same(some: list[tuple[int, Finding]]) -> None:
    together, apart = Taken(), Taken()
    together.take(some)
    for one in some:
        apart.take([one])
    assert together.state() == apart.state()


async def test_true_blocks_are_taken_together() -> None:
    taken = Taken()
    source = taken.wants.source(ALICE)
    assert source is not None
    ordered = [want.address for want in source.asked]
    assert len(ordered) > 3
    taken.take([(address.index, Finding.TRUE) for address in ordered if isinstance(address, LeafAddress)])
    assert sum(taken.calls) >= len(ordered)
    assert len(taken.calls) <= 2
    assert not source.asked
