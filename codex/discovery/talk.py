"""Talking with other nodes: the socket, the clock and the messenger put together.

`Talk.run` is the only task that receives, and one more watches the time. Everything that happens is decided
at once, without waiting: requests of others are answered by a function, what becomes of ours is told to
another before whoever asked goes on.
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import TypeAlias

import trio
from attrs import define, field

from codex.discovery.datagrams import DatagramSocket
from codex.discovery.events import Answered, Asked, Contact, Event, Send, Ticket, TimedOut, Verified
from codex.discovery.messages import Answer, Request
from codex.discovery.messenger import Messenger
from codex.discovery.nodes import Node

UNDER_WAY = 512
"""Requests of ours at once; further ones wait. The messenger refuses at twice that."""

Ended: TypeAlias = Callable[[Node, Request, Sequence[Answer] | None], None]
"""Told how a request to a node ended: with its answer, which is empty for requests that have none; or with
None when there was none.
"""


@define(eq=False)
class _Waiting:
    """A request, and whoever waits for its end."""

    node: Node
    message: Request
    over: trio.Event = field(factory=trio.Event)
    answer: Sequence[Answer] | None = None


class Talk:
    """One node's conversation with all others, over `socket`, which the caller closes.

    `answer` gives what is answered to a request of another node; `ended` is told of every request of ours;
    `verified` of every node that has proved its name and sent its record. None of them may wait or raise.
    """

    def __init__(
        self,
        socket: DatagramSocket,
        messenger: Messenger,
        *,
        answer: Callable[[Asked], Sequence[Answer]],
        ended: Ended,
        verified: Callable[[Verified], None],
    ) -> None:
        self._socket = socket
        self._messenger = messenger
        self._answer = answer
        self._ended = ended
        self._verified = verified
        self._waiting: dict[Ticket, _Waiting] = {}
        self._alarm = trio.CancelScope()
        self._room = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Receive and keep time until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            while True:
                data, source = await self._socket.receive()
                await self._do(self._messenger.receive(data, source, trio.current_time()))

    async def ask(self, node: Node, message: Request) -> Sequence[Answer] | None:
        """Ask a node and wait for its answer; None when there is none in time.

        To a request that has no answer the answer is empty, as soon as it went out under the node's keys.
        """
        while self._messenger.requests >= UNDER_WAY:
            await self._room.park()
        contact = Contact(node.node_id, node.address, node.record.public_key)
        ticket, sends = self._messenger.request(contact, message, trio.current_time())
        waiting = self._waiting[ticket] = _Waiting(node, message)
        await self._do(sends)
        await waiting.over.wait()
        return waiting.answer

    async def _keep_time(self) -> None:
        while True:
            # Whoever changes what is under way sets the deadline anew; nobody has to be woken for that.
            with trio.CancelScope(deadline=self._next_tick()) as self._alarm:
                await trio.sleep_forever()
            await self._do(self._messenger.tick(trio.current_time()))

    def _next_tick(self) -> float:
        at = self._messenger.next_tick()
        return inf if at is None else at

    async def _do(self, events: Sequence[Event]) -> None:
        """Act on what comes out of the messenger: first all that needs no waiting, then what is sent."""
        sends: list[Send] = []
        for event in events:
            match event:
                case Send():
                    sends.append(event)
                case Asked():
                    sends += self._messenger.respond(event, *self._answer(event))
                case Verified():
                    self._verified(event)
                case Answered(ticket, messages):
                    self._end(ticket, messages)
                case TimedOut(ticket):
                    self._end(ticket, None)
        if self._messenger.requests < UNDER_WAY:
            self._room.unpark_all()
        self._alarm.deadline = self._next_tick()
        for send in sends:
            await self._socket.send(send.data, send.to)

    def _end(self, ticket: Ticket, answer: Sequence[Answer] | None) -> None:
        # Whoever asked may be gone; what became of it counts all the same.
        waiting = self._waiting.pop(ticket, None)
        if waiting is not None:
            waiting.answer = answer
            self._ended(waiting.node, waiting.message, answer)
            waiting.over.set()
