"""Mailboxes: how one task asks another for something and is owed an answer.

The asking side is `Mailbox.ask`; the answering side is `serve`, run by a service over the `Inbox` it was
lent. A mailbox outlives the service behind it: handles keep it, and calls that nobody has received yet wait
for the next life.

The life of a call::

    queued --received--> running --> settled        settled exactly once, with one of:
       |                                              the answer, or a CodexError, which is an answer too
       +--asker cancelled--> withdrawn                Cancelled           (the asker was cancelled)
       +--mailbox closed--> settled                   ServiceUnavailable  (crashed, stopped, closed)

When full: `serve` runs at most `limit` calls and receives nothing while they run, so askers wait. Nothing
else is buffered, because each asker waits with its one call in hand; the queue is as long as there are
tasks that ask.

Who may deadlock: a service that asks itself, directly or round a circle, once `limit` calls wait like this.
Services ask downwards only. Clean-up that asks under a shield must bring a deadline of its own, for the
service it asks may be waiting for a restart that waits for this very clean-up.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import outcome
import trio
from attrs import define, field

from codex.errors import CodexError, ServiceUnavailable
from codex.runtime.condition import Condition
from codex.runtime.groups import leaves, unwrapped
from codex.runtime.waits import Queue, Waits

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Call(Generic[T_co]):
    """A request as data, whose answer is a `T`. Subclasses are attrs-frozen values and have no behaviour."""

    __slots__ = ()


@define(eq=False)
class Envelope:
    """A call on its way, with the task that waits for it.

    `scope` carries the deadline the asker had when it asked (trio's clock, seconds); the work runs inside it.
    `asked` is that moment, on the same clock.
    """

    call: Call[Any]
    scope: trio.CancelScope
    asked: float
    _task: trio.lowlevel.Task
    _raise_cancel: Callable[[], Any] | None = field(default=None, init=False)
    _settled: bool = field(default=False, init=False)

    @property
    def cancelled(self) -> bool:
        """Whether the asker was cancelled since the work began."""
        return self._raise_cancel is not None

    def cancel(self, raise_cancel: Callable[[], Any]) -> None:
        """Cancel the work, which the asker no longer wants; it still waits until the work has unwound."""
        self._raise_cancel = raise_cancel
        self.scope.cancel()

    def settle(self, answer: outcome.Outcome[Any]) -> None:
        """Wake the asker with `answer`. The first settling counts; there is no second."""
        if not self._settled:
            self._settled = True
            trio.lowlevel.reschedule(self._task, answer)

    def settle_cut(self, why: ServiceUnavailable) -> None:
        """Wake the asker of work that was cut short: as cancelled when it is, else with `why`."""
        if self._raise_cancel is not None:
            self.settle(outcome.capture(self._raise_cancel))
        else:
            self.settle(outcome.Error(why))


class Mailbox:
    """The asking side of a service, and the calls that wait for it.

    Whoever makes it owns it (the supervisor, for services), lends its `inbox`, and may close it for good.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.inbox = Inbox(name)
        self._closed: str | None = None

    def __repr__(self) -> str:
        return f"<Mailbox {self.name}, {self.waiting} waiting>"

    @property
    def waiting(self) -> int:
        """How many calls wait to be received."""
        return len(self.inbox)

    def queue(self) -> Queue:
        """The calls that wait now, and how long those before them did; inside a trio run only."""
        return self.inbox._measured()

    async def ask(self, call: Call[T]) -> T:
        """Have `call` answered, and return the answer.

        Raises the `CodexError` that the service answered with (a copy of its own, never shared between
        tasks), and `ServiceUnavailable` when the service crashed or was stopped over this call, or will
        never run again.

        Cancelling the asker withdraws a call that still waits, at once. A call already running is
        cancelled, and `ask` waits until it has unwound, so that nobody works for an asker that has gone on.
        As with a thread, work that finished all the same is not thrown away: then its answer is returned,
        and the cancellation is met at the asker's next checkpoint. So `Cancelled` from here means: not
        done, or cut short.

        The work sees the asker's deadline as its own. Moving that deadline away later does not move the
        work's: the work is cut, and `ServiceUnavailable` raised.
        """
        if self._closed is not None:
            await trio.lowlevel.checkpoint()  # an asker that tries again and again still lets others run
            raise ServiceUnavailable(self._closed)
        scope = trio.CancelScope(deadline=trio.current_effective_deadline())
        envelope = Envelope(call, scope, trio.current_time(), trio.lowlevel.current_task())
        self.inbox._put(envelope)

        def abort(raise_cancel: Callable[[], Any]) -> trio.lowlevel.Abort:
            if self.inbox._withdraw(envelope):
                return trio.lowlevel.Abort.SUCCEEDED
            envelope.cancel(raise_cancel)
            return trio.lowlevel.Abort.FAILED

        answer: T = await trio.lowlevel.wait_task_rescheduled(abort)
        return answer

    def close(self, why: str = "") -> None:
        """Answer every waiting and every later call with `ServiceUnavailable(why)`.

        The borrower of the inbox is told to finish; calls in work go on.
        """
        if self._closed is None:
            self._closed = why or f"the {self.name} service is not running"
            for envelope in self.inbox._end():
                envelope.settle(outcome.Error(ServiceUnavailable(self._closed)))


class Inbox:
    """The answering side of a mailbox, lent to each life of a service in turn.

    `stopping` is set when the service should finish for good: it may still answer what it has received. A
    service that is asked nothing waits for this event. `condition` is the service's own to set: what ails
    it, None when all is well.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = trio.Event()
        self.condition: Condition | None = None
        self._queue: OrderedDict[Envelope, None] = OrderedDict()
        self._arrivals = trio.lowlevel.ParkingLot()
        self._waits = Waits()

    def __len__(self) -> int:
        return len(self._queue)

    async def receive(self) -> Envelope | None:
        """Wait for the next call, in the order they were asked; None when the service should finish.

        Whoever takes an envelope must settle it; `serve` does.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.stopping.is_set():
            if self._queue:
                envelope = self._queue.popitem(last=False)[0]
                self._note(envelope)
                return envelope
            await self._arrivals.park()
        return None

    def _put(self, envelope: Envelope) -> None:
        self._queue[envelope] = None
        self._arrivals.unpark()

    def _withdraw(self, envelope: Envelope) -> bool:
        if self._queue.pop(envelope, self) is not None:
            return False
        self._note(envelope)
        return True

    def _end(self) -> list[Envelope]:
        self.stopping.set()
        self._arrivals.unpark_all()
        left = list(self._queue)
        self._queue.clear()
        for envelope in left:
            self._note(envelope)
        return left

    def _note(self, envelope: Envelope) -> None:
        self._waits.add(trio.current_time() - envelope.asked)

    def _measured(self) -> Queue:
        first = next(iter(self._queue), None)
        oldest = 0.0 if first is None else trio.current_time() - first.asked
        return self._waits.with_waiting(len(self._queue), oldest)


async def serve(
    inbox: Inbox,
    answer: Callable[[Any], Awaitable[Any]],
    *,
    limit: int,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer the calls of `inbox`, at most `limit` at once and each in a task of its own, until it stops.

    What `answer(call)` returns goes to the asker. So does a `CodexError` that it raises, alone or in
    exception groups with nothing but such errors in them (the first one goes). Anything else is a bug: this
    asker and those of all calls in work get `ServiceUnavailable`, the error is raised from here, and calls
    not yet received stay in the mailbox. The same happens to calls in work when `serve` is cancelled.

    Returns when `inbox` is stopping and the calls in work are finished.
    """
    free = trio.Semaphore(limit)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await free.acquire()
                envelope = await inbox.receive()
                if envelope is None:
                    break
                nursery.start_soon(_work, envelope, answer, inbox.name, free)
                del envelope  # a call may be large, and the next one long in coming


async def _work(
    envelope: Envelope, answer: Callable[[Any], Awaitable[Any]], name: str, free: trio.Semaphore
) -> None:
    """Answer one call and settle it, whatever happens."""

    def unavailable(why: str) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"the {name} service {why} over {type(envelope.call).__name__}", remedy="try again in a moment"
        )

    try:
        with envelope.scope as scope:
            # A call whose asker is gone, or whose service is already going down, is not begun.
            await trio.lowlevel.checkpoint_if_cancelled()
            value = await answer(envelope.call)
        if scope.cancelled_caught:
            envelope.settle_cut(unavailable("met the deadline it was given"))
        else:
            envelope.settle(outcome.Value(value))
    except BaseException as error:
        answers, bugs = _sorted(error)
        if bugs:
            envelope.settle(outcome.Error(unavailable(f"crashed ({type(bugs[0]).__name__})")))
            raise
        if not answers:
            envelope.settle_cut(unavailable("was stopped"))
            raise
        # A cancellation of the service that came along with the answer ends here, where the task ends anyway.
        envelope.settle(outcome.Error(_copied(answers[0])))
    finally:
        free.release()


def _sorted(error: BaseException) -> tuple[list[CodexError], list[BaseException]]:
    """Return the answers in `error`, and the bugs in it. What is neither is a cancellation."""
    found = list(leaves(error))
    answers = [leaf for leaf in found if isinstance(leaf, CodexError)]
    bugs = [leaf for leaf in found if not isinstance(leaf, CodexError | trio.Cancelled)]
    return answers, bugs


def _copied(error: CodexError) -> CodexError:
    """Return a twin of `error` without its traceback.

    A service may raise one object many times; each asker's traceback is its own.
    """
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = error.__suppress_context__
    return twin
