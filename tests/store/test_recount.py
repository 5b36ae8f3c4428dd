"""The recount: silent when all is right, and exact when it is not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codex.store.manifests import Record
from codex.store.planning import Put
from codex.store.repo import Repo
from codex.store.values import Recount
from codex.testing.stores import audit, make_blocks

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(12), 1000)


@pytest.fixture
def filled(repo: Repo, upload: Upload) -> Repo:
    upload(repo, [*BLOCKS[:6], BLOCKS[0]])
    repo.take_in([Put(BLOCKS[4:], 5.0)])
    repo.reserve(500, "sales")
    return repo


def test_all_is_right(filled: Repo) -> None:
    found = filled.catalogue.recount()
    assert found.right
    assert found == Recount()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            "UPDATE totals SET blocks = blocks + 3, used = used - 7, reserved = reserved + 1",
            {"blocks": -3, "used": 7, "reserved": -1},
        ),
        ("UPDATE segments SET live = live + 5 WHERE id = 2", {"segments": ((2, -5),)}),
        ("UPDATE blocks SET refs = refs + 2 WHERE id = 1", {"refs": ((1, -2),)}),
        ("UPDATE blocks SET refs = 1 WHERE id = 12", {"refs": ((12, -1),)}),
        ("UPDATE trees SET leaves = 0", {"trees": ((1, 7),)}),
    ],
)
def test_what_is_wrong_is_found_and_put_right(
    filled: Repo, tmp_path: Path, damage: str, expected: dict[str, object]
) -> None:
    with filled._ledger.change("damage") as change:
        change.tx.execute(damage)
    found = filled.catalogue.recount()
    assert not found.right
    assert found == Recount(**expected)
    # What happens between counting and correcting counts as well.
    filled.take_in([Put(make_blocks([99], 300), 5.0)])
    filled.correct(found)
    assert filled.catalogue.recount().right
    audit(tmp_path / "repo")
