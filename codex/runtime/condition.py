"""What ails a service that runs: it answers, but cannot do all that it is there for.

A service says so on its inbox and takes it back when it is over; whoever asks the supervisor how services
are is told. A new life begins well.
"""

from attrs import frozen

from codex.errors import Problem


@frozen
class Condition:
    """What is wrong, since when (unix seconds), and whether the service can `serve` all the same."""

    problem: Problem
    since: float
    serves: bool
