"""The log: loggers by topic, levels that may change while the node runs, and where the lines go.

Any part gets its logger with `get_logger(topic)`, at import if it likes: nothing is loaded and nothing is
written until `configured(...)` opens the log, which only the process and tests do. A line is an event (a
fixed sentence) and fields::

    log = get_logger("store")
    log.info("block stored", cid=cid, size=65536)

Levels are trace, debug, info, notice, warn, error and fatal; `parse_levels` tells how they are written. A
part that repeats itself does not fill the disk (`repeats`). Writing a line never raises: a log that cannot be
written must not stop a node.
"""

from codex.logs.levels import LEVELS, Levels, parse_levels
from codex.logs.log import Logger, Settings, configured, current_levels, get_logger, set_levels

__all__ = [
    "LEVELS",
    "Levels",
    "Logger",
    "Settings",
    "configured",
    "current_levels",
    "get_logger",
    "parse_levels",
    "set_levels",
]
