"""What is filled, against everything that was told: whatever was taken back in between."""

from hypothesis import given, settings
from hypothesis import strategies as st

from codex.market import SlotId
from codex.validation.filled import DEPTH, Filled

SLOTS = [SlotId(bytes([index]) * 32) for index in range(6)]
LATE = 10**10
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.integers(0, 5), st.integers(0, 30)),
        st.tuples(st.just("free"), st.integers(0, 5), st.integers(0, 30)),
        st.tuples(st.just("rewind"), st.integers(1, DEPTH), st.just(0)),
        st.tuples(st.just("settle"), st.integers(1, 40), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


def told_of(chain: list[tuple[int, SlotId, bool]], before: int) -> set[SlotId]:
    """What is filled by what a chain has told before a block."""
    filled: set[SlotId] = set()
    for block, slot, is_filled in chain:
        if block < before:
            (filled.add if is_filled else filled.discard)(slot)
    return filled


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_it_is_what_the_chain_has_told(steps: list[tuple[str, int, int]]) -> None:
    filled, chain, newest = Filled(), list[tuple[int, SlotId, bool]](), 1
    kept, slots = 0, dict[SlotId, int]()
    filled.begin(0, {})
    for step, which, ahead in steps:
        match step:
            case "fill" | "free":
                newest += ahead
                slot = SLOTS[which]
                chain.append((newest, slot, step == "fill"))
                if step == "fill":
                    filled.fill(slot, newest, LATE)
                else:
                    filled.free(slot, newest)
            case "rewind":
                # No deeper than is kept apart, one after the other taken together.
                first = max(newest + 1 - which, kept, 1)
                chain = [told for told in chain if told[0] < first]
                filled.rewind(first)
                newest = first
            case "settle":
                newest += which
                filled.settle(newest + 1, 0)
                kept, slots = filled.block, dict(filled.settled)
                assert kept >= newest + 1 - DEPTH
                assert slots.keys() == told_of(chain, kept)
            case _:
                # A later life begins with what was kept, and hears the rest.
                filled = Filled()
                filled.begin(kept, slots)
                for block, slot, is_filled in chain:
                    if block >= kept:
                        if is_filled:
                            filled.fill(slot, block, LATE)
                        else:
                            filled.free(slot, block)
        assert filled.now().keys() == told_of(chain, newest + 1)


def test_what_is_over_is_forgotten_when_it_is_settled() -> None:
    filled = Filled()
    filled.fill(SLOTS[0], 1, 99)
    filled.fill(SLOTS[1], 1, 100)
    filled.fill(SLOTS[2], 1, 101)
    filled.settle(2 + DEPTH, 100)
    assert filled.settled == {SLOTS[1]: 100, SLOTS[2]: 101}
    assert filled.now() == filled.settled


def test_taking_back_more_than_is_kept_apart_has_a_later_life_begin_there() -> None:
    filled = Filled()
    filled.begin(100, {})
    filled.fill(SLOTS[0], 150, LATE)
    filled.settle(1000, 0)
    assert filled.block == 1000 - DEPTH
    filled.rewind(500)
    assert (filled.block, filled.settled) == (500, {SLOTS[0]: LATE})
