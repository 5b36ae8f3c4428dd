"""The sum of what was dropped: everything is counted, and little is kept."""

from codex.p2p.tally import SOURCES, Sum, Tally


def test_what_was_dropped_is_counted_by_reason_and_source() -> None:
    tally = Tally()
    assert tally.take() is None
    assert tally.add("192.0.2.1", "it said nothing")
    assert not tally.add("192.0.2.1", "it came too often")
    assert tally.add("192.0.2.2", "it said nothing")
    assert not tally.add("192.0.2.1", "it said nothing")
    found = tally.take()
    assert found == Sum(4, (("it said nothing", 3), ("it came too often", 1)), 2, "192.0.2.1", 3)
    assert found.fields() == {
        "number": 4,
        "why": "it said nothing (3), it came too often (1)",
        "sources": 2,
        "most_from": "192.0.2.1",
        "of_these": 3,
    }
    assert tally.take() is None
    assert tally.add("192.0.2.1", "it said nothing")


def test_of_many_sources_few_are_told_apart_and_all_is_counted() -> None:
    tally = Tally()
    firsts = [tally.add(f"source {number}", "it said nothing") for number in range(1000)]
    assert firsts == [True] * SOURCES + [False] * (1000 - SOURCES)
    found = tally.take()
    assert found is not None
    assert (found.count, found.sources, found.most_count) == (1000, SOURCES, 1)
