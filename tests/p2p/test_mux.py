"""The account of a connection's streams: it balances after anything that may happen, in any order."""

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from trio.testing import MockClock

from codex.errors import ProtocolRefused
from codex.p2p import Identity
from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import Frame, Key, Kind
from codex.p2p.mux import Broken, Mux
from codex.p2p.streams import Stream
from codex.runtime import SeededEntropy

BOB = Identity.generate(SeededEntropy("bob"))
KIB = 1 << 10
LIMITS = Limits(
    inbound_streams=4,
    outbound_streams=3,
    negotiating=2,
    stream_high=8 * KIB,
    stream_low=4 * KIB,
    connection_high=20 * KIB,
    share=2 * KIB,
    burst=10**6,
)
NOTHING = memoryview(b"")


def mux_of(limits: Limits = LIMITS, budget: Budget | None = None) -> tuple[Mux, list[Stream], list[str]]:
    opened: list[Stream] = []
    failed: list[str] = []
    budget = budget or Budget(limits.all_high)
    mux = Mux(BOB.peer_id, limits, budget, opened=opened.append, fail=failed.append)
    return mux, opened, failed


def from_peer(kind: Kind, number: int, data: bytes = b"", *, theirs: bool = True) -> Frame:
    return Frame(kind, Key(number, not theirs), memoryview(data))


async def test_the_stray_bytes_of_what_was_refused(autojump_clock: MockClock) -> None:
    limits = Limits(inbound_streams=0, stray=100_000)
    mux, opened, _ = mux_of(limits)
    mux.arrived(from_peer(Kind.OPEN, 5), 0.0)
    assert opened == []
    mux.arrived(from_peer(Kind.DATA, 5, bytes(60_000)), 0.0)
    mux.arrived(from_peer(Kind.DATA, 3, bytes(60_000)), 0.0)  # lower numbers may have been
    # Half of all that came may be astray, and 100,000 bytes.
    mux.arrived(from_peer(Kind.DATA, 5, bytes(60_000)), 0.0)
    with pytest.raises(Broken, match="does not stop"):
        mux.arrived(from_peer(Kind.DATA, 5, bytes(60_000)), 0.0)


async def test_answers_that_are_not_taken(autojump_clock: MockClock) -> None:
    mux, _, failed = mux_of(Limits(inbound_streams=0, queued=100))
    for number in range(100):
        mux.arrived(from_peer(Kind.OPEN, number), 0.0)
    assert failed == []
    mux.arrived(from_peer(Kind.OPEN, 100), 0.0)
    assert "does not read the answers" in failed[0]


async def test_frames_without_content_are_paced(autojump_clock: MockClock) -> None:
    mux, opened, _ = mux_of(Limits(burst=10, pace=1.0))
    mux.arrived(from_peer(Kind.OPEN, 0), 0.0)
    for _ in range(9):
        mux.arrived(from_peer(Kind.DATA, 0), 0.0)
    for second in range(1, 100):
        mux.arrived(from_peer(Kind.DATA, 0), float(second))
    assert opened[0].unread == 0
    with pytest.raises(Broken, match="than anybody could mean"):
        mux.arrived(from_peer(Kind.DATA, 0), 99.5)


async def test_waiting_tasks_are_told(autojump_clock: MockClock) -> None:
    mux, opened, _ = mux_of()
    mux.work, mux.drained = trio.Event(), trio.Event()
    mux.arrived(from_peer(Kind.OPEN, 0), 0.0)
    mux.arrived(from_peer(Kind.DATA, 0, b"hello"), 0.0)
    assert not mux.work.is_set()
    assert not mux.drained.is_set()
    opened[0].reset("enough")
    assert mux.work.is_set()
    assert mux.drained.is_set()


async def test_the_fullest_is_given_up_when_none_is_too_full(autojump_clock: MockClock) -> None:
    mux, opened, _ = mux_of(Limits(connection_high=10_000))
    for number, size in enumerate((3_000, 5_000, 4_000)):
        mux.arrived(from_peer(Kind.OPEN, number), 0.0)
        mux.arrived(from_peer(Kind.DATA, number, bytes(size)), 0.0)
    assert mux.too_full
    assert mux.give_up_full("enough") == [opened[1]]
    assert mux.unread == 7_000
    assert not mux.too_full


