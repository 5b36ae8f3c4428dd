"""WebAssembly modules of this package: compiled once, checked when first used, lent to one caller at a time.

The engine is wasmtime's. It releases the interpreter's lock while a kernel computes, so that several threads
keep several cores busy; each borrows an *instance*, which has a memory of its own. A call costs about
0.04 ms, whatever it computes: give it work for a whole block or code word.

wasmtime has no wheel for some machines, and a processor or a sandbox may refuse it. Then `Kernel.fault` says
why, and callers compute in Python instead: the same results, slowly.
"""

import atexit
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING
from weakref import WeakSet

from codex.logs import get_logger

if TYPE_CHECKING:
    import wasmtime

PAGE = 65536
"""Bytes of a page, the unit in which WebAssembly memory grows."""

_MAX_IDLE = 4
"""Instances of a kernel that are kept for the next caller, with all the memory that they have taken, where it
does not say otherwise. There are more only while more threads compute; to make one takes some 2 ms.
"""

_log = get_logger("kernels")


@cache
def engine() -> "wasmtime.Engine | None":
    """The engine of this process, or None where there is no wasmtime.

    wasmtime is imported here and not before: that takes 25 ms, and a node may never need it.
    """
    try:
        import wasmtime
    except (ImportError, OSError, RuntimeError):  # not installed; library not loadable; machine unknown to it
        return None
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = True
    config.wasm_wide_arithmetic = True
    # The modules are small, and the only threads of a node are those that its runtime starts.
    config.parallel_compilation = False
    return wasmtime.Engine(config)


@cache
def _compiled(home: "wasmtime.Engine", name: str) -> "wasmtime.Module":
    """A file of this package, compiled. Raises wasmtime.WasmtimeError, with the line, when that cannot be."""
    import wasmtime

    return wasmtime.Module(home, files("codex.kernels").joinpath(name).read_text("utf-8"))


class Instance:
    """One copy of a module, with its own memory. For one thread at a time.

    The module exports its memory as "memory". Addresses and sizes are in bytes.
    """

    def __init__(self, home: "wasmtime.Engine", module: "wasmtime.Module") -> None:
        import wasmtime

        self._store = wasmtime.Store(home)
        exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        self._functions = {name: item for name, item in exports.items() if isinstance(item, wasmtime.Func)}

    def call(self, name: str, *args: int) -> int:
        """Call an exported function with integers; what it returns, or 0 if it returns nothing.

        i32 and i64 results come as signed numbers. Raises KeyError for an unknown name, and wasmtime.Trap
        when the code traps, after which the instance must not be used again.
        """
        result: int | None = self._functions[name](self._store, *args)
        return 0 if result is None else result

    def reserve(self, size: int) -> None:
        """Let the memory have `size` bytes at least; what is new is zero. Views taken before may be void
        afterwards. Raises wasmtime.WasmtimeError when the machine, or the module, has no room for that.
        """
        missing = size - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // PAGE))

    def view(self) -> memoryview:
        """The whole memory, as writable bytes.

        Valid until the next `reserve`, and never after the instance has been given back: what is needed
        longer is copied out.
        """
        return memoryview(self._memory.get_buffer_ptr(self._store)).cast("B")


class Kernel:
    """A module of this package together with what prepares and checks it. Any thread may use it.

    `prepare` runs once on each new instance. `check` runs on the first one, and returns whether a known
    result comes out; a kernel that fails is not used in this process.
    """

    def __init__(
        self,
        name: str,
        *,
        prepare: Callable[[Instance], None] = lambda instance: None,
        check: Callable[[Instance], bool],
        idle: int = _MAX_IDLE,
    ) -> None:
        """`name` is that of the file, with .wat at the end; `idle` how many instances are kept at most."""
        self.name = name
        self._prepare = prepare
        self._check = check
        self._verdict: str | None = None
        self._idle: deque[Instance] = deque(maxlen=idle)
        _kernels.add(self)

    @property
    def fault(self) -> str:
        """Why this kernel cannot be used, or nothing. Asking loads it, which takes some 10 ms."""
        if engine() is None:
            return "wasmtime is not available"
        if self._verdict is None:
            # Two threads may both come here. Both get the same answer, and what one made too much is dropped.
            self._verdict = self._load()
        return self._verdict

    @contextmanager
    def instance(self) -> Iterator[Instance]:
        """Borrow an instance that nobody else uses meanwhile. Only when there is no `fault`.

        It is as its last user left it: memory keeps its size and content. One in which an exception was
        raised is not lent again.
        """
        try:
            instance = self._idle.pop()
        except IndexError:
            instance = self._make()
        yield instance
        self._idle.append(instance)

    def _make(self) -> Instance:
        home = engine()
        assert home is not None, "asked for an instance without looking at `fault`"
        instance = Instance(home, _compiled(home, self.name))
        self._prepare(instance)
        return instance

    def _load(self) -> str:
        import wasmtime

        fault = ""
        try:
            with self.instance() as instance:
                if not self._check(instance):
                    fault = "it does not give a known result"
        except (wasmtime.WasmtimeError, wasmtime.Trap) as error:
            fault = str(error)
        if fault:
            _log.warning("kernel not usable here, so Python computes", kernel=self.name, fault=fault)
        return fault


_kernels: WeakSet[Kernel] = WeakSet()


@atexit.register
def _let_go() -> None:
    """Drop what wasmtime made while wasmtime is still whole: later, it complains on stderr."""
    for kernel in _kernels:
        kernel._idle.clear()
    _compiled.cache_clear()
    engine.cache_clear()
