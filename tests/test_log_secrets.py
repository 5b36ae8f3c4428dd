"""No secret reaches the log, at the finest level, in either form, whatever is sent and whatever breaks: not
the API's token, right or wrong, and not the node's key.
"""

import base64
import io
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import trio

from codex.config import Config, LogConfig
from codex.logs import configured, get_logger
from codex.node import Node, Retrieval
from codex.p2p import load_or_create
from codex.runtime.clock import SeededEntropy
from codex.testing.http import Client, Link, head
from codex.testing.nodes import ALONE, BASE, open_served_node

CID = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ"
RIGHT = "right." + secrets.token_hex(24)
WRONG = "wrong." + secrets.token_hex(24)


def spellings(secret: bytes) -> set[str]:
    """The ways in which bytes get into a text."""
    return {
        secret.hex(),
        secret.hex().upper(),
        str(int.from_bytes(secret, "big")),
        repr(secret),
        repr(list(secret)),
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
        secret.decode("latin-1"),
        quote(secret),
    }


def found_in(text: str, secret: bytes) -> set[str]:
    """Those spellings of a secret that stand in a text, wherever lines end."""
    return {spelling for spelling in spellings(secret) if _joined(spelling) in _joined(text)}


def _joined(text: str) -> str:
    return re.sub(r"\s|\\n", "", text)


@pytest.mark.parametrize("secret", [RIGHT.encode(), bytes(range(200, 232))], ids=["text", "bytes"])
def test_a_secret_is_found_however_it_is_spelled(secret: bytes) -> None:
    for spelling in spellings(secret):
        assert found_in(f"a line with {spelling} in it", secret)
        assert found_in(f"one in two: {spelling[:20]}\n{spelling[20:]}", secret)
    assert not found_in("a line without it", secret)


# -- a node in a process of its own


