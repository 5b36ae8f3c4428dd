"""The node on a disk that takes no more than so many bytes a second: a simulation; otherwise the program
`codex`.

Writes to segments go to the real disk, and the flush that follows waits until as much time has passed as a
disk of that rate would have taken for what was written since the last. Reads wait likewise. The index is not
slowed down. The first argument is the rate, in bytes a second; the others are the node's.
"""

import sys
import time
from collections.abc import Sequence

from codex.cli import main
from codex.store.disk import Buffer, OsFile


def slow_down(rate: float) -> None:
    """Let every file of the store behave so from now on."""
    write, flush, read = OsFile.pwritev, OsFile.fdatasync, OsFile.pread
    debts: dict[int, tuple[float, int]] = {}  # by file: when the writing began, and how much was written

    def pwritev(file: OsFile, buffers: Sequence[Buffer], offset: int) -> int:
        began, owed = debts.get(id(file), (time.monotonic(), 0))
        written = write(file, buffers, offset)
        debts[id(file)] = (began, owed + written)
        return written

    def fdatasync(file: OsFile) -> None:
        flush(file)
        began, owed = debts.pop(id(file), (0.0, 0))
        time.sleep(max(0.0, began + owed / rate - time.monotonic()))

    def pread(file: OsFile, size: int, offset: int) -> bytes:
        began = time.monotonic()
        data = read(file, size, offset)
        time.sleep(max(0.0, began + len(data) / rate - time.monotonic()))
        return data

    for method in (pwritev, fdatasync, pread):
        setattr(OsFile, method.__name__, method)


if __name__ == "__main__":
    slow_down(float(sys.argv.pop(1)))
    sys.exit(main())
