"""The watch over the loop: how long the longest step of any task kept every other task waiting.

A step is what a task does between two of its checkpoints. Its CPU time is the loop thread's own, so a busy
machine does not make it longer; its wall time is what peers and clients feel.
"""

import time
from math import inf

import trio


class LoopWatch(trio.abc.Instrument):
    """A trio instrument; give it to `trio.run(instruments=[...])` or `trio.lowlevel.add_instrument`.

    Steps of more than `threshold` seconds of CPU time are counted. Costs about a microsecond a step. For
    one loop.
    """

    def __init__(self, threshold: float = 0.05) -> None:
        self.threshold = threshold
        # When it is put in during a step, that step has no start and counts as no time at all.
        self._cpu_from = self._wall_from = inf
        self.reset()

    def reset(self) -> None:
        """Forget everything seen so far."""
        self.steps = 0
        self.over = 0
        self.worst_cpu = 0.0
        self.worst_cpu_task = ""
        self.worst_wall = 0.0
        self.worst_wall_task = ""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._wall_from = time.perf_counter()
        self._cpu_from = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        # Read in the reverse order of the start, so that CPU time lies within wall time.
        cpu = time.thread_time() - self._cpu_from
        wall = time.perf_counter() - self._wall_from
        self.steps += 1
        if cpu > self.threshold:
            self.over += 1
        if cpu > self.worst_cpu:
            self.worst_cpu, self.worst_cpu_task = cpu, task.name
        if wall > self.worst_wall:
            self.worst_wall, self.worst_wall_task = wall, task.name
