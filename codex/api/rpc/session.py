"""One connection: JSON-RPC 2.0 in text messages, the bytes of streams in binary ones.

    request       {"jsonrpc": "2.0", "id": 7, "method": "space", "params": {}}       params may be left out
    reply         {"jsonrpc": "2.0", "id": 7, "result": …}   or   {…, "error": {"code", "message", "data"}}
    notification  a request without an id: never answered, whatever becomes of it
    batch         an array of up to 64 of these, answered by an array once all are done

An id is a text or a whole number, one that no other request under way has.

Requests are done side by side, and answered as they are done. Each is a task of its own: `cancel` names its
id and ends it, and so does the end of the connection, with all that it had begun. At most 64 are under way;
what is more is refused at once (-32003), so that `cancel` and `credit`, which need no place, always get
through.

Exactly one task reads and exactly one sends: a request that is cancelled never leaves half a message
behind. A message waits until the connection has room for it, and so does whoever sends it; nothing is
queued.

How a connection ends:

    1000, or none   the client has closed, or is gone: everything of its is cancelled
    1001            the node stops: nothing new is begun, and what is under way may take four seconds more
    1002, 1007      what came is no WebSocket, or a text that is no UTF-8
    1003            a binary message that is empty
    1008            a mistake in the streams, which nothing sensible can follow
    1009            a message that is too long
    1011            a bug of the node; its log tells more
    none            a client that is silent for five minutes, pings and all, is gone
"""

from collections.abc import Iterable
from functools import partial
from typing import Protocol

import trio
from attrs import define, field

from codex.api.objects import Object
from codex.api.rpc import dispatch
from codex.api.rpc.dispatch import Batch, Refused, Request
from codex.api.rpc.faults import INTERNAL, Fault, RequestCancelled, TooMuchAtOnce, fault, invalid
from codex.api.rpc.hub import Hub
from codex.api.rpc.limits import DRAIN, FAREWELL, MAX_REQUESTS, MAX_SUBSCRIPTIONS
from codex.api.rpc.methods import Call, Id
from codex.api.rpc.params import Topic
from codex.api.rpc.streams import Breach, Streams
from codex.errors import CodexError, ServiceUnavailable
from codex.logs import get_logger
from codex.node import Node
from codex.runtime.groups import lone, unwrapped

GOING_AWAY = 1001
UNSUPPORTED = 1003
POLICY = 1008

log = get_logger("api")


class Socket(Protocol):
    """What a session needs of a WebSocket. Whoever runs the session cancels it when the client is gone."""

    async def receive(self) -> str | bytes: ...
    async def send(self, data: str | bytes) -> None: ...
    async def close(self, code: int, reason: str) -> None: ...


@define(eq=False)
class _Task:
    """A request from its being read until its reply is on the way; `told` is set then."""

    asked: Request
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    told: trio.Event = field(factory=trio.Event)


