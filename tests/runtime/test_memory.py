"""Freed memory goes back to the system, where it does not by itself."""

import subprocess
import sys

import pytest

# A process of its own, in which nothing else frees or takes memory. The buffers are below the size from which
# each has pages of its own, and one in a hundred stays.
PROGRAM = """
import sys
from codex.runtime.memory import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

buffers = [bytearray(100_000) for _ in range(1000)]
kept = buffers[::100] + [bytearray(100_000)]
del buffers
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is nothing to give back")
def test_what_is_free_between_what_is_not_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 80_000_000
