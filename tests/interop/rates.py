"""What py-libp2p moves over one stream on this machine: the peer that `make bench` measures the node by."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from environment import HERE, Failed

MUXERS = {"MPLEX": 24, "YAMUX": 128}  # MiB that are sent: some seconds each
WRITTEN = 1024  # KiB in each write, with which py-libp2p is about as fast as it can be
BLOCK = 64  # KiB: what an exchange of blocks would write
LIMIT = 120  # seconds


def measure(python: Path, muxer: str, kib: int = WRITTEN) -> float:
    """Bytes a second over one stream on Noise and `muxer` (MPLEX or YAMUX), between two processes, once;
    `kib` KiB are written at once.

    Everything is as py-libp2p has it by default. Raises Failed.
    """
    with listening(python, muxer) as address:
        try:
            done = subprocess.run(
                [python, HERE / "rate.py", "send", muxer, address, str(MUXERS[muxer]), str(kib)],
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"py-libp2p did not get its bytes through on {muxer} within {LIMIT} s") from None
    if done.returncode != 0:
        raise Failed(f"py-libp2p could not send on {muxer}: {done.stderr}")
    return float(done.stdout)


@contextmanager
def listening(python: Path, muxer: str) -> Iterator[str]:
    with subprocess.Popen(
        [python, HERE / "rate.py", "listen", muxer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                _, said = process.communicate(timeout=10)
                raise Failed(f"py-libp2p did not listen: {said}")
            yield address
        finally:
            process.kill()