class _Over(Exception):
    """The session ends, and this is what the client is told."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Session:
    """Serves one connection; `run` is the whole of its life, and returns once it is closed."""

    def __init__(self, node: Node, hub: Hub, socket: Socket, stopping: trio.Event) -> None:
        self.node = node
        self._hub = hub
        self.streams = Streams(self._send, self._grant)
        self._socket = socket
        self._stopping = stopping
        self._out, self._leaving = trio.open_memory_channel[str | bytes](0)
        self._under_way: set[_Task] = set()
        self._by_id: dict[Id, _Task] = {}
        self._quiet = trio.Event()
        self._subscriptions: dict[int, trio.CancelScope] = {}
        self._last_subscription = 0

    async def run(self) -> None:
        """Serve until the node stops or the client breaks the rules, and close the connection then."""
        async with trio.open_nursery() as sending:
            sending.start_soon(self._send_all)
            over = await self._serve()
            # What is on its way goes out whole: half a message would spoil the goodbye.
            self._out.close()
            sending.cancel_scope.deadline = trio.current_time() + FAREWELL
        await self._socket.close(over.code, over.reason)

    async def _serve(self) -> _Over:
        over = _Over(GOING_AWAY, "the node is stopping")
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self._end_with_the_node, self._nursery.cancel_scope)
            try:
                await self._read()
            except _Over as why:
                over = why
                self._nursery.cancel_scope.cancel()
        return over

    async def _send_all(self) -> None:
        async for message in self._leaving:
            await self._socket.send(message)

    async def _end_with_the_node(self, everything: trio.CancelScope) -> None:
        await self._stopping.wait()
        with trio.move_on_after(DRAIN):
            while self._under_way:
                self._quiet = trio.Event()
                await self._quiet.wait()
        everything.cancel()

    # -- what comes

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            try:
                if isinstance(message, str):
                    await self._take(dispatch.read(message))
                elif message:
                    self.streams.receive(message)
                else:
                    raise _Over(UNSUPPORTED, "a binary message is never empty")
            except Breach as breach:
                log.info("a WebSocket broke the rules", how=str(breach))
                raise _Over(POLICY, str(breach)) from breach

    async def _take(self, asked: Request | Refused | Batch) -> None:
        entries = asked.entries if isinstance(asked, Batch) else (asked,)
        replies: list[str | None] = []
        tasks: dict[int, _Task] = {}  # by their places among the replies
        for place, entry in enumerate(entries):
            begun = await self._begin(entry)
            if isinstance(begun, _Task):
                tasks[place] = begun
                replies.append(None)
            else:
                replies.append(begun)
        if not isinstance(asked, Batch) and tasks:
            self._nursery.start_soon(self._answer, tasks[0])
        elif tasks:
            self._nursery.start_soon(self._answer_together, replies, tasks)
        else:
            await self._tell(replies, isinstance(asked, Batch))

    async def _begin(self, asked: Request | Refused) -> _Task | str | None:
        """Give a request its place, now; or the reply that it is owed already, None for none."""
        if isinstance(asked, Refused):
            return _refusal(asked, asked.fault)
        if asked.method.at_once:
            return await self._outcome(_Task(asked))
        why = self._no_place(asked)
        if why is not None:
            return _refusal(asked, why)
        task = _Task(asked)
        self._under_way.add(task)
        if asked.id is not None:
            self._by_id[asked.id] = task
        return task

    def _no_place(self, asked: Request) -> Fault | None:
        if self._stopping.is_set():
            return fault(ServiceUnavailable("the node is stopping"))
        if len(self._under_way) >= MAX_REQUESTS:
            return fault(
                TooMuchAtOnce(
                    f"{MAX_REQUESTS} requests are under way", remedy="wait for replies, or cancel some"
                )
            )
        if asked.id in self._by_id:
            return invalid("a request with this id is under way", "give each an id of its own")
        return None

    # -- what is done

    async def _answer(self, task: _Task) -> None:
        await self._tell([await self._do(task)], together=False)
        self._done([task])

    async def _answer_together(self, replies: list[str | None], tasks: dict[int, _Task]) -> None:
        async def one(place: int, task: _Task) -> None:
            replies[place] = await self._do(task)

        async with trio.open_nursery() as nursery:
            for place, task in tasks.items():
                nursery.start_soon(one, place, task)
        await self._tell(replies, together=True)
        self._done(tasks.values())

    async def _tell(self, replies: Iterable[str | None], together: bool) -> None:
        owed = [reply for reply in replies if reply is not None]
        if owed:
            await self._out.send(f"[{','.join(owed)}]" if together else owed[0])

    def _done(self, tasks: Iterable[_Task]) -> None:
        for task in tasks:
            task.told.set()
            self._under_way.discard(task)
            if self._by_id.get(task.asked.id) is task:
                del self._by_id[task.asked.id]
        if not self._under_way:
            self._quiet.set()

    async def _do(self, task: _Task) -> str | None:
        try:
            with task.scope:
                return await self._outcome(task)
        except Exception as error:
            # What is left of a group of errors when the cancellation among them has been taken out.
            return _failure(task.asked, error)
        return _refusal(task.asked, fault(RequestCancelled("the request was cancelled")))

    async def _outcome(self, task: _Task) -> str | None:
        asked = task.asked
        try:
            with unwrapped():
                value = await asked.method.do(Call(self, asked.id, task.told), asked.params)
            return dispatch.result(asked.id, value) if asked.reply else None
        except Breach:
            raise
        except Exception as error:
            return _failure(asked, error)

    # -- what methods need of it

    async def notify(self, name: str, params: Object) -> None:
        """Send a notification."""
        await self._out.send(dispatch.notification(name, params))

    def cancel(self, id: Id) -> bool:
        """Cancel a request; False when there is none of that id without a reply."""
        task = self._by_id.get(id)
        if task is None:
            return False
        task.scope.cancel()
        return True

    async def subscribe(self, topics: frozenset[Topic], size: int, told: trio.Event) -> int:
        """Listen from now on, and pass events on once `told`; the subscription's number. Raises
        TooMuchAtOnce.
        """
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise TooMuchAtOnce(
                f"there are {MAX_SUBSCRIPTIONS} subscriptions", remedy="end one, or subscribe to more topics"
            )
        self._last_subscription += 1
        number = self._last_subscription
        self._subscriptions[number] = trio.CancelScope()
        try:
            await self._nursery.start(partial(self._forward, topics, size, number, told))
        except BaseException:
            self.unsubscribe(number)  # begun or not: nobody will know its number
            raise
        return number

    def unsubscribe(self, number: int) -> None:
        """End a subscription; nothing to do when there is none."""
        if number in self._subscriptions:
            self._subscriptions[number].cancel()

    async def _forward(
        self,
        topics: frozenset[Topic],
        size: int,
        number: int,
        told: trio.Event,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        try:
            with self._subscriptions[number]:
                async with self._hub.listen(topics, size) as heard:
                    task_status.started()
                    await told.wait()
                    async for telling in heard:
                        await self._out.send(telling.to(number))
        finally:
            del self._subscriptions[number]

    async def _send(self, message: bytes) -> None:
        await self._out.send(message)

    async def _grant(self, stream: int, count: int) -> None:
        await self.notify("credit", {"stream": stream, "bytes": count})


def _failure(asked: Request, error: Exception) -> str | None:
    cause = lone(error)
    if isinstance(cause, CodexError):
        return _refusal(asked, fault(cause))
    log.error("a request failed over a bug", method=asked.method.name, exc_info=cause)
    return _refusal(asked, INTERNAL)


def _refusal(asked: Request | Refused, why: Fault) -> str | None:
    return dispatch.failure(asked.id, why) if asked.reply else None
