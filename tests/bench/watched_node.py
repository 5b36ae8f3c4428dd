"""The node with a watch on the steps of its loop; otherwise the program `codex`. See watching.py."""

import sys
from functools import partial

import trio
from watching import watch_on_signal

from codex.cli import main

if __name__ == "__main__":
    # The only way into the loop of a program that has no option for it.
    setattr(trio, "run", partial(trio.run, instruments=[watch_on_signal()]))  # noqa: B010
    sys.exit(main())
