"""Leak counters: the tasks, threads and file descriptors there are, and those that code left behind."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trio
from attrs import frozen


@frozen
class Counts:
    """What the process holds at one moment, by identity, each with a name for people.

    `tasks` are those of the running trio loop, empty outside one. `threads` are those at work: trio keeps
    finished worker threads for ten seconds in a cache that the whole process shares, and those, idle, are
    only counted, in `idle_workers`. `descriptors` maps each open file descriptor to what it is open on.
    """

    tasks: dict[trio.lowlevel.Task, str]
    threads: dict[threading.Thread, str]
    descriptors: dict[int, str]
    idle_workers: int

    def left_behind_since(self, before: "Counts") -> list[str]:
        """Return a line for each thing that is here and was not there before."""
        tasks = [f"task {name}" for task, name in self.tasks.items() if task not in before.tasks]
        threads = [f"thread {name}" for thread, name in self.threads.items() if thread not in before.threads]
        files = [
            f"descriptor {fd}: {on}"
            for fd, on in self.descriptors.items()
            if before.descriptors.get(fd) != on
        ]
        return tasks + threads + files


def count() -> Counts:
    """Count now. Garbage is collected first, so that only what is still held is found."""
    gc.collect()
    threads = threading.enumerate()
    # Trio names a worker after its function while it works, and like this while it waits for the next one.
    idle = [thread for thread in threads if thread.name.startswith("Trio thread ")]
    return Counts(
        tasks={task: task.name for task in _tasks()},
        threads={thread: thread.name for thread in threads if thread not in idle},
        descriptors=_descriptors(),
        idle_workers=len(idle),
    )


@contextmanager
def leak_check() -> Iterator[Counts]:
    """Raise AssertionError, naming them, when the block leaves tasks, busy threads or descriptors behind.

    Gives the counts from before. A block that raises is not checked.
    """
    before = count()
    yield before
    left = count().left_behind_since(before)
    if left:
        raise AssertionError("left behind: " + "; ".join(left))


def _tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task() if trio.lowlevel.in_trio_run() else None
    ahead = [] if root is None else [root]
    while ahead:
        task = ahead.pop()
        yield task
        for nursery in task.child_nurseries:
            ahead += nursery.child_tasks


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:
            continue  # the descriptor that listed the directory
        found[int(name)] = f"{_path(name)} (device {status.st_dev}, inode {status.st_ino})"
    return found


def _path(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return "file"  # systems without /proc tell no path
