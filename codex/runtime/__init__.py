"""The ground that services stand on: mailboxes, supervision, broadcasts, machines, threads, time and chance.

Knows trio and no storage word.
"""

from codex.runtime.broadcast import Broadcast, Lagged
from codex.runtime.budget import Budget, Share
from codex.runtime.clock import Clock, Entropy, SeededEntropy, SystemClock, SystemEntropy, VirtualClock
from codex.runtime.condition import Condition
from codex.runtime.feed import Feed
from codex.runtime.groups import leaves, lone, unwrapped
from codex.runtime.lifecycle import State
from codex.runtime.machine import Machine, Row, Table, mermaid, validate
from codex.runtime.mailbox import Call, Inbox, Mailbox, serve
from codex.runtime.stall import LoopWatch
from codex.runtime.supervisor import (
    CRITICAL,
    Policy,
    Service,
    ServiceEvent,
    ServiceState,
    StopReport,
    Supervisor,
    open_supervisor,
)
from codex.runtime.threads import Inline, Offload, Threads
from codex.runtime.waits import Queue

__all__ = [
    "CRITICAL",
    "Broadcast",
    "Budget",
    "Call",
    "Clock",
    "Condition",
    "Entropy",
    "Feed",
    "Inbox",
    "Inline",
    "Lagged",
    "LoopWatch",
    "Machine",
    "Mailbox",
    "Offload",
    "Policy",
    "Queue",
    "Row",
    "SeededEntropy",
    "Service",
    "ServiceEvent",
    "ServiceState",
    "Share",
    "State",
    "StopReport",
    "Supervisor",
    "SystemClock",
    "SystemEntropy",
    "Table",
    "Threads",
    "VirtualClock",
    "leaves",
    "lone",
    "mermaid",
    "open_supervisor",
    "serve",
    "unwrapped",
    "validate",
]
