"""The loop is never kept: through a whole upload and download no task step takes more than 50 ms of it.

Measured in the loop thread's own CPU time, so that a busy machine cannot fail it.
"""

import subprocess
import sys
import time
from pathlib import Path

import trio

from codex.runtime.stall import LoopWatch
from codex.testing.nodes import ServedNode, open_served_node

LIMIT = 0.05  # seconds of CPU time in one task step
MIB = 1 << 20
UPLOAD = 256 * MIB

# A program of its own, so that making and sending the bytes costs this process nothing.
SENDER = """
import hashlib, http.client, sys
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
piece = hashlib.shake_128(b"alice").digest(1 << 20)
def body():
    for number in range(size >> 20):
        yield number.to_bytes(8, "big") + piece[8:]
connection = http.client.HTTPConnection(host, port)
connection.request("POST", "/api/codex/v1/data", body(), {"Content-Length": str(size)})
reply = connection.getresponse()
cid = reply.read().decode()
assert reply.status == 200, cid
connection.request("GET", "/api/codex/v1/data/" + cid)
reply = connection.getresponse()
received = 0
while piece := reply.read(1 << 20):
    received += len(piece)
assert received == size, received
connection.request("DELETE", "/api/codex/v1/data/" + cid)
assert connection.getresponse().status == 204
"""


async def there_and_back(served: ServedNode, size: int) -> None:
    """Upload, download and delete `size` bytes from a process of its own."""
    command = [sys.executable, "-c", SENDER, served.address.host, str(served.address.port), str(size)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def test_no_step_of_a_large_upload_keeps_the_loop(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, threads=True) as served:
        await there_and_back(served, MIB)  # what is loaded once is loaded now
        watch = LoopWatch(LIMIT)
        trio.lowlevel.add_instrument(watch)
        try:
            with trio.fail_after(120):
                await there_and_back(served, UPLOAD)
        finally:
            trio.lowlevel.remove_instrument(watch)
        assert watch.steps > 1000, "the watch has seen nothing"
        assert watch.over == 0, f"{watch.worst_cpu_task} kept the loop for {watch.worst_cpu:.3f} s"
        assert (await served.node.space()).quota_used == 0


# One byte to a chunk, six on the wire: as many steps of a parser as there can be.
DRIP = """
import socket, sys
host, port, chunks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
link = socket.create_connection((host, port))
link.sendall(b"POST /api/codex/v1/data HTTP/1.1\\r\\nHost: a\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n")
link.sendall(b"1\\r\\nx\\r\\n" * chunks + b"0\\r\\n\\r\\n")
assert link.recv(1000).startswith(b"HTTP/1.1 200 ")
"""


async def test_no_step_of_an_upload_in_tiny_chunks_keeps_the_loop(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, threads=True) as served:
        await there_and_back(served, MIB)
        watch = LoopWatch(LIMIT / 2)
        trio.lowlevel.add_instrument(watch)
        command = [sys.executable, "-c", DRIP, served.address.host, str(served.address.port), "400000"]
        try:
            with trio.fail_after(120):
                done = await trio.run_process(command, capture_stderr=True, check=False)
        finally:
            trio.lowlevel.remove_instrument(watch)
        assert done.returncode == 0, done.stderr.decode()
        assert watch.steps > 1000, "the watch has seen nothing"
        assert watch.over == 0, f"{watch.worst_cpu_task} kept the loop for {watch.worst_cpu:.3f} s"


async def test_the_gate_can_fail(tmp_path: Path) -> None:
    async def busy() -> None:
        await trio.lowlevel.checkpoint()
        end = time.thread_time() + 0.06
        while time.thread_time() < end:
            pass
        await trio.lowlevel.checkpoint()

    async with open_served_node(tmp_path, threads=True) as served:
        watch = LoopWatch(LIMIT)
        trio.lowlevel.add_instrument(watch)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(there_and_back, served, MIB)
                nursery.start_soon(busy)
        finally:
            trio.lowlevel.remove_instrument(watch)
    assert watch.over >= 1
    assert watch.worst_cpu >= 0.06
    assert watch.worst_cpu_task.endswith("busy")


def test_the_sender_is_a_program_that_can_fail() -> None:
    done = subprocess.run([sys.executable, "-c", SENDER, "127.0.0.1", "1", "1"], capture_output=True)
    assert done.returncode != 0
