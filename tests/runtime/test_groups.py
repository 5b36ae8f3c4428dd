"""Exception groups: one error is that error, several stay a group."""

import gc
import weakref

import pytest
import trio

from codex.runtime.groups import leaves, lone, unwrapped

ONE = KeyError("one")
TWO = OSError("two")


def test_leaves_are_found_however_deep() -> None:
    assert list(leaves(ONE)) == [ONE]
    assert list(leaves(ExceptionGroup("", [ONE, ExceptionGroup("", [ExceptionGroup("", [TWO])])]))) == [
        ONE,
        TWO,
    ]


def test_a_lone_error_is_taken_out_and_several_are_not() -> None:
    assert lone(ONE) is ONE
    assert lone(ExceptionGroup("", [ExceptionGroup("", [ONE])])) is ONE
    both = ExceptionGroup("", [ONE, TWO])
    assert lone(both) is both


async def test_unwrapped_raises_the_error_of_the_only_task_that_failed() -> None:
    async def fail() -> None:
        try:
            raise OSError("the cause")
        except OSError as cause:
            raise KeyError("the error") from cause

    async def flow() -> None:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                await trio.sleep_forever()

    with pytest.raises(KeyError, match="the error") as caught:
        await flow()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__context__ is caught.value.__cause__


async def test_unwrapped_adds_no_context_of_its_own() -> None:
    async def fail() -> None:
        raise KeyError("the error")

    async def flow() -> None:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)

    with pytest.raises(KeyError) as caught:
        await flow()
    assert caught.value.__context__ is None


def test_unwrapped_leaves_several_and_none_as_they_are() -> None:
    both = ExceptionGroup("", [ONE, TWO])
    with pytest.raises(ExceptionGroup) as caught, unwrapped():
        raise both
    assert caught.value is both
    with pytest.raises(KeyError, match="one"), unwrapped():
        raise ONE
    with unwrapped():
        pass


async def test_unwrapped_lets_a_cancellation_through() -> None:
    with trio.CancelScope() as scope, unwrapped():
        scope.cancel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
    assert scope.cancelled_caught


async def test_what_is_unwrapped_lies_in_no_circle() -> None:
    class Large(bytearray):
        pass

    kept: list[weakref.ref[Large]] = []

    async def flow() -> None:
        large = Large(1000)
        kept.append(weakref.ref(large))
        with unwrapped():
            async with trio.open_nursery():
                raise KeyError(len(large))

    async def ended() -> bool:
        try:
            await flow()
        except KeyError:
            return True
        return False

    gc.disable()
    try:
        assert await ended()
        assert kept[0]() is None
    finally:
        gc.enable()