@contextmanager
def running(data_dir: Path, *options: str) -> Iterator[tuple[Client, subprocess.Popen[str]]]:
    """`codex`, logging everything it can, until it has stopped."""
    own = [f"--data-dir={data_dir}", "--api-port=0", "--log-level=trace", *ALONE]
    command = [sys.executable, "-m", "codex", *own, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = None
            while found is None:
                line = process.stderr.readline()
                assert line, process.wait()
                found = re.search(r"The API listens on http://127\.0\.0\.1:(\d+)", line)
            yield Client("127.0.0.1", int(found[1])), process
        finally:
            process.send_signal(signal.SIGTERM)


def token_file(tmp_path: Path, token: str) -> Path:
    path = tmp_path / "token"
    path.write_text(token + "\n")
    path.chmod(0o600)
    return path


async def bear_tokens(client: Client) -> list[int]:
    """Send tokens wherever callers put them, in heads good and bad; the statuses that came back."""
    statuses = []
    for token in (RIGHT, WRONG):
        headers = [("Authorization", f"Bearer {token}")]
        for method, path, more in (
            ("GET", "/space", []),
            ("POST", "/data", []),
            ("GET", f"/data/{CID}/network/stream", []),
            ("GET", "/nothing", []),
            ("POST", "/debug/chronicles/loglevel?level=TRACE", []),
            ("POST", "/debug/chronicles/loglevel?level=loud", []),
            ("GET", f"/space?token={token}", []),
            ("GET", f"/data/{CID}?token={token}", []),
            ("GET", "/space", headers),  # twice
            ("GET", "/space", [("Authorization", f"Basic {base64.b64encode(token.encode()).decode()}")]),
            ("GET", "/space", [("Cookie", f"token={token}")]),
        ):
            reply = await client.ask(method, BASE + path, headers=[*headers, *more], body=b"some bytes")
            statuses.append(reply.status)
        for sent in (
            head("GET", f"{BASE}/ws?token={token}", "a", [*_UPGRADE]),
            head("GET", f"{BASE}/ws", "a", [*_UPGRADE, *headers, ("Sec-WebSocket-Protocol", token)]),
            head("GET", BASE + "/space", "a", [*headers, ("X", "x" * 10_000)]),
            f"GET {BASE}/space HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode(),  # no Host
            head("POST", BASE + "/data", "a", [*headers, ("Content-Length", "1000")]) + b"cut",
            head("POST", BASE + "/data", "a", [*headers, ("Transfer-Encoding", "chunked")]) + b"no chunk\r\n",
            f"GET {BASE}/space HTTP/1.1\r\nAuthorization: Bearer {token}".encode(),  # no end
        ):
            async with client.link() as link:
                statuses.append(await _status(link, sent))
    return statuses


_UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


async def _status(link: Link, sent: bytes) -> int:
    """The status of the reply to what was sent; 0 when there is none before the caller gives up."""
    with trio.move_on_after(1):
        try:
            await link.send(sent)
            await link.stream.send_eof()
            said = await link.rest()
        except trio.BrokenResourceError:
            return 0
        # By hand: one of the replies changes to WebSocket, which is no HTTP any more.
        return int(said[9:12]) if said.startswith(b"HTTP/1.1 ") else 0
    return 0


@pytest.mark.parametrize("form", ["json", "nocolors"])
async def test_whatever_is_sent_no_token_and_no_key_is_logged(tmp_path: Path, form: str) -> None:
    log = tmp_path / "log"
    options = [f"--api-token-file={token_file(tmp_path, RIGHT)}", f"--log-file={log}", f"--log-format={form}"]
    with running(tmp_path / "data", *options) as (client, process):
        statuses = await bear_tokens(client)
        process.send_signal(signal.SIGTERM)
        _, said = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 0
    assert {200, 400, 401, 404, 431, 500} <= set(statuses)
    key = (tmp_path / "data" / "key").read_bytes()
    written = log.read_text("utf-8") + said
    assert "upload" in written
    assert written.count("\n") > 20
    for secret in (RIGHT.encode(), WRONG.encode(), key, key[-32:]):
        assert found_in(written, secret) == set()


def refused(tmp_path: Path, *options: str) -> str:
    """What `codex` says, when it does not start."""
    command = [
        sys.executable,
        "-m",
        "codex",
        f"--data-dir={tmp_path / 'data'}",
        "--log-level=trace",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    return done.stdout + done.stderr


@pytest.mark.parametrize("spoil", ["x y", "\n\n?", "é"])
def test_a_token_that_is_refused_is_not_shown(tmp_path: Path, spoil: str) -> None:
    path = token_file(tmp_path, RIGHT + spoil)
    said = refused(tmp_path, f"--api-token-file={path}")
    assert str(path) in said
    assert found_in(said, RIGHT.encode()) == set()


def test_a_key_that_is_refused_is_not_shown(tmp_path: Path) -> None:
    key = tmp_path / "key"
    load_or_create(key, SeededEntropy("alice"))
    good = key.read_bytes()
    for bad in (good[:-1], good + b"x", good[-32:], good.hex().encode()):
        key.write_bytes(bad)
        said = refused(tmp_path, f"--net-privkey={key}")
        assert str(key) in said
        assert found_in(said, bad) | found_in(said, good) | found_in(said, good[-32:]) == set()


# -- bugs


@pytest.mark.parametrize("form", ["json", "nocolors", "colors"])
def test_a_traceback_shows_no_values(form: str) -> None:
    stream = io.StringIO()
    with configured(LogConfig("trace", form), stream=stream):
        log = get_logger("api")
        try:
            _fail(RIGHT)
        except ZeroDivisionError as error:
            log.exception("a call failed")
            log.error("service crashed", exc_info=error)
    assert stream.getvalue().count("ZeroDivisionError") >= 2
    assert found_in(stream.getvalue(), RIGHT.encode()) == set()


def _fail(token: str) -> float:
    return len(token) / 0


@pytest.mark.parametrize("form", ["json", "nocolors"])
async def test_a_bug_in_a_route_shows_nothing_of_the_request_but_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    @asynccontextmanager
    async def broken(*args: object, **options: object) -> AsyncIterator[Retrieval]:
        raise ZeroDivisionError
        yield  # type: ignore[unreachable]  # makes it a generator

    async def broken_too(*args: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Node, "retrieve", broken)
    monkeypatch.setattr(Node, "store", broken_too)
    monkeypatch.setattr(Node, "space", broken_too)
    stream = io.StringIO()
    headers = [("Authorization", f"Bearer {RIGHT}"), ("Cookie", f"token={WRONG}")]
    with configured(LogConfig("trace", form), stream=stream):
        async with open_served_node(tmp_path) as served:
            for method, path in (("GET", f"/data/{CID}"), ("POST", "/data"), ("GET", "/space")):
                reply = await served.client.ask(
                    method, f"{path}?token={RIGHT}", headers=headers, body=b"some bytes"
                )
                assert reply.status == 500
    written = stream.getvalue()
    assert written.count("ZeroDivisionError") >= 3
    assert f"{BASE}/data/{CID}" in written
    assert found_in(written, RIGHT.encode()) | found_in(written, WRONG.encode()) == set()


def test_values_that_hold_secrets_do_not_show_them(tmp_path: Path) -> None:
    identity = load_or_create(tmp_path / "key", SeededEntropy("alice"))
    key = (tmp_path / "key").read_bytes()
    config = Config(tmp_path)
    for shown in (repr(identity), str(identity), repr(config)):
        assert found_in(shown, key) | found_in(shown, key[-32:]) == set()
    assert str(identity.peer_id) in repr(identity)
