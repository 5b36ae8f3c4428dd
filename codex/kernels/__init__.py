"""The sums that are too slow for Python, as WebAssembly text, and the thin Python that runs it.

Each kernel is three files: `name.wat` (readable WebAssembly with its theory at the head), `name_spec.py` (the
same in plain Python: the specification in code, the oracle in tests, and what runs where there is no
WebAssembly engine) and `name.py` (the functions that callers use). `engine.py` loads, checks and lends.

All of it is pure computation: no clock, no thread, no file but the package's own text. A call may take many
milliseconds; run it off the loop. While a kernel computes, other threads run.
"""
