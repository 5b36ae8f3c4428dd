"""Which slots a validator watches: those of its group, and no more than it may."""

from codex.market import RequestId, SlotFilled, SlotFreed, SlotId
from codex.validation.rounds import Rounds, Share

REQUEST = RequestId(bytes([3]) * 32)
SLOTS = [SlotId.of(REQUEST, index) for index in range(40)]


def test_each_slot_is_in_one_group() -> None:
    watched: list[SlotId] = []
    for group in range(4):
        rounds = Rounds(Share(most=0, groups=4, index=group))
        for index in range(40):
            rounds.hear(SlotFilled(REQUEST, index))
        watched += rounds.watched
        assert all(int.from_bytes(slot.raw[:8], "big") % 4 == group for slot in rounds.watched)
    assert sorted(watched) == sorted(SLOTS)


def test_without_groups_all_are_watched() -> None:
    rounds = Rounds(Share(most=0))
    for index in (0, 1, 0):
        rounds.hear(SlotFilled(REQUEST, index))
    assert rounds.watched == (SLOTS[0], SLOTS[1])


def test_no_more_than_it_may_and_the_next_when_one_goes() -> None:
    rounds = Rounds(Share(most=2))
    for index in range(5):
        rounds.hear(SlotFilled(REQUEST, index))
    assert (rounds.watched, rounds.waiting) == ((SLOTS[0], SLOTS[1]), 3)
    rounds.hear(SlotFreed(REQUEST, 0))
    assert (rounds.watched, rounds.waiting) == ((SLOTS[1], SLOTS[2]), 2)
    rounds.hear(SlotFreed(REQUEST, 3))
    rounds.drop(SLOTS[1])
    assert (rounds.watched, rounds.waiting) == ((SLOTS[2], SLOTS[4]), 0)
    rounds.drop(SLOTS[9])
    assert len(rounds.watched) == 2


def test_who_has_come_to_be_watched_is_told_once() -> None:
    rounds = Rounds(Share(most=2))
    for index in range(4):
        rounds.hear(SlotFilled(REQUEST, index))
    assert rounds.take_fresh() == (SLOTS[0], SLOTS[1])
    assert rounds.take_fresh() == ()
    rounds.drop(SLOTS[0])
    rounds.drop(SLOTS[2])
    assert rounds.take_fresh() == (SLOTS[3],)
