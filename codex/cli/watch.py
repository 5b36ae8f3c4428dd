"""`codex watch`: what happens on a node, as it happens.

The one command that speaks over the WebSocket, and so the one that loads trio.
"""

import signal
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import attrs
import trio

from codex.cli.connection import NOBODY, not_let_in
from codex.cli.exits import NoNode
from codex.cli.finding import Target
from codex.cli.output import Column, as_line, printable, shortened, spent, table, terminal_width
from codex.cli.progress import Bar, Bars, bars
from codex.client import (
    Client,
    Event,
    Job,
    JobEnded,
    JobProgressed,
    JobStarted,
    Lagged,
    ManifestDeleted,
    ManifestStored,
    NotLetIn,
    OtherEvent,
    PeerJoined,
    PeerLeft,
    Unreachable,
    open_client,
)
from codex.client.values import camel
from codex.runtime.clock import SystemClock
from codex.runtime.groups import unwrapped
from codex.units import human_size

TOPICS = ("jobs", "manifests", "peers", "purchases", "slots")
QUEUE = 4096
"""Events that the node keeps while the terminal is slow."""


def watch(node: Target, json: bool) -> None:
    """Print events until interrupted, which is KeyboardInterrupt or, on SIGTERM, SystemExit.

    With `json` each is a line of JSON; else those of interest are a line for reading, and jobs that run have
    bars. Raises NoNode, Failed, and what the client raises when the connection ends.
    """
    number = trio.run(_watch, node, json)
    if number == signal.SIGTERM:
        raise SystemExit(128 + number)
    raise KeyboardInterrupt


async def _watch(node: Target, json: bool) -> int:
    # Only the listening is cancelled, so that the connection is closed in order.
    listening = trio.CancelScope()
    number: int = signal.SIGINT

    async def stop(signals: AsyncIterator[int]) -> None:
        nonlocal number
        number = await anext(signals)
        listening.cancel()

    with unwrapped(), trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop, signals)
            await _show(node, json, listening)
            nursery.cancel_scope.cancel()
    return number


async def _show(node: Target, json: bool, listening: trio.CancelScope) -> None:
    try:
        async with open_client(node.url, node.token) as client:
            with listening:
                if json:
                    async with client.subscribe(*TOPICS, size=QUEUE) as events:
                        async for event in events:
                            print(as_line(as_told(event)), flush=True)
                else:
                    await _show_for_reading(client)
    except Unreachable as error:
        raise NoNode(f"no node answers at {node.url}", remedy=NOBODY) from error
    except NotLetIn as error:
        raise not_let_in(node) from error


async def _show_for_reading(client: Client) -> None:
    clock = SystemClock()
    with bars() as shown:
        async with client.subscribe(*TOPICS, size=QUEUE) as events:
            page = Page(shown)
            # Subscribed first and asked then, so that nothing falls in between.
            for job in await client.jobs(state="running"):
                page.at(job)
            async for event in events:
                page.take(event, clock.now())


class Page:
    """What stands on the terminal: lines of what has happened, and below them a bar for each running job."""

    def __init__(self, shown: Bars) -> None:
        self._shown = shown
        self._bars: dict[str, Bar] = {}

    def take(self, event: Event, now: float) -> None:
        """Show an event that has come `now` (unix seconds)."""
        if isinstance(event, JobStarted | JobProgressed):
            self.at(event.job)
        elif isinstance(event, JobEnded):
            bar = self._bars.pop(event.job.id, None)
            if bar is not None:
                bar.gone()
        if not isinstance(event, JobProgressed):
            self._shown.say(line(event, now, terminal_width()), sys.stdout)

    def at(self, job: Job) -> None:
        """Show how far a job is."""
        title = f"{job.phase or job.kind} {shortened(job.subject or '', 12)}".rstrip()
        if job.id not in self._bars:
            self._bars[job.id] = self._shown.add(title, job.bytes_total, job.bytes_done)
        self._bars[job.id].at(job.bytes_done, job.bytes_total, title)


def line(event: Event, now: float, width: int | None = None) -> str:
    """An event for reading; in `width` cells the subject of a job is shortened, but not what went wrong."""
    time = datetime.fromtimestamp(now).strftime("%H:%M:%S")
    match event:
        case JobStarted(job) | JobProgressed(job):
            words = [time, f"{job.kind} started", job.id, job.subject or ""]
        case JobEnded(job):
            took = "" if job.ended is None else f" in {spent(job.ended - job.started)}"
            size = f"{human_size(job.bytes_done)}{took}"
            words = [time, f"{job.kind} {job.state}", job.id, f"{size:21}", job.subject or ""]
        case ManifestStored(cid):
            return f"{time}  dataset stored  {cid}"
        case ManifestDeleted(cid):
            return f"{time}  dataset deleted  {cid}"
        case PeerJoined(peer_id, address):
            return printable(f"{time}  peer joined         {peer_id}  {address}")
        case PeerLeft(peer_id, why):
            return printable(f"{time}  peer left           {peer_id}  {why}").rstrip()
        case Lagged(missed):
            return f"{time}  {missed} events were missed: they came too fast"
        case OtherEvent(name, params):
            return printable(f"{time}  {name}  {as_line(dict(params))}")
    words[1] = f"{words[1]:18}"
    columns = [*[Column()] * (len(words) - 1), Column(least=8)]
    shown = table(columns, [[printable(word) for word in words]], width)
    if isinstance(event, JobEnded) and event.job.error is not None:
        shown += f"\n{'':10}{printable(event.job.error.message)}"
    return shown


def as_told(event: Event) -> dict[str, Any]:
    """An event as the node's API spells it, with its name as `event`."""
    match event:
        case JobStarted(job) | JobProgressed(job) | JobEnded(job):
            told = {camel(one.name): getattr(job, one.name) for one in attrs.fields(Job)}
            told["error"] = None if job.error is None else attrs.asdict(job.error)
            return {"event": _name(event), "job": told}
        case ManifestStored(cid) | ManifestDeleted(cid):
            return {"event": _name(event), "cid": str(cid)}
        case PeerJoined() | PeerLeft():
            told = {camel(one.name): getattr(event, one.name) for one in attrs.fields(type(event))}
            return {"event": _name(event), **told}
        case Lagged(missed):
            return {"event": "lagged", "missed": missed}
        case OtherEvent(name, params):
            return {"event": name, **params}


def _name(event: Event) -> str:
    kind = type(event).__name__
    return kind[0].lower() + kind[1:]
