"""A budget: never more than it has is held, everybody always has the floor, and nobody is waited for."""

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from trio.testing import wait_all_tasks_blocked

from codex.runtime import Budget
from codex.runtime.budget import MUCH, Share

TOTAL = 1000


class Sharing(RuleBasedStateMachine):
    """Shares that come, take, give back and go, against an account of each."""

    shares = Bundle("shares")

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(TOTAL)
        self.floors: dict[Share, int] = {}
        self.held: dict[Share, int] = {}
        self.blocks: dict[Share, object] = {}

    @rule(target=shares, floor=st.integers(0, 300))
    def join(self, floor: int) -> Share:
        block = self.budget.share(floor)
        share = block.__enter__()
        self.floors[share], self.held[share], self.blocks[share] = floor, 0, block
        return share

    @rule(share=consumes(shares))
    def leave(self, share: Share) -> None:
        self.blocks.pop(share).__exit__(None, None, None)  # type: ignore[attr-defined]
        del self.floors[share], self.held[share]
        assert share.held == 0

    @rule(share=shares, size=st.integers(0, 1500))
    def hold(self, share: Share, size: int) -> None:
        before, floor = self.held[share], self.floors[share]
        lent = self.lent() - max(0, before - floor)
        fits = size - floor <= TOTAL // len(self.floors) and size - floor <= TOTAL - lent
        granted = share.hold(size)
        # The floor and less than before are always granted; more, where it fits and is no more than a part.
        assert granted == (size <= max(before, floor) or fits)
        if granted:
            self.held[share] = size

    @rule(share=shares)
    def hold_the_most(self, share: Share) -> None:
        most = share.most
        assert most >= self.floors[share]
        if most > self.held[share]:
            assert not share.hold(most + 1)
        assert share.hold(most)
        self.held[share] = most

    def lent(self) -> int:
        return sum(max(0, held - self.floors[share]) for share, held in self.held.items())

    @invariant()
    def no_more_is_held_than_there_is(self) -> None:
        assert [share.held for share in self.held] == list(self.held.values())
        assert self.budget.free == TOTAL - self.lent() >= 0
        assert sum(self.held.values()) <= TOTAL + sum(self.floors.values())

    def teardown(self) -> None:
        for share in list(self.blocks):
            self.leave(share)
        assert self.budget.free == TOTAL


TestSharing = Sharing.TestCase
TestSharing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_one_share_alone_may_have_everything() -> None:
    budget = Budget(TOTAL)
    with budget.share(10) as share:
        assert share.hold(TOTAL + 10)
        assert not share.hold(TOTAL + 11)
        assert share.held == TOTAL + 10


def test_the_pot_is_shared_equally_by_those_who_ask() -> None:
    budget = Budget(TOTAL)
    with budget.share(0) as alice, budget.share(0) as bob:
        assert alice.most == bob.most == TOTAL // 2
        with budget.share(5) as carol:
            assert carol.most == TOTAL // 3 + 5
            assert all(share.hold(share.most) for share in (alice, bob, carol))


def test_what_was_had_before_others_came_may_be_kept_but_not_grow() -> None:
    budget = Budget(TOTAL)
    with budget.share(10) as alice:
        assert alice.hold(TOTAL)
        with budget.share(10) as bob:
            assert bob.most == 10 + 10  # what alice has left of the pot, and bob's own
            assert alice.held == TOTAL
            assert not alice.hold(TOTAL + 1)
            assert alice.hold(TOTAL - 100)
            assert not alice.hold(TOTAL - 99)
            assert bob.hold(120)
        assert alice.hold(TOTAL)


async def test_giving_back_is_noticed_by_its_own_share_alone() -> None:
    budget = Budget(TOTAL)
    with budget.share(0) as alice, budget.share(0) as bob:
        alice.hold(100)
        bob.hold(100)
        noticed = []

        async def wait() -> None:
            await alice.shrunk()
            noticed.append(alice.held)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            bob.hold(0)
            alice.hold(200)
            await wait_all_tasks_blocked()
            assert noticed == []
            alice.hold(150)
        assert noticed == [150]


def test_a_share_that_breaks_off_gives_everything_back() -> None:
    class Broke(Exception):
        pass

    def break_off() -> None:
        with budget.share(10) as share:
            share.hold(500)
            raise Broke

    budget = Budget(TOTAL)
    with pytest.raises(Broke):
        break_off()
    assert budget.free == TOTAL


async def test_memory_is_given_back_when_much_less_is_held_than_was() -> None:
    async def tidy() -> None:
        await trio.lowlevel.checkpoint()
        tidied.append(budget.free)

    tidied: list[int] = []
    budget = Budget(8 * MUCH, tidy)
    async with budget.lend(10) as alice:
        alice.hold(MUCH // 2)
    assert tidied == []
    async with budget.lend(10) as alice:
        async with budget.lend(10) as bob:
            assert bob.hold(MUCH)
            assert alice.hold(MUCH // 2)
            async with budget.lend(10):
                pass
            assert tidied == []
        assert tidied == []  # alice holds a third of it still
        alice.hold(100)
        with trio.CancelScope() as scope:
            async with budget.lend(10):
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert tidied == [8 * MUCH - 90]
        async with budget.lend(10):
            pass
        assert len(tidied) == 1
    assert len(tidied) == 2  # once more, when nobody holds anything
    async with budget.lend(10):
        pass
    assert len(tidied) == 2
