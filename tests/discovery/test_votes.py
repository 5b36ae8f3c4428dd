"""Where others see us: majorities, and votes that lapse."""

from codex.discovery.votes import CAPACITY, LIFETIME, THRESHOLD, Votes

HERE, THERE = ("8.8.8.8", 8090), ("9.9.9.9", 8090)


def test_it_takes_a_number_of_voters_and_each_has_one_vote() -> None:
    votes = Votes()
    for number in range(THRESHOLD - 1):
        votes.cast(bytes([number]), HERE, 0.0)
    for _ in range(5):
        votes.cast(b"\0", HERE, 0.0)
    assert votes.outcome(0.0) is None
    votes.cast(b"last", HERE, 0.0)
    assert votes.outcome(0.0) == HERE
    votes.cast(b"last", THERE, 1.0)
    assert votes.outcome(1.0) is None


def test_the_address_with_more_votes_wins() -> None:
    votes = Votes()
    for number in range(2 * THRESHOLD + 1):
        votes.cast(bytes([number]), HERE if number % 2 else THERE, 0.0)
    assert votes.outcome(0.0) == THERE


def test_votes_lapse_and_are_counted() -> None:
    votes = Votes()
    for number in range(THRESHOLD):
        votes.cast(bytes([number]), HERE, float(number))
    assert votes.outcome(LIFETIME - 1) == HERE
    assert votes.outcome(LIFETIME) is None
    for number in range(CAPACITY + 100):
        votes.cast(number.to_bytes(4), THERE, LIFETIME)
    assert len(votes._votes) == CAPACITY
