"""Exception groups: what to do with the wrapping that a nursery puts around what its tasks raise.

A nursery raises a group even when one task failed. Whoever asked for one thing wants the one error, so the
edges (an answer, a service's life, a flow, the supervisor's block) take the wrapping off where nothing is
lost by it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors inside `error` that are not groups, in order; the error itself when it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


def lone(error: BaseException) -> BaseException:
    """Return the only error inside `error`, however deeply wrapped; `error` itself when there are several."""
    found = list(leaves(error))
    return found[0] if len(found) == 1 else error


def unwrapped() -> AbstractContextManager[None]:
    """Raise `lone` of what is raised inside, with its own cause and context instead of the group's."""
    return _Unwrapping()


class _Unwrapping:
    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(raised, BaseExceptionGroup):
            return
        inner = lone(raised)
        if inner is raised:
            return
        context = inner.__context__
        try:
            raise inner
        finally:
            # `raise` has just made the group the context of its own member: a circle that helps no reader.
            inner.__context__ = context
            # The error has this frame in its traceback. With the group in it they would keep each other, and
            # all that the frames of the error have, megabytes maybe, until garbage is collected.
            del inner, context, kind, raised, trace
