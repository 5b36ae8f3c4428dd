"""Handlers: who is called, how often at once, and what becomes of their errors."""

from collections.abc import Callable

import pytest
import trio
import trio.testing

from codex.errors import CodexError, PeerGone, ProtocolRefused
from codex.p2p import Handlers, PeerId
from codex.p2p.handlers import contained
from codex.testing.switches import identity_of

BOB, CAROL = identity_of("bob").peer_id, identity_of("carol").peer_id


class FakeStream:
    """As much of a stream as is looked at here."""

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.protocol = "/x/1"
        self.why: str | None = None

    def reset(self, why: str) -> None:
        self.why = why


async def test_handlers_are_found_by_name() -> None:
    handlers = Handlers()

    async def serve(stream: object) -> None:
        await trio.lowlevel.checkpoint()

    handlers.add("/a/1", serve)
    handlers.add("/b/1", serve)
    assert handlers.names() == ("/a/1", "/b/1")
    assert handlers.handler("/c/1") is None
    with pytest.raises(ValueError, match="served already"):
        handlers.add("/a/1", serve)


@pytest.mark.parametrize(
    ("raising", "why"),
    [
        (lambda: PeerGone("it left"), "it left"),
        (lambda: ExceptionGroup("", [PeerGone("it left")]), "it left"),
        (lambda: KeyError("a bug"), "this node failed over the stream"),
        (lambda: ExceptionGroup("", [ExceptionGroup("", [OSError(1, "a bug")])]), "this node failed over"),
    ],
)
async def test_errors_reset_the_stream_and_nothing_else(raising: Callable[[], Exception], why: str) -> None:
    handlers = Handlers()

    async def fail(stream: object) -> None:
        await trio.lowlevel.checkpoint()
        raise raising()

    handlers.add("/x/1", fail)
    serve = handlers.handler("/x/1")
    assert serve is not None
    stream = FakeStream(BOB)
    await serve(stream)  # type: ignore[arg-type]
    assert (stream.why or "").startswith(why)


async def test_so_many_streams_of_a_peer_are_served_at_once() -> None:
    handlers = Handlers()
    release = trio.Event()

    async def wait(stream: object) -> None:
        await release.wait()

    handlers.add("/x/1", wait, limit=2)
    serve = handlers.handler("/x/1")
    assert serve is not None
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(serve, FakeStream(BOB))
            nursery.start_soon(serve, FakeStream(CAROL))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ProtocolRefused, match="2 streams"):
            await serve(FakeStream(BOB))  # type: ignore[arg-type]
        release.set()
    await serve(FakeStream(BOB))  # type: ignore[arg-type]


async def test_cancellations_come_out_and_errors_beside_them_do_not() -> None:
    told: list[Exception] = []

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    with trio.CancelScope() as outer:
        with contained(told.append):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                outer.cancel()
        raise AssertionError("the cancellation did not come out")
    assert outer.cancelled_caught
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_what_ends_the_process_comes_out() -> None:
    told: list[Exception] = []
    with pytest.raises(KeyboardInterrupt), contained(told.append):
        raise KeyboardInterrupt
    with pytest.raises(BaseExceptionGroup), contained(told.append):
        raise BaseExceptionGroup("", [KeyboardInterrupt(), CodexError("x")])
    assert [str(error) for error in told] == ["x"]
