"""The real program: `codex` as a process of its own, and what it says."""

import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess

import pytest
import trio
from attrs import define, field

from codex.testing.http import Client
from codex.testing.nodes import BASE

PATIENCE = 30.0  # seconds for a process to start, to end, or to answer a command
LISTENS = "The API listens on http://"


@define(eq=False)
class Process:
    """A `codex` process that was told to run a node."""

    process: trio.Process
    said: str = ""
    """Its standard error so far."""
    silent: trio.Event = field(factory=trio.Event)
    """It will say no more."""
    more: trio.Event = field(factory=trio.Event)
    """It has said something since; another event each time."""

    @property
    def client(self) -> Client:
        """A client of its API. Raises AssertionError when it does not listen."""
        _, found, rest = self.said.partition(LISTENS)
        assert found, f"it does not listen: {self.said}"
        host, _, port = rest.split()[0].rpartition(":")
        return Client(host, int(port), BASE)

    async def listen_to(self) -> None:
        """Read what it says, until it ends."""
        assert self.process.stderr is not None
        async for piece in self.process.stderr:
            self.said += piece.decode("utf-8", "replace")
            self.more.set()
            self.more = trio.Event()
        self.silent.set()
        self.more.set()

    async def hear(self, words: str) -> None:
        """Wait until it says `words` and then ends the line, or ends altogether."""
        with trio.fail_after(PATIENCE):
            while "\n" not in self.said.partition(words)[2] and not self.silent.is_set():
                await self.more.wait()

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send it a signal, if one is given, and wait until it has ended; its exit code."""
        if number is not None:
            self.process.send_signal(number)
        with trio.fail_after(PATIENCE):
            await self.process.wait()
            await self.silent.wait()
        return self.process.returncode or 0


Start = Callable[..., Awaitable[Process]]
Run = Callable[..., Awaitable[CompletedProcess[bytes]]]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with a home of the test's own, in which nobody but this machine finds a node."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}
    alone = {"CODEX_LISTEN_ADDRS": "/ip4/127.0.0.1/tcp/0", "CODEX_DISC_PORT": "0"}
    return kept | alone | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
async def start(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Start]:
    """Start `codex` with options and give it when it listens or has ended; all are killed at the end.

    `program` is what runs instead of `-m codex`, and `says` what it says when it is ready.
    """
    started: list[Process] = []
    async with trio.open_nursery() as nursery:

        async def begin(
            *options: str, program: Sequence[str] = ("-m", "codex"), says: str = LISTENS
        ) -> Process:
            process = await trio.lowlevel.open_process(
                [sys.executable, *program, *options],
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=PIPE,
                env=environ,
                cwd=tmp_path,
            )
            running = Process(process)
            started.append(running)
            nursery.start_soon(running.listen_to)
            await running.hear(says)
            return running

        yield begin
        for running in started:
            if running.process.returncode is None:
                running.process.kill()
                await running.process.wait()
        nursery.cancel_scope.cancel()


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path) -> Run:
    """Run a `codex` command to its end."""

    async def go(*words: str, input: bytes = b"") -> CompletedProcess[bytes]:
        command = [sys.executable, "-m", "codex", *words]
        with trio.fail_after(PATIENCE):
            return await trio.run_process(
                command,
                stdin=input,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                deliver_cancel=_kill,
                env=environ,
                cwd=tmp_path,
            )

    return go


async def _kill(process: trio.Process) -> None:
    process.kill()
