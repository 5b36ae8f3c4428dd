"""Which slots a validator watches: those of its group, and no more than it may."""

from codex.market import RequestId, SlotFilled, SlotFreed, SlotId
from codex.validation.filled import DEPTH
from codex.validation.rounds import Rounds, Share

REQUEST = RequestId(bytes([3]) * 32)
LATE = 10**10
SLOTS = [SlotId.of(REQUEST, index) for index in range(40)]


def test_each_slot_is_in_one_group() -> None:
    watched: list[SlotId] = []
    for group in range(4):
        rounds = Rounds(Share(most=0, groups=4, index=group))
        for index in range(40):
            rounds.hear(SlotFilled(REQUEST, index), 1, LATE)
        watched += rounds.watched
        assert all(int.from_bytes(slot.raw[:8], "big") % 4 == group for slot in rounds.watched)
    assert sorted(watched) == sorted(SLOTS)


def test_without_groups_all_are_watched() -> None:
    rounds = Rounds(Share(most=0))
    for index in (0, 1, 0):
        rounds.hear(SlotFilled(REQUEST, index), 1, LATE)
    assert rounds.watched == (SLOTS[0], SLOTS[1])


def test_no_more_than_it_may_and_the_next_when_one_goes() -> None:
    rounds = Rounds(Share(most=2))
    for index in range(5):
        rounds.hear(SlotFilled(REQUEST, index), 1, LATE)
    assert (rounds.watched, rounds.waiting) == ((SLOTS[0], SLOTS[1]), 3)
    rounds.hear(SlotFreed(REQUEST, 0), 1, LATE)
    assert (rounds.watched, rounds.waiting) == ((SLOTS[1], SLOTS[2]), 2)
    rounds.hear(SlotFreed(REQUEST, 3), 1, LATE)
    rounds.drop(SLOTS[1])
    assert (rounds.watched, rounds.waiting) == ((SLOTS[2], SLOTS[4]), 0)
    rounds.drop(SLOTS[9])
    assert len(rounds.watched) == 2


def test_who_has_come_to_be_watched_is_told_once() -> None:
    rounds = Rounds(Share(most=2))
    for index in range(4):
        rounds.hear(SlotFilled(REQUEST, index), 1, LATE)
    assert rounds.take_fresh() == (SLOTS[0], SLOTS[1])
    assert rounds.take_fresh() == ()
    rounds.drop(SLOTS[0])
    rounds.drop(SLOTS[2])
    assert rounds.take_fresh() == (SLOTS[3],)


def test_what_is_taken_back_counts_for_nothing() -> None:
    rounds = Rounds(Share(most=2))
    for index in range(3):
        rounds.hear(SlotFilled(REQUEST, index), 10 + index, LATE)
    rounds.hear(SlotFreed(REQUEST, 0), 13, LATE)
    rounds.drop(SLOTS[1])  # as of the newest block that was told of
    rounds.hear(SlotFilled(REQUEST, 4), 14, LATE)
    rounds.take_fresh()
    assert (rounds.watched, rounds.waiting) == ((SLOTS[2], SLOTS[4]), 0)
    rounds.rewind(13)
    assert (rounds.watched, rounds.waiting) == ((SLOTS[2], SLOTS[0]), 1)
    assert rounds.take_fresh() == (SLOTS[0],)
    # It is told anew, in other blocks.
    rounds.hear(SlotFilled(REQUEST, 4), 13, LATE)
    rounds.hear(SlotFreed(REQUEST, 0), 14, LATE)
    assert (rounds.watched, rounds.waiting) == ((SLOTS[2], SLOTS[1]), 1)
    rounds.rewind(0)
    assert (rounds.watched, rounds.waiting, rounds.take_fresh()) == ((), 0, ())


def test_a_later_life_watches_the_same() -> None:
    share = Share(most=2, groups=1)
    rounds = Rounds(share)
    rounds.begin(100, {})
    for index in range(5):
        rounds.hear(SlotFilled(REQUEST, index), 100 + index, LATE + index)
    rounds.hear(SlotFreed(REQUEST, 0), 105, LATE)
    assert rounds.settle(110, 0) == (100, {})
    block, slots = rounds.settle(103 + DEPTH, 0)
    assert (block, slots) == (103, {SLOTS[index]: LATE + index for index in range(3)})
    later = Rounds(share)
    later.begin(block, slots)
    assert (later.watched, later.waiting) == ((SLOTS[0], SLOTS[1]), 1)
    for index in (3, 4):
        later.hear(SlotFilled(REQUEST, index), 100 + index, LATE)
    later.hear(SlotFreed(REQUEST, 0), 105, LATE)
    assert (later.watched, later.waiting) == (rounds.watched, rounds.waiting) == ((SLOTS[1], SLOTS[2]), 2)


def test_what_is_surely_over_is_forgotten() -> None:
    rounds = Rounds(Share(most=1))
    for index in range(3):
        rounds.hear(SlotFilled(REQUEST, index), 1, 1000 + index)
    assert rounds.settle(1000, 1001) == (1000 - DEPTH, {SLOTS[1]: 1001, SLOTS[2]: 1002})
    assert (rounds.watched, rounds.waiting) == ((SLOTS[1],), 1)


def test_a_slot_of_the_last_blocks_is_not_settled() -> None:
    rounds = Rounds(Share())
    rounds.hear(SlotFilled(REQUEST, 0), 1, LATE)
    assert not rounds.is_settled(SLOTS[0])
    rounds.settle(2 + DEPTH, 0)
    assert rounds.is_settled(SLOTS[0])
    rounds.hear(SlotFreed(REQUEST, 0), 3, LATE)
    rounds.hear(SlotFilled(REQUEST, 0), 4, LATE)
    assert not rounds.is_settled(SLOTS[0])


def test_what_is_over_before_anything_is_told_is_not_there_for_a_later_life() -> None:
    rounds = Rounds(Share())
    rounds.begin(500, {SLOTS[0]: LATE, SLOTS[1]: LATE})
    rounds.drop(SLOTS[0])
    assert rounds.settle(501, 0) == (500, {SLOTS[0]: LATE, SLOTS[1]: LATE})
    assert rounds.settle(501 + DEPTH, 0) == (501, {SLOTS[1]: LATE})
