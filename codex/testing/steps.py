"""The longest step of the loop, for tests that hold it to a bound."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from codex.runtime.stall import LoopWatch


@contextmanager
def watched_steps() -> Iterator[LoopWatch]:
    """Watch the running loop for the length of the block.

    What a test run has gathered before is put out of the garbage collector's sight meanwhile: going through
    it takes longer than any step, and is not the node's doing.
    """
    gc.collect()
    gc.freeze()
    watch = LoopWatch()
    trio.lowlevel.add_instrument(watch)
    try:
        yield watch
    finally:
        trio.lowlevel.remove_instrument(watch)
        gc.unfreeze()