async def test_a_full_stream_holds_back_until_it_is_at_the_lower_mark(autojump_clock: MockClock) -> None:
    mux, opened, _ = mux_of()
    mux.arrived(from_peer(Kind.OPEN, 0), 0.0)
    mux.arrived(from_peer(Kind.DATA, 0, bytes(8 * KIB)), 0.0)
    assert not mux.too_full
    mux.arrived(from_peer(Kind.DATA, 0, b"x"), 0.0)
    assert mux.too_full
    await opened[0].receive_some(4 * KIB)
    assert mux.too_full
    await opened[0].receive_some(1)
    assert not mux.too_full


class Accounts(RuleBasedStateMachine):
    """Frames and calls in any order, against the sums over the streams themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.broken = False
        self.made: list[Stream] = []

        async def begin() -> None:
            self.budget = Budget(16 * KIB)
            self.mux, self.opened, _ = mux_of(LIMITS, self.budget)

        self.run(begin)

    def run(self, call: object) -> None:
        trio.run(call, clock=MockClock(autojump_threshold=0))  # type: ignore[arg-type]

    def arrive(self, frame: Frame) -> None:
        async def call() -> None:
            before = len(self.opened)
            try:
                self.mux.arrived(frame, self.now)
            except Broken:
                self.broken = True
            self.made += self.opened[before:]

        self.run(call)

    @property
    def alive(self) -> bool:
        return not self.broken

    @rule()
    def open_ours(self) -> None:
        async def call() -> None:
            try:
                self.made.append(self.mux.open())
            except ProtocolRefused:
                assert sum(stream.key.ours for stream in self.mux.streams) == LIMITS.outbound_streams

        self.run(call)

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 6))
    def peer_opens(self, number: int) -> None:
        self.arrive(from_peer(Kind.OPEN, number))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 6), theirs=st.booleans(), size=st.sampled_from([0, 1, 500, 5000, 40_000]))
    def peer_sends(self, number: int, theirs: bool, size: int) -> None:
        self.arrive(from_peer(Kind.DATA, number, bytes(size), theirs=theirs))

    @precondition(lambda self: self.alive)
    @rule(number=st.integers(0, 6), theirs=st.booleans(), kind=st.sampled_from([Kind.CLOSE, Kind.RESET]))
    def peer_ends(self, number: int, theirs: bool, kind: Kind) -> None:
        self.arrive(from_peer(kind, number, theirs=theirs))

    @precondition(lambda self: self.made)
    @rule(data=st.data(), size=st.integers(1, 6000))
    def receive(self, data: st.DataObject, size: int) -> None:
        stream = data.draw(st.sampled_from(self.made))

        async def call() -> None:
            if stream.unread:
                before = stream.unread
                assert len(await stream.receive_some(size)) == min(size, before)

        self.run(call)

    @precondition(lambda self: self.made)
    @rule(data=st.data(), how=st.sampled_from(["eof", "close", "reset"]))
    def end_here(self, data: st.DataObject, how: str) -> None:
        stream = data.draw(st.sampled_from(self.made))

        async def call() -> None:
            if how == "eof":
                await stream.send_eof()
            elif how == "close":
                await stream.aclose()
            else:
                stream.reset("enough")

        self.run(call)

    @precondition(lambda self: self.opened)
    @rule()
    def agree(self) -> None:
        """What one stream of the peer's is for gets settled, and it has been served."""
        self.opened.pop()
        self.mux.negotiated()
        self.mux.served()

    @rule()
    def give_up(self) -> None:
        async def call() -> None:
            before, too_full = self.mux.unread, self.mux.too_full
            given_up = self.mux.give_up_full("enough")
            assert not too_full or (given_up and self.mux.unread < before)

        self.run(call)

    @rule()
    def send(self) -> None:
        self.mux.outbox.fill(10**6)

    @invariant()
    def it_balances(self) -> None:
        held = sum(stream.unread for stream in self.made)
        assert self.mux.unread == self.budget.used == held
        # What holds bytes is in the table, so that it can be found and ended.
        assert all(stream in self.mux.streams for stream in self.made if stream.unread)
        inbound = [stream for stream in self.mux.streams if not stream.key.ours]
        assert len(inbound) <= LIMITS.inbound_streams
        assert all(stream.open or stream.unread for stream in self.mux.streams)
        if any(stream.unread > LIMITS.stream_high for stream in self.mux.streams):
            assert self.mux.too_full

    def teardown(self) -> None:
        async def call() -> None:
            self.mux.end("over")
            for stream in self.made:
                await stream.aclose()

        self.run(call)
        assert (self.mux.unread, self.budget.used, self.mux.streams) == (0, 0, [])


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
