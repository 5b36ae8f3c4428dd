"""What the tests of the commands share: a stand-in for a node, and a way to run `codex` as a process."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from codex.cli import main

CID = "zDvZRwzkzmFULSGPZYUzyQNcDSoXvtSPjgQxoXhNZ7ZGTbgZ7kfd"


Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""


@define
class Upload:
    """One body that arrived, and its headers."""

    body: bytes
    headers: dict[str, str]


@define
class Stub:
    """What the stand-in knows: replies by method and path, and what it was asked."""

    port: int = 0
    asked: list[str] = field(factory=list)
    uploads: list[Upload] = field(factory=list)
    headers: list[dict[str, str]] = field(factory=list)
    """The headers of each request that was `asked`."""
    replies: dict[str, "Reply | list[Reply] | Callable[[dict[str, str]], Reply]"] = field(factory=dict)
    """A reply, several that are given one after the other (the last again and again), or what makes one of
    the request's headers."""
    otherwise: Reply = (404, {}, b"")
    """What everything else is answered."""
    cut: int | None = None
    """Bytes after which a body breaks off."""
    hang_up: bool = False
    """Whether an upload is refused after its first bytes, without reading the rest."""
    sent: threading.Event = field(factory=threading.Event)
    """Set when a reply that is cut has gone out up to there."""
    held: threading.Event = field(factory=threading.Event)
    """What a cut reply waits for before the connection ends."""

    def json(self, request: str, *values: Any, status: int = 200) -> None:
        """Answer `request` with each of `values`, one after the other."""
        self.replies[request] = [
            (status, {"Content-Type": "application/json"}, json.dumps(value).encode()) for value in values
        ]

    def problem(self, request: str, status: int, message: str, remedy: str = "") -> None:
        """Refuse `request` with problem details."""
        told = {"type": "about:blank", "title": "Refused", "status": status, "detail": message}
        body = json.dumps({**told, "remedy": remedy} if remedy else told).encode()
        self.replies[request] = (status, {"Content-Type": "application/problem+json"}, body)

    def refuse_all(self, status: int, told: dict[str, str]) -> None:
        """Refuse every request with problem details of that code, message and remedy."""
        body = json.dumps({"code": told["code"], "detail": told["message"], "remedy": told["remedy"]})
        self.otherwise = (status, {"Content-Type": "application/problem+json"}, body.encode())

    def ranged(self, request: str, content: bytes, etag: str, headers: dict[str, str] | None = None) -> None:
        """Answer `request` with `content`, or with the end of it that is asked for."""

        def reply(asked: dict[str, str]) -> Reply:
            wanted = re.fullmatch(r"bytes=([0-9]+)-", asked.get("Range", ""))
            if wanted is None or asked.get("If-Range") != etag:
                return 200, headers or {}, content
            first, size = int(wanted[1]), len(content)
            if first >= size:
                return 416, {"Content-Range": f"bytes */{size}"}, b""
            place = {"Content-Range": f"bytes {first}-{size - 1}/{size}"}
            return 206, {**(headers or {}), **place}, content[first:]

        self.replies[request] = reply

    def reply(self, request: str, headers: dict[str, str]) -> "Reply":
        """What to answer now."""
        found = self.replies.get(request, self.otherwise)
        if callable(found):
            return found(headers)
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found


class _Handler(BaseHTTPRequestHandler):
    stub: Stub

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        if self.stub.hang_up:
            self.rfile.read(1000)
            self.close_connection = True
            self._reply(422, {}, b"The MIME type is not valid.")
            return
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(body) < int(self.headers["Content-Length"]):
                return
        self.stub.uploads.append(Upload(body, dict(self.headers)))
        self._answer()

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self) -> None:
        request = f"{self.command} {self.path.removeprefix('/api/codex/v1')}"
        self.stub.asked.append(request)
        self.stub.headers.append(dict(self.headers))
        status, headers, body = self.stub.reply(request, dict(self.headers))
        self._reply(status, headers, body)

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if self.stub.cut is None else body[: self.stub.cut])
        if self.stub.cut is not None:
            self.wfile.flush()
            self.stub.sent.set()
            self.stub.held.wait(30)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is part of the tests."""


@pytest.fixture
def node() -> Iterator[Stub]:
    """A simulation of a node: a small HTTP server in a thread, with prepared replies and no storage.

    It is there for what a real node would rarely do: break off, refuse, answer nonsense. The commands with a
    real node are tested elsewhere.
    """
    stub = Stub()
    stub.held.set()
    handler = type("Handler", (_Handler,), {"stub": stub})
    with _Server(("127.0.0.1", 0), handler) as server:
        stub.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield stub
        finally:
            stub.held.set()
            server.shutdown()
            thread.join()


Run = Callable[..., subprocess.CompletedProcess[bytes]]


def without_options(home: Path) -> dict[str, str]:
    """An environment without any option, and with a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}
    return kept | {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment without any option, and with a home of the test's own."""
    return without_options(tmp_path / "home")


@pytest.fixture(scope="module")
def shared_environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same, for what several tests of a file share."""
    return without_options(tmp_path_factory.mktemp("home"))


@pytest.fixture
def here(
    tmp_path: Path,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Run `codex` in this process, in an empty directory: its exit code, output and errors. Much faster than
    a process; for calls that are many.
    """
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in set(os.environ) - set(environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", environ["HOME"])

    def run(*args: str) -> tuple[int, str, str]:
        code = main(args)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def codex(tmp_path: Path, environ: dict[str, str]) -> Run:
    """Run `codex` as a process in an empty directory: `codex("ls", port=node.port)`."""
    work = tmp_path / "work"
    work.mkdir()

    def run(
        *args: str, port: int | None = None, input: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        address = [] if port is None else [f"--api-port={port}"]
        return subprocess.run(
            [sys.executable, "-m", "codex", *address, *args],
            cwd=work,
            env=environ | (env or {}),
            input=input,
            capture_output=True,
            timeout=60,
        )

    return run


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The directory that `codex` runs in."""
    return tmp_path / "work"


def told(kind: str = "verify", state: str = "running", **more: Any) -> dict[str, Any]:
    """A job as a node tells of it."""
    return {
        "id": "37060d6badd4",
        "kind": kind,
        "state": state,
        "phase": "verifying",
        "subject": CID,
        "bytesDone": 0,
        "bytesTotal": 1048576,
        "bytesPerSecond": 0,
        "etaSeconds": None,
        "started": 1795378590.182,
        "ended": None if state == "running" else 1795378592.632,
        "result": None,
        "error": None,
        **more,
    }


@pytest.fixture
def job() -> Callable[..., dict[str, Any]]:
    """Make a job as a node tells of it: `job("verify", "done", bytesDone=5)`."""
    return told


@pytest.fixture
def cid() -> str:
    """A CID as a node prints it."""
    return CID
