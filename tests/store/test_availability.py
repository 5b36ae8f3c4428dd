"""Room for sale: nothing of it is lost, doubled or promised twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from codex.errors import AvailabilityNotFound, InvalidInput, QuotaExceeded
from codex.store.availability import Availability, SlotReservation, Stage
from codex.store.planning import Put
from codex.store.repo import Repo
from codex.testing.stores import audit, make_blocks

ALICE = bytes([1]) * 32
REQUEST = bytes([7]) * 32


def offer(id: bytes = ALICE, total: int = 10_000, collateral: int = 500) -> Availability:
    return Availability(
        id=id, total=total, free=total, duration=3600, price=2, collateral=collateral, remaining=collateral
    )


def take(
    repo: Repo, slot: int = 0, *, size: int = 4000, collateral: int = 100, until: int = 99
) -> SlotReservation:
    id = bytes([100 + slot]) * 32
    return repo.stall.take(
        ALICE, id=id, request=REQUEST, slot=slot, size=size, collateral=collateral, until=until
    )


def there(repo: Repo) -> Availability:
    (only,) = repo.stall.availabilities()
    return only


def test_what_is_offered_counts_as_reserved(repo: Repo) -> None:
    repo.stall.put(offer())
    assert there(repo) == offer()
    assert repo.catalogue.space().quota_reserved == 10_000
    repo.stall.delete(ALICE)
    assert repo.catalogue.space().quota_reserved == 0
    assert repo.stall.availabilities() == []


def test_amounts_beyond_what_the_index_counts_in_are_exact(repo: Repo) -> None:
    most = 2**256 - 1
    repo.stall.put(evolve(offer(collateral=most), price=most))
    take(repo, collateral=most)
    assert there(repo).price == most
    assert there(repo).remaining == 0
    repo.stall.give_back(bytes([100]) * 32, most - 1)
    assert (there(repo).remaining, there(repo).lost) == (most - 1, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"total": 0, "free": 0},
        {"free": 9},
        {"duration": 0},
        {"duration": 2**64},
        {"price": 0},
        {"collateral": 0, "remaining": 0},
        {"collateral": 2**256, "remaining": 2**256},
        {"remaining": 1},
        {"until": -1},
        {"id": b"short"},
        {"total": 2**63, "free": 2**63},
    ],
)
def test_what_cannot_be_offered(repo: Repo, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        repo.stall.put(evolve(offer(), **wrong))
    assert repo.stall.availabilities() == []


@pytest.mark.parametrize("duration", [2**63 - 1, 2**63, 2**64 - 1])
def test_durations_have_64_bits(repo: Repo, duration: int) -> None:
    repo.stall.put(evolve(offer(), duration=duration))
    assert there(repo).duration == duration
    assert repo.stall.alter(ALICE, duration=duration - 1).duration == duration - 1


def test_no_more_than_the_quota_is_offered(repo: Repo) -> None:
    repo.stall.put(offer(total=1 << 20))
    with pytest.raises(QuotaExceeded):
        repo.stall.put(offer(bytes(32), total=1))
    with pytest.raises(QuotaExceeded):
        repo.stall.alter(ALICE, total=(1 << 20) + 1)


def test_a_name_is_given_once(repo: Repo) -> None:
    repo.stall.put(offer())
    with pytest.raises(InvalidInput, match="already"):
        repo.stall.put(offer())


def test_a_slot_takes_gives_its_stages_and_gives_back(repo: Repo) -> None:
    repo.stall.put(offer())
    taken = take(repo)
    assert taken == SlotReservation(
        id=bytes([100]) * 32,
        availability=ALICE,
        request=REQUEST,
        slot=0,
        size=4000,
        left=4000,
        collateral=100,
        until=99,
        stage=Stage.TAKEN,
        returned=None,
        room=taken.room,
    )
    assert (there(repo).free, there(repo).taken, there(repo).remaining, there(repo).held) == (
        6000,
        4000,
        400,
        100,
    )
    assert repo.take_in([Put(make_blocks([1, 2], 1000), 5.0, int(taken.room))]) == [None]
    space = repo.catalogue.space()
    assert (space.quota_used, space.quota_reserved) == (2000, 8000)
    # All of it is here: what was reserved for blocks that turned out empty is nobody's now.
    assert repo.stall.advance(taken.id, Stage.STORED).left == 0
    assert repo.catalogue.space().quota_reserved == 6000
    assert repo.stall.advance(taken.id, Stage.RELEASING, 80).returned == 80
    assert repo.stall.give_back(taken.id, 80)
    assert not repo.stall.give_back(taken.id, 80)
    assert (there(repo).free, there(repo).remaining, there(repo).lost) == (10_000, 480, 20)
    assert repo.catalogue.space().quota_reserved == 10_000
    assert repo.stall.slots() == []


def test_more_comes_back_than_went_in(repo: Repo) -> None:
    repo.stall.put(offer())
    repo.stall.give_back(take(repo).id, 1000)
    assert there(repo) == offer()


def test_all_comes_back_though_the_room_was_released_by_name(repo: Repo) -> None:
    repo.stall.put(offer())
    taken = take(repo)
    repo.release(int(taken.room))
    assert repo.stall.slots()[0].left == 0
    assert repo.stall.advance(taken.id, Stage.STAKED).stage is Stage.STAKED
    assert repo.stall.give_back(taken.id, 100)
    assert there(repo) == offer()
    assert repo.catalogue.space().quota_reserved == 10_000


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"size": 10_001}, InvalidInput, "10000 are free"),
        ({"size": 0}, InvalidInput, "cannot be reserved"),
        ({"collateral": 501}, InvalidInput, "500 remain"),
        ({"collateral": -1}, InvalidInput, "500 remain"),
        ({"slot": -1}, InvalidInput, "cannot be reserved"),
        ({"until": 2**63}, InvalidInput, f"until {2**63}"),
        ({"until": -1}, InvalidInput, "until -1"),
        ({"request": b""}, InvalidInput, "cannot be reserved"),
        ({"availability": bytes(32)}, AvailabilityNotFound, "no availability"),
    ],
)
def test_what_cannot_be_taken(repo: Repo, wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    repo.stall.put(offer())
    asked: dict[str, Any] = {"availability": ALICE, "id": bytes(32), "request": REQUEST, "slot": 0, "size": 1}
    asked |= {"collateral": 0, "until": 0, **wrong}
    with pytest.raises(error, match=says):
        repo.stall.take(asked.pop("availability"), **asked)
    assert there(repo) == offer()


def test_a_slot_takes_its_share_once(repo: Repo) -> None:
    repo.stall.put(offer())
    take(repo)
    with pytest.raises(InvalidInput, match="already"):
        take(repo)
    assert there(repo).free == 6000


def test_no_slot_is_taken_where_blocks_have_eaten_the_room(repo: Repo) -> None:
    repo.stall.put(offer(total=1 << 20))
    taken = take(repo, size=1 << 20)
    blocks = make_blocks(range(3), 1000)
    assert repo.take_in([Put(blocks, 5.0, int(taken.room))]) == [None]
    # They stay, for another reason, when the slot is done with.
    repo.stall.give_back(taken.id, 100)
    assert repo.catalogue.space().available == 0
    with pytest.raises(QuotaExceeded, match="stored beside the market"):
        take(repo, size=(1 << 20) - 2999)
    assert take(repo, size=(1 << 20) - 3000).left == (1 << 20) - 3000


def test_an_availability_is_altered(repo: Repo) -> None:
    repo.stall.put(offer())
    taken = take(repo, until=500)
    after = repo.stall.alter(
        ALICE, total=5000, duration=60, price=9, collateral=700, enabled=False, until=500
    )
    assert after == there(repo)
    assert (after.total, after.free, after.remaining, after.held) == (5000, 1000, 600, 100)
    assert (after.duration, after.price, after.enabled, after.until) == (60, 9, False, 500)
    assert repo.catalogue.space().quota_reserved == 5000
    repo.stall.give_back(taken.id, 40)
    assert (there(repo).remaining, there(repo).lost) == (640, 60)
    assert repo.stall.alter(ALICE, collateral=700).remaining == 700
    assert repo.stall.alter(ALICE, until=0).until == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"total": 3999}, "have taken 4000 bytes"),
        ({"collateral": 99}, "100 of its collateral is at stake"),
        ({"until": 98}, "held until 99"),
        ({"until": -1}, "cannot be -1"),
        ({"price": 0}, "cannot be 0"),
    ],
)
def test_promises_are_not_broken(repo: Repo, change: dict[str, int], says: str) -> None:
    repo.stall.put(offer())
    take(repo)
    before = there(repo)
    with pytest.raises(InvalidInput, match=says):
        repo.stall.alter(ALICE, **change)
    with pytest.raises(InvalidInput, match="1 slots are in"):
        repo.stall.delete(ALICE)
    assert there(repo) == before


def test_what_there_is_not(repo: Repo) -> None:
    with pytest.raises(AvailabilityNotFound):
        repo.stall.alter(ALICE, total=1)
    with pytest.raises(AvailabilityNotFound):
        repo.stall.delete(ALICE)
    with pytest.raises(InvalidInput):
        repo.stall.advance(ALICE, Stage.STORED)
    assert not repo.stall.give_back(ALICE, 1)


def test_it_is_all_there_after_a_crash(repo: Repo, reopen: Callable[[], Repo], tmp_path: Path) -> None:
    repo.stall.put(offer())
    taken = take(repo)
    repo.abandon()
    again = reopen()
    assert again.stall.slots(ALICE) == [taken]
    assert again.stall.slots(bytes(32)) == []
    assert again.catalogue.recount().right
    again.abandon()
    audit(tmp_path / "repo")
