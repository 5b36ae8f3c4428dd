"""The engine: instances are lent to one caller at a time, kept, and dropped when something went wrong."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import wasmtime

from codex.kernels.engine import PAGE, Instance, Kernel, engine


def kernel(check: Callable[[Instance], bool] = lambda instance: True) -> Kernel:
    """Of numbers of 8 bits. The first number of its table of powers is 1, once it has been prepared."""
    return Kernel("leopard.wat", prepare=prepare, check=check)


def prepare(instance: Instance) -> None:
    instance.call("begin", 8)


def test_there_is_an_engine() -> None:
    assert engine() is engine() is not None


def test_an_instance_is_prepared_and_checked_before_it_is_lent() -> None:
    seen = []

    def check(instance: Instance) -> bool:
        seen.append(instance.view()[0x020000])
        return True

    lent = kernel(check)
    assert seen == []
    assert lent.fault == lent.fault == ""
    assert seen == [1]
    with lent.instance() as one, lent.instance() as other:
        assert one.view()[0x020000] == other.view()[0x020000] == 1
    assert seen == [1]


def test_no_more_instances_are_kept_than_it_says() -> None:
    lent = Kernel("leopard.wat", prepare=prepare, check=lambda instance: True, idle=1)
    with lent.instance() as one, lent.instance() as other:
        pass
    with lent.instance() as first, lent.instance() as second:
        assert first is one
        assert second is not other


def test_an_instance_is_nobody_elses_and_kept_for_the_next() -> None:
    lent = kernel()
    with lent.instance() as one, lent.instance() as other:
        assert one is not other
        one.view()[-1], other.view()[-1] = 1, 2
        assert one.view()[-1] == 1
    with lent.instance() as again:
        assert again in (one, other)


def test_an_instance_in_which_something_was_raised_is_not_lent_again() -> None:
    lent = kernel()
    with pytest.raises(wasmtime.Trap), lent.instance() as broken:
        broken.call("encode", *(0xE00000, 64, 2**30, 64, 4, 2, 2, 8))
    with lent.instance() as next_one:
        assert next_one is not broken


def test_memory_grows_as_asked_and_never_shrinks() -> None:
    with kernel().instance() as instance:
        size = len(instance.view())
        instance.reserve(size - 1)
        assert len(instance.view()) == size
        instance.reserve(size + 1)
        assert len(instance.view()) == size + PAGE
        assert instance.view()[-1] == 0
        instance.view()[-8:] = b"gardenia"
        assert bytes(instance.view()[-8:]) == b"gardenia"


def test_there_is_no_more_memory_than_there_can_be() -> None:
    with pytest.raises(wasmtime.WasmtimeError), kernel().instance() as instance:
        instance.reserve(2**33)


def test_an_unknown_function_is_a_key_error() -> None:
    with kernel().instance() as instance, pytest.raises(KeyError, match="decode"):
        instance.call("decode")


def trap(instance: Instance) -> bool:
    instance.call("combine", 0xE00000, 64, 64, 64, 0, 0, 2**30)
    return True


@pytest.mark.parametrize(("check", "said"), [(lambda instance: False, "known result"), (trap, "memory")])
def test_a_kernel_that_fails_its_check_says_so(check: Callable[[Instance], bool], said: str) -> None:
    failing = kernel(check)
    assert said in failing.fault


@pytest.mark.usefixtures("no_wasmtime")
def test_without_wasmtime_there_is_a_fault() -> None:
    assert engine() is None
    assert kernel().fault == "wasmtime is not available"


def test_a_process_that_used_kernels_ends_quietly() -> None:
    code = "from codex.kernels import leopard, poseidon2; print([leopard.fault(), poseidon2.fault()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("['', '']\n", "")
