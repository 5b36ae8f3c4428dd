"""What a validator asks a provider for at its starts, and what it makes of blocks that are replaced: over the
real way to a simulated chain.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field, frozen
from trio.testing import MockClock

from codex.chain import abi
from codex.config import MarketConfig
from codex.market import Address, RequestId, SlotId, SlotState
from codex.testing.chain import ProviderError, SimulatedChain, SimulatedLog, SimulatedProvider
from codex.testing.chain_service import key_file, open_chain
from codex.testing.hosts import open_validator_at
from codex.validation import Share, Validation

CONTRACT = Address(b"\xc0" * 20)
REQUEST = RequestId(b"\x07" * 32)
SLOTS = [SlotId.of(REQUEST, index) for index in range(100)]
TOPICS = {event.name: "0x" + event.topic.hex() for event in abi.EVENTS}
SELECTORS = {"0x" + function.selector.hex(): name for name, function in abi.MARKETPLACE.items()}
LONG = 20_000
"""Blocks of the chain before the first start."""
FEW = 150
"""Blocks that may be looked at again: those that may be replaced, and those since the last bookmark."""


def told(name: str, index: int) -> SimulatedLog:
    """What the marketplace says when a slot is filled or freed."""
    return SimulatedLog(str(CONTRACT), (TOPICS[name], "0x" + REQUEST.hex), f"0x{index:064x}")


@frozen
class Scan:
    """What was asked of the provider: so many scans, from the oldest block on."""

    count: int
    oldest: int


@define
class World:
    """A chain on which a contract tells of slots, and a provider of it."""

    directory: Path
    chain: SimulatedChain = field(factory=lambda: SimulatedChain(interval=12))
    over: set[SlotId] = field(factory=set)
    provider: SimulatedProvider = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.provider = self.chain.provider()
        self.chain.contract = self._answer

    def _answer(self, to: str, data: str) -> str:
        name = SELECTORS.get(data[:10])
        if name == "canMarkProofAsMissing":
            proved = abi.Refusal("Proofs_ProofNotMissing").selector
            raise ProviderError(3, "execution reverted", "0x" + proved.hex())
        assert name == "slotState"
        slot = SlotId(bytes.fromhex(data[10:74]))
        return f"0x{SlotState.FINISHED if slot in self.over else SlotState.FILLED:064x}"

    async def pass_blocks(self, count: int) -> None:
        """Have blocks come, one after the other."""
        for _ in range(count):
            await trio.sleep(12)
            self.chain.mine()

    def scans(self) -> Scan:
        """What was asked for since this was called last."""
        wanted = [params[0] for method, params in self.provider.asked if method == "eth_getLogs"]
        self.provider.asked.clear()
        ranges = [int(there["fromBlock"], 16) for there in wanted if "fromBlock" in there]
        return Scan(len(wanted), min(ranges, default=self.chain.height))

    @asynccontextmanager
    async def validator(self, share: Share | None = None) -> AsyncIterator[Validation]:
        """One life."""
        config = MarketConfig(
            providers=("ws://one",),
            private_key_file=key_file(self.directory),
            marketplace_address=str(CONTRACT),
        )
        async with (
            open_chain(self.provider.dial, config) as opened,
            open_validator_at(
                opened.marketplace, opened.chain, self.directory / "victor", share or Share(most=0)
            ) as validation,
        ):
            yield validation


async def watched(validation: Validation) -> set[SlotId]:
    return set((await validation.validated()).watched)


async def test_a_second_start_reads_only_what_came_since(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World(tmp_path)
    chain = world.chain
    for index in range(100):
        chain.mine(told("SlotFilled", index), count=LONG // 100)
    chain.mine(told("SlotFreed", 0), told("SlotFreed", 99), count=100)
    world.over.add(SLOTS[1])
    expected = set(SLOTS[2:99])
    async with world.validator() as validation:
        await world.pass_blocks(12)
        assert await watched(validation) == expected
    first = world.scans()
    assert first.count > LONG / 2048
    assert first.oldest == 0

    # A fill, and a slot that is freed, while nobody is here.
    chain.mine(told("SlotFilled", 0), told("SlotFreed", 5))
    async with world.validator() as validation:
        await world.pass_blocks(2)
        assert await watched(validation) == expected - {SLOTS[5]} | {SLOTS[0]}
        second = world.scans()
        assert second.count < first.count
        assert second.count <= 12
        assert second.oldest > chain.height - FEW
        await world.pass_blocks(12)
    for start in range(2):
        world.scans()
        async with world.validator() as validation:
            await world.pass_blocks(2)
            assert await watched(validation) == expected - {SLOTS[5]} | {SLOTS[0]}, start
            again = world.scans()
            assert again.count <= 12
            assert again.oldest > chain.height - FEW

    # Another group knows nothing of what was filled; nor does one that has waited for longer than requests
    # last believe what it knew.
    async with world.validator(Share(most=0, groups=2, index=1)) as validation:
        await world.pass_blocks(2)
        mine = {slot for slot in expected - {SLOTS[5]} | {SLOTS[0]} if slot.group(2) == 1}
        assert await watched(validation) == mine
        assert world.scans().oldest == 0
    chain.mine(timestamp=1_700_000_000 + 34 * 86400)
    chain.mine(count=3)
    async with world.validator() as validation:
        await trio.sleep(5)
        assert await watched(validation) == set()


async def test_blocks_that_are_replaced_while_nobody_is_here(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    chain = world.chain
    chain.mine(told("SlotFilled", 0), told("SlotFilled", 1), told("SlotFilled", 2), count=200)
    chain.mine(told("SlotFilled", 3), told("SlotFreed", 0), told("SlotFreed", 1), count=5)
    async with world.validator() as validation:
        await world.pass_blocks(12)
        assert await watched(validation) == {SLOTS[2], SLOTS[3]}
    world.scans()
    # The last twenty come again, and only one slot is freed in them.
    chain.reorganise(20, told("SlotFreed", 1))
    async with world.validator() as validation:
        await world.pass_blocks(2)
        assert await watched(validation) == {SLOTS[0], SLOTS[2]}
        assert world.scans().oldest > 0


async def test_blocks_that_are_replaced_while_it_watches(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World(tmp_path)
    chain = world.chain
    chain.mine(told("SlotFilled", 0), told("SlotFilled", 1), count=200)
    async with world.validator() as validation:
        await world.pass_blocks(2)
        chain.mine(told("SlotFilled", 2), told("SlotFreed", 0))
        await world.pass_blocks(4)
        assert await watched(validation) == {SLOTS[1], SLOTS[2]}
        chain.reorganise(5)
        await world.pass_blocks(1)
        assert await watched(validation) == {SLOTS[0], SLOTS[1]}
        # Also while no provider answers.
        chain.mine(told("SlotFilled", 3), told("SlotFreed", 1))
        await world.pass_blocks(4)
        assert await watched(validation) == {SLOTS[0], SLOTS[3]}
        world.provider.go_down()
        await trio.sleep(20)
        chain.reorganise(5, told("SlotFilled", 4))
        world.provider.up = True
        await trio.sleep(60)
        await world.pass_blocks(2)
        assert await watched(validation) == {SLOTS[0], SLOTS[1], SLOTS[4]}


async def test_a_provider_that_is_behind_does_not_cost_a_slot_that_was_just_filled(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    world = World(tmp_path)
    chain = world.chain
    chain.mine(told("SlotFilled", 0), count=200)
    known = chain.contract
    unknown = {SLOTS[0], SLOTS[1]}

    def behind(to: str, data: str) -> str:
        free = SELECTORS.get(data[:10]) == "slotState" and SlotId(bytes.fromhex(data[10:74])) in unknown
        return f"0x{SlotState.FREE:064x}" if free else known(to, data)

    async with world.validator() as validation:
        await world.pass_blocks(8)
        chain.mine(told("SlotFilled", 1))
        chain.contract = behind
        await world.pass_blocks(10)
        # What has been free for so long, whatever was told, is another matter.
        assert await watched(validation) == {SLOTS[1]}
