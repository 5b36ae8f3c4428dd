"""Asks a child from outside for the longest step of its loop.

SIGUSR1 makes the child print what its `LoopWatch` has seen, as a line `steps {…}`, and begin anew.
"""

import json
import signal
from types import FrameType

from codex.runtime.stall import LoopWatch

SAYS = "steps "


def watch_on_signal() -> LoopWatch:
    """A watch that is told on SIGUSR1; the caller adds it to its loop."""
    watch = LoopWatch()

    def tell(number: int, frame: FrameType | None) -> None:
        seen = {
            "steps": watch.steps,
            "over": watch.over,
            "cpu_ms": watch.worst_cpu * 1000,
            "cpu_task": watch.worst_cpu_task,
            "wall_ms": watch.worst_wall * 1000,
            "wall_task": watch.worst_wall_task,
        }
        print(SAYS + json.dumps(seen), flush=True)
        watch.reset()

    signal.signal(signal.SIGUSR1, tell)
    return watch
