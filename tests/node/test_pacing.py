"""When a row that comes slowly is compared with the others, and what comes of it."""

from collections.abc import AsyncGenerator

import pytest
import trio
from trio.testing import MockClock

from codex.data import Block
from codex.errors import BlockNotFound, CodexError, DiskFull, NotADataset, QuotaExceeded
from codex.node.fetching import FIRST, SLOW, STALL
from codex.node.gathering import Gatherer
from codex.node.pacing import LONG, SOONER, TRIAL_LEAST, TRIED_PART, Pace, sooner
from codex.testing.content import noise
from codex.testing.nodes import open_test_node, store_of
from codex.testing.rows import protect

SIZE = 64
DATASET = protect(noise(4 * 100 * SIZE), 4, 2, SIZE)


class Computer:
    """Computes leaves, `seconds` for each; or raises instead."""

    def __init__(self, gatherer: Gatherer, seconds: float, error: CodexError | None = None) -> None:
        self.layout = DATASET.layout
        self.gatherer = gatherer
        self.block_size = SIZE
        self.tried: list[range] = []
        self._seconds = seconds
        self._error = error

    async def rebuild(self, run: range) -> AsyncGenerator[dict[int, Block], None]:
        self.tried.append(run)
        for index in run:
            await trio.sleep(self._seconds)
            if self._error is not None:
                raise self._error
            yield {index: DATASET.blocks[index]}


async def try_others(
    seconds: float, rate: float, made: int = 96, error: CodexError | None = None
) -> tuple[bool, Computer, Pace]:
    """Whether 96 leaves, which come at a rate, would be computed sooner, `seconds` for each."""
    async with open_test_node() as node:
        computer = Computer(Gatherer(store_of(node), None, DATASET.manifest), seconds, error)
        pace = Pace()
        found = await sooner(computer, range(4, 100), pace, rate, made)
        return found, computer, pace


async def test_others_are_tried_with_the_last_leaves(autojump_clock: MockClock) -> None:
    count = 96 // TRIED_PART
    soon = 1 / (SOONER * 2.0)  # seconds for each, where two come in a second
    for seconds, made, expected in (
        (0.1, 96, True),
        (soon * 0.99, 96, True),
        (soon * 1.01, 96, False),
        # What has come of the row already is to be computed, too.
        (soon * 0.8, 100, True),
        (soon * 0.8, 130, False),
    ):
        found, computer, pace = await try_others(seconds, 2.0, made)
        assert found == expected
        assert computer.tried == [range(100 - count, 100)]
        # Nothing was had of the row meanwhile, as far as anybody saw.
        assert pace.waited == pytest.approx(min(seconds, soon) * count)
        assert pace.came == 0


async def test_what_comes_as_soon_as_an_answer_would_is_not_compared(autojump_clock: MockClock) -> None:
    rate = 96 / TRIED_PART / SOONER / TRIAL_LEAST
    found, computer, _ = await try_others(0.0, rate * 1.01)
    assert (found, computer.tried) == (False, [])
    found, computer, _ = await try_others(0.0, rate * 0.99)
    assert found
    assert computer.tried


@pytest.mark.parametrize("kind", [BlockNotFound, NotADataset, QuotaExceeded])
async def test_where_others_cannot_do_it_the_row_is_waited_for(
    kind: type[CodexError], autojump_clock: MockClock
) -> None:
    found, computer, _ = await try_others(0.01, 2.0, error=kind("not this way"))
    assert not found
    assert computer.tried
    with pytest.raises(DiskFull):
        await try_others(0.01, 2.0, error=DiskFull("no way at all"))


def test_what_is_here_soon_is_waited_for() -> None:
    pace = Pace()
    pace.note(99, STALL - 0.1)
    assert pace.doubtful(10_000) is None
    pace.note(0, 0.1)
    assert pace.doubtful(int(99 / STALL * LONG)) is None
    # Looked at again after as long, and only what came since counts.
    assert pace.doubtful(10_000) is None
    pace.note(0, STALL)
    assert pace.doubtful(5) == pytest.approx(1 / STALL)


def test_what_is_tried_in_vain_is_tried_more_and_more_rarely() -> None:
    pace, tried = Pace(), []
    for second in range(200):
        pace.note(1, 1.0)
        if pace.doubtful(100_000) is not None:
            tried.append(second + 1)
    assert tried == [5, 15, 35, 75, 155]


def test_where_nothing_came_it_is_time_too() -> None:
    pace = Pace()
    pace.note(0, 2 * STALL)
    assert pace.doubtful(10) == pytest.approx(1 / (2 * STALL))


def test_patience_follows_the_pace() -> None:
    pace = Pace()
    assert pace.patience == FIRST
    assert Pace(first=STALL).patience == STALL
    pace.note(10, 1)
    assert pace.patience == STALL
    pace.note(10, 9)
    pace.note(0, 10)
    assert pace.patience == SLOW * 10
