"""What is sent next: control first, streams in turn, and never more in a frame than it holds."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from codex.p2p.mplex import Frame, Key, Kind, Parser
from codex.p2p.noise import MAX_PLAIN
from codex.p2p.outbox import Outbox, Part

PAYLOAD = 90_000


class Letter:
    """A stream that has so many bytes to send, all alike."""

    def __init__(self, number: int, size: int) -> None:
        self.key = Key(number, True)
        self.left = size

    def take(self, limit: int) -> tuple[int, Sequence[memoryview]]:
        count = min(limit, self.left)
        self.left -= count
        half = count // 2
        content = bytes([self.key.number]) * count
        return count, [memoryview(content)[:half], memoryview(content)[half:]] if count else []

    @property
    def sending(self) -> bool:
        return self.left > 0


def read(batch: Sequence[Sequence[Part]]) -> list[Frame]:
    parser, frames = Parser(), list[Frame]()
    for parts in batch:
        data = b"".join(parts)
        assert 0 < len(data) <= MAX_PLAIN
        frames += parser.feed(data)
    return frames


def told(frames: list[Frame]) -> list[Frame]:
    """The frames of mplex themselves: what lies in several of Noise is read in as many pieces."""
    whole: list[Frame] = []
    for frame in frames:
        if whole and frame.key == whole[-1].key and len(whole[-1].data) < PAYLOAD:
            whole[-1] = frame._replace(data=memoryview(bytes(whole[-1].data) + bytes(frame.data)))
        else:
            whole.append(frame)
    return whole


def test_nothing_to_send() -> None:
    outbox = Outbox(PAYLOAD)
    assert not outbox
    assert outbox.fill(1000) == []


def test_control_goes_first_and_streams_take_turns() -> None:
    outbox = Outbox(PAYLOAD)
    outbox.enter(Letter(1, 200_000))
    outbox.enter(Letter(2, 100))
    outbox.enter(Letter(3, 70_000))
    assert outbox.announce(Kind.OPEN, Key(9, True)) == 1
    assert outbox.announce(Kind.RESET, Key(8, False)) == 2
    assert len(outbox) == 5
    frames = read(outbox.fill(10**6))
    assert [(frame.kind, frame.key.number) for frame in frames[:2]] == [(Kind.OPEN, 9), (Kind.RESET, 8)]
    # 200,000 bytes are three frames, and 70,000 are one.
    assert [frame.key.number for frame in told(frames[2:])] == [1, 2, 3, 1, 1]
    assert [len(frame.data) for frame in told(frames[2:])[:3]] == [PAYLOAD, 100, 70_000]
    assert not outbox


def test_a_batch_ends_at_its_size_and_the_next_begins_with_whoever_waits() -> None:
    outbox = Outbox(PAYLOAD)
    outbox.enter(Letter(1, 10**6))
    first = read(outbox.fill(200_000))
    assert 200_000 - 20 <= sum(len(frame.data) for frame in first) <= 200_000 + 1024
    outbox.enter(Letter(2, 10))
    outbox.enter(Letter(3, 10**6))
    second = told(read(outbox.fill(200_000)))
    assert [frame.key.number for frame in second[:3]] == [1, 2, 3]
    assert {frame.key.number for frame in second[3:]} == {1, 3}
    turns = [[frame.key.number for frame in told(read(outbox.fill(1000)))] for _ in range(4)]
    assert turns in ([[1], [3]] * 2, [[3], [1]] * 2)


def test_who_waits_has_a_share_of_the_next_batch_however_much_others_send() -> None:
    outbox = Outbox(512 << 10)
    for number in range(7):
        outbox.enter(Letter(number, 10**7))
    outbox.fill(512 << 10)
    outbox.enter(Letter(9, 10))
    frames = told(read(outbox.fill(512 << 10)))
    assert 9 in [frame.key.number for frame in frames]
    assert len({frame.key.number for frame in frames}) == 8
    alone = Outbox(512 << 10)
    alone.enter(Letter(1, 10**7))
    assert sum(len(frame.data) for frame in read(alone.fill(512 << 10))) == 512 << 10


def test_frames_of_noise_are_full_but_the_last() -> None:
    outbox = Outbox(10**6)
    outbox.enter(Letter(1, 300_000))
    outbox.enter(Letter(2, 7))
    sizes = [sum(map(len, parts)) for parts in outbox.fill(500_000)]
    assert sizes[:-1] == [MAX_PLAIN] * 4
    assert 0 < sizes[-1] < MAX_PLAIN


def test_a_stream_that_was_reset_while_it_waited() -> None:
    outbox = Outbox(PAYLOAD)
    gone, other = Letter(1, 10), Letter(2, 10)
    outbox.enter(gone)
    outbox.enter(other)
    gone.left = 0
    assert [frame.key.number for frame in read(outbox.fill(1000))] == [2]
    assert not outbox


@given(st.lists(st.integers(1, 300_000), max_size=6), st.integers(0, 30), st.integers(1, 400_000))
def test_everything_is_sent_once(sizes: list[int], control: int, batch: int) -> None:
    outbox = Outbox(PAYLOAD)
    for number, size in enumerate(sizes):
        outbox.enter(Letter(number, size))
    for number in range(control):
        outbox.announce(Kind.CLOSE, Key(number, True))
    frames = list[Frame]()
    while outbox:
        frames += read(outbox.fill(batch))
    came = [0] * len(sizes)
    for frame in frames:
        if frame.kind is Kind.DATA:
            came[frame.key.number] += len(frame.data)
    assert came == sizes
    assert sum(frame.kind is Kind.CLOSE for frame in frames) == control
