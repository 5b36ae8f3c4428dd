"""One stream between two processes on loopback: ours over Noise and mplex, beside a TLS stream of trio's.

Both move the same messages, as large as a delivery of 20 blocks. The stream of ours is read message by
message; that of TLS is only drained.
"""

import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import trio
from children import HERE, running
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from floors import Content
from harness import MIB, Bench, BenchFailed, Contender, Figure, Line, Row, quotients, rate
from loop import LIMIT, Steps
from p2p_peer import NAME, Only, drop_messages

from codex.p2p import Identity
from codex.p2p.connection import Connection, open_connection
from codex.p2p.framing import write_message
from codex.p2p.limits import Limits
from codex.p2p.streams import Stream
from codex.runtime import LoopWatch, SystemClock, SystemEntropy

PARTS = 20  # pieces of 64 KiB in a message
WANTED = 0.8  # of the TLS stream, whose cipher the processor has instructions for


def figures(bench: Bench) -> Iterator[Figure]:
    """The rate of one stream, and the longest steps of both loops meanwhile."""
    size = bench.size(1024 * MIB, 64 * MIB)
    with bench.scratch("tmpfs") as directory:
        certificate = directory / "peer.pem"
        certificate.write_bytes(self_signed())
        message = message_of_blocks()
        count = size // sum(map(len, message))
        moved = count * sum(map(len, message))
        with running(str(HERE / "p2p_peer.py"), str(certificate)) as child:
            ports = json.loads(child.line("listening on "))
            rows = bench.interleave(
                "MB/s",
                [
                    Contender(
                        "our stream", lambda _: rate(moved, lambda: _ours(ports["p2p"], message, count))
                    ),
                    Contender(
                        "a: trio's TLS stream",
                        lambda _: moved_by_tls(ports["tls"], certificate, message, moved),
                    ),
                ],
            )
        with running(str(HERE / "p2p_peer.py"), str(certificate), "watch") as child:
            port = json.loads(child.line("listening on "))["p2p"]
            receiving = Steps(child)
            sending: list[float] = []
            for number in range(bench.rounds):
                bench.say(f"steps, round {number + 1} of {bench.rounds}")
                watch = LoopWatch()
                receiving.during(lambda watch=watch: _ours(port, message, count, watch))  # type: ignore[misc]
                sending.append(watch.worst_cpu * 1000)
    own, tls = rows
    yield Figure(
        f"one stream between two processes on loopback, {size // MIB} MiB in messages of 1.3 MB",
        rows,
        [Line("our stream / a", quotients(own, tls), WANTED)],
        ["with the handshakes, which take some milliseconds"],
    )
    yield Figure(
        f"longest step of the loop, one stream, {size // MIB} MiB",
        [
            Row("the sender", "CPU ms", tuple(sending)),
            Row("the receiver", "CPU ms", tuple(receiving.cpu)),
        ],
        [
            Line("the sender, worst round", (max(sending),), LIMIT, at_most=True, unit="CPU ms"),
            Line("the receiver, worst round", (max(receiving.cpu),), LIMIT, at_most=True, unit="CPU ms"),
        ],
    )


def message_of_blocks() -> list[bytes]:
    """The parts of one message, each as long as a block."""
    [piece, *_] = Content(2 * MIB).stamped(0)
    block = piece[: MIB // 16]
    return [block] * PARTS


def _ours(port: int, message: list[bytes], count: int, watch: LoopWatch | None = None) -> None:
    trio.run(_send_ours, port, message, count, instruments=[watch] if watch else [])


async def _send_ours(port: int, message: list[bytes], count: int) -> None:
    entropy = SystemEntropy()
    async with open_connection(
        await trio.open_tcp_stream("127.0.0.1", port),
        identity=Identity.generate(entropy),
        dialer=True,
        expect=None,
        protocols=Only(drop_messages),
        limits=Limits(),
        entropy=entropy,
        clock=SystemClock(),
    ) as connection:
        await _send(connection, message, count)


async def _send(connection: Connection, message: list[bytes], count: int) -> None:
    stream: Stream = await connection.open_stream(NAME)
    for _ in range(count):
        await write_message(stream, *message)
    await stream.send_eof()
    _check(await stream.receive_some(), message, count)


def moved_by_tls(port: int, certificate: Path, message: list[bytes], size: int) -> float:
    """MB/s at which about `size` bytes go over a TLS stream to a p2p_peer."""
    count = size // sum(map(len, message))
    return rate(count * sum(map(len, message)), lambda: _tls(port, certificate, message, count))


def _tls(port: int, certificate: Path, message: list[bytes], count: int) -> None:
    context = ssl.create_default_context(cafile=certificate)
    trio.run(_send_tls, port, context, b"".join(message), count)


async def _send_tls(port: int, context: ssl.SSLContext, message: bytes, count: int) -> None:
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context)
    async with stream:
        await stream.send_all((len(message) * count).to_bytes(8, "big"))
        for _ in range(count):
            await stream.send_all(message)
        _check(await stream.receive_some(64), [message], count)


def _check(said: bytes | memoryview, message: list[bytes], count: int) -> None:
    if int(bytes(said)) != sum(map(len, message)) * count:
        raise BenchFailed(f"the peer had {bytes(said)!r} bytes")


def self_signed() -> bytes:
    """A certificate for 127.0.0.1 and its key, as PEM."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + secret
