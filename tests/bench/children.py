"""The processes that are measured: started, found ready, watched from outside, and always ended.

A child says that it is ready by a line on its standard error or output; what else it says is kept for the
message when it fails. Children have a session of their own, so that a Ctrl-C reaches them through this
process only, which ends them in order.
"""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

from harness import BenchFailed

READY = 60.0  # seconds until a child must have said that it is ready
STOP = 60.0  # seconds until a child must have ended after SIGTERM

HERE = Path(__file__).parent

# What is set for a node of the user's is not meant for those that are measured.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}


class Child:
    """A running Python process. Its lines, of both outputs, come through `line`."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.name = " ".join(arguments[:2])
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._lines: Queue[str | None] = Queue()
        self._last: deque[str] = deque(maxlen=40)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last.append(line)
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, start: str, limit: float = READY) -> str:
        """Wait `limit` seconds for a line that begins so, and return what follows. Raises BenchFailed."""
        while True:
            try:
                line = self._lines.get(timeout=limit)
            except Empty:
                raise BenchFailed(f"{self.name} did not say '{start}' within {limit:.0f} s") from None
            if line is None:
                raise BenchFailed(f"{self.name} ended with {self._process.wait()}:\n{''.join(self._last)}")
            if line.startswith(start):
                return line.removeprefix(start).strip()

    def notify(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """Have it end, and wait for that. Raises BenchFailed when it does not end well."""
        self._process.terminate()
        self.wait()

    def wait(self) -> None:
        """Wait until it has ended. Raises BenchFailed when it does not end well."""
        try:
            code = self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise BenchFailed(f"{self.name} did not stop within {STOP:.0f} s") from None
        if code:
            raise BenchFailed(f"{self.name} ended with {code}:\n{''.join(self._last)}")

    def discard(self) -> None:
        """End it at once if it still runs, without a word. Harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def cpu(self) -> float:
        """Seconds of CPU time used so far, by all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(*arguments: str) -> Iterator[Child]:
    """A Python child for the length of the block: `python ARGUMENTS`."""
    child = Child(arguments)
    try:
        yield child
        child.stop()
    finally:
        child.discard()


@contextmanager
def bare_server(*arguments: str) -> Iterator[tuple[Child, int]]:
    """A stock hypercorn with a bare ASGI callable (see bare.py), and the port it listens on."""
    with running(str(HERE / "bare.py"), *arguments) as child:
        yield child, int(child.line("listening on "))
