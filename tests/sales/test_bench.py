"""What all agents of a life share."""

from codex.market import SlotId
from codex.sales.bench import RESERVED, Reserved


def slot(number: int) -> SlotId:
    return SlotId(number.to_bytes(32, "big"))


def test_the_newest_slots_that_were_reserved_are_remembered() -> None:
    reserved = Reserved()
    assert not reserved
    for number in range(RESERVED + 2):
        reserved.note(slot(number))
    assert len(reserved) == RESERVED
    assert slot(1) not in reserved
    assert slot(2) in reserved
    assert slot(RESERVED + 1) in reserved
    reserved.forget(slot(2))
    reserved.forget(slot(2))
    assert slot(2) not in reserved
