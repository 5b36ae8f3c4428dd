"""Runs the node against py-libp2p, another hand's implementation of the same network: `make interop`.

py-libp2p gets an environment of its own in build/interop. A dataset goes from alice's node to bob's, who do
not know each other, through a peer made of py-libp2p: it dials alice, is identified and pings her, and takes
the dataset; then bob dials it, identifies and pings it, and gets the dataset, compared byte for byte. So
block exchange messages of over 1 MiB cross both ways, over Noise and mplex. At the end, what py-libp2p itself
moves over one stream is told. Ends with 1 when something is not as it should be.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import environment
import rates
from environment import HERE, Failed

from codex.codec import Cid

SIZE = 10_000_000  # bytes: 153 blocks, of which the first messages have few, and later ones 20 and more
MIB = 1 << 20
PATIENCE = 60  # seconds for each thing that is waited for


def main() -> int:
    try:
        python = environment.python()
        relay(python)
        for muxer in rates.MUXERS:
            rate = rates.measure(python, muxer) / 1e6
            print(f"py-libp2p, one stream, Noise and {muxer.lower()}: {rate:.1f} MB/s")
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def relay(python: Path) -> None:
    """Have a dataset carried from alice to bob by a peer made of py-libp2p. Raises Failed."""
    content = random.Random(1).randbytes(SIZE)
    with open_node("alice") as alice, open_node("bob") as bob, open_peer(python) as peer:
        cid = call(f"{alice}/data", content).decode()
        manifest = json.loads(call(f"{alice}/data/{cid}/network/manifest"))["manifest"]
        leaves = -(-SIZE // manifest["blockSize"])
        said = peer.ask(
            dial=address_of(alice),
            manifest=Cid.parse(cid).raw.hex(),
            tree=Cid.parse(manifest["treeCid"]).raw.hex(),
            leaves=leaves,
        )
        check("py-libp2p dials alice and identifies her", "/codex/blockexc/1.0.0" in said["protocols"])
        check("it pings her", said["ping"] >= 0)
        check("it gets every block, verified", said["blocks"] == leaves + 1)
        check(f"in messages of over 1 MiB ({said['largest']:,} bytes)", said["largest"] > MIB)
        call(f"{bob}/connect/{peer.id}?addrs={urllib.parse.quote(peer.address.split('/p2p/')[0])}")
        check("bob dials py-libp2p", True)
        got = call(f"{bob}/data/{cid}/network/stream")
        check("bob gets the dataset through it", got == content)
        [seen] = [found for found in json.loads(call(f"{bob}/peers"))["peers"] if found["peerId"] == peer.id]
        check(f"identified it as {seen['agent']}", "/codex/blockexc/1.0.0" in seen["protocols"])
        check("pings it", seen["latency"] is not None)
        check("gets every byte from it", seen["blockBytesIn"] >= SIZE)
        sent = peer.ask(sent=True)["sent"]
        check(f"in messages of over 1 MiB ({sent:,} bytes)", sent > MIB)


def check(what: str, holds: bool) -> None:
    if not holds:
        raise Failed(f"FAILED: {what}")
    print(f"  ok: {what}", flush=True)


# -- the peer made of py-libp2p


class Peer:
    """A running peer.py: who it is, where it listens, and what it is asked to do."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        first = self._answer()
        self.id, self.address = str(first["id"]), str(first["address"])

    def ask(self, **task: object) -> dict:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed("py-libp2p ended (see above)")
        return json.loads(line)


@contextmanager
def open_peer(python: Path) -> Iterator[Peer]:
    command = [python, HERE / "peer.py"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
    ) as process:
        try:
            yield Peer(process)
        finally:
            process.kill()


# -- our nodes


@contextmanager
def open_node(name: str) -> Iterator[str]:
    """Run a node in a process of its own, on loopback; its API's URL. Raises Failed when it does not start
    or end well.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        options = [
            f"--data-dir={directory}/data",
            "--api-port=0",
            "--disc-port=0",
            "--listen-addrs=/ip4/127.0.0.1/tcp/0",
            f"--log-file={log}",
            "--log-level=debug",
            "--log-format=none",
        ]
        environ = {key: value for key, value in os.environ.items() if not key.startswith("CODEX_")}
        command = [sys.executable, "-m", "codex", *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as node:
            assert node.stderr is not None
            try:
                said = ""
                while (found := re.search(r"The API listens on (\S+)", said)) is None:
                    line = node.stderr.readline()
                    if not line:
                        raise Failed(f"{name}'s node did not start: {said}")
                    said += line
                yield f"{found[1].rstrip('/')}/api/codex/v1"
            except Failed:
                if log.exists():
                    print(f"{name}'s log ends with:\n{log.read_text('utf-8')[-4000:]}", file=sys.stderr)
                raise
            finally:
                node.send_signal(signal.SIGTERM)
                try:
                    node.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    node.kill()
        if node.returncode != 0:
            raise Failed(f"{name}'s node ended with {node.returncode}.")


def address_of(url: str) -> str:
    """Where a node takes connections, with its name."""
    info = json.loads(call(f"{url}/debug/info"))
    return f"{info['addrs'][0]}/p2p/{info['id']}"


def call(url: str, body: bytes | None = None) -> bytes:
    """GET, or POST a body; what it answers. Raises Failed."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Failed(f"{url}: {error.code} {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise Failed(f"{url}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
