"""What counts as work on a connection: a transfer does, signs of life do not."""

from codex.p2p.flow import BLOCK, FULL, TRICKLE, Flow


def test_a_block_is_work_until_a_minute_after() -> None:
    flow = Flow(100.0)
    flow.moved(BLOCK - 1, 100.0)
    assert not flow.runs(100.0)
    flow.moved(1, 100.0)
    assert flow.runs(100.0)
    assert not flow.runs(100.1)
    for _ in range(1000):
        flow.moved(BLOCK, 101.0)
    quiet = (FULL - BLOCK) / TRICKLE
    assert flow.runs(101.0 + quiet - 0.1)
    assert not flow.runs(101.0 + quiet + 0.1)


def test_a_trickle_is_no_work_and_a_slow_peer_does_some() -> None:
    trickle, slow = Flow(0.0), Flow(0.0)
    for second in range(1, 3600):
        trickle.moved(1000, float(second))
        slow.moved(10_000, float(second))
        assert not trickle.runs(float(second))
        assert slow.runs(float(second)) == (second > 7)
