"""Jobs for tests: a registry with the service that runs them, without a node around it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from attrs import frozen

from codex.node import Job, Jobs
from codex.node.events import Events
from codex.node.job import Json
from codex.runtime.clock import SeededEntropy, VirtualClock
from codex.runtime.mailbox import Mailbox
from codex.testing.nodes import EPOCH


@frozen
class Registry:
    """Jobs, and where their events are told."""

    jobs: Jobs
    events: Events


@asynccontextmanager
async def open_registry(limit: int = 1000, kept: int = 200) -> AsyncIterator[Registry]:
    """Run a registry of jobs for the length of the block, and stop it as a node does."""
    registry = closed_registry(limit, kept)
    mailbox = Mailbox("jobs")
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: registry.jobs.run(mailbox.inbox, task_status=task_status))
        yield registry
        mailbox.close()


def closed_registry(limit: int = 1000, kept: int = 200) -> Registry:
    """A registry whose service does not run."""
    events = Events()
    clock, entropy = VirtualClock(EPOCH), SeededEntropy("alice")
    return Registry(Jobs(clock=clock, entropy=entropy, events=events, limit=limit, kept=kept), events)


async def forever(_: Job) -> Json:
    """Work that never ends by itself."""
    await trio.sleep_forever()
    raise AssertionError("for ever is over")


def raising(error: BaseException) -> Callable[[Job], Awaitable[Json]]:
    """Work that raises `error`."""

    async def work(_: Job) -> Json:
        await trio.lowlevel.checkpoint()
        raise error

    return work
