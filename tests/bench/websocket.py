"""The WebSocket: calls one after another, and bytes both ways, beside a bare trio-websocket server."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import trio
from children import HERE, running
from floors import Content
from harness import MIB, Bench, Contender, Figure, Line, quotients, rate, seconds
from nodes import RunningNode, running_node
from trio_websocket import WebSocketConnection, open_websocket_url

from codex.client import Client, open_client

PATH = "/api/codex/v1/ws"
RECEIVE = 262_144  # bytes read at once; the client's own too
PIECE = 262_144  # bytes of a message


def figures(bench: Bench) -> Iterator[Figure]:
    """Calls and data over the WebSocket of a node whose data is on each of the places."""
    for place in bench.places:
        with (
            bench.scratch(place) as directory,
            running(str(HERE / "bare_socket.py")) as peer,
            running_node(directory / "node") as node,
        ):
            port = int(peer.line("listening on "))
            yield _round_trips(bench, node, port, place)
            yield _upload(bench, node, port, place)
            yield _download(bench, node, port, place)


def _round_trips(bench: Bench, node: RunningNode, port: int, place: str) -> Figure:
    count = bench.size(2000, 200)
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "peers", "params": {}})

    def asked(target: str, text: str) -> Callable[[int], float]:
        async def ask(socket: WebSocketConnection) -> None:
            for _ in range(count):
                await socket.send_message(text)
                await socket.get_message()

        return lambda _: count / seconds(lambda: trio.run(_on_socket, target, ask))

    own, space, echo = bench.interleave(
        "a second",
        [
            Contender("the node, peers", asked(_url(node.port), request)),
            Contender("the node, space", asked(_url(node.port), request.replace("peers", "space"))),
            Contender("a: bare trio-websocket, the same text back", asked(_url(port), request)),
        ],
    )
    return Figure(
        f"calls over a WebSocket, one after another on one connection, data on {place}",
        [own, space, echo],
        [Line("the node, peers / a", quotients(own, echo), 0.3, stretch=True)],
        [
            "`peers` touches nothing; `space` asks the store, which is another task",
            "connecting is part of it",
        ],
    )


def _upload(bench: Bench, node: RunningNode, port: int, place: str) -> Figure:
    content = Content(bench.size(128 * MIB, 16 * MIB))
    size = content.size
    stored: list[str] = []

    def to_node(_: int) -> float:
        pieces = list(content.stamped(bench.stamp()))

        async def store(client: Client) -> None:
            stored.append(str(await client.store(_all(pieces), size=size)))

        return rate(size, lambda: trio.run(_on_client, node, store))

    def to_peer(_: int) -> float:
        pieces = list(content.stamped(bench.stamp()))

        async def send(socket: WebSocketConnection) -> None:
            async for piece in _all(pieces):
                await socket.send_message(piece)
            await socket.send_message("count")
            assert await socket.get_message() == str(size)

        return rate(size, lambda: trio.run(_on_socket, _url(port), send))

    own, peer = bench.interleave(
        "MB/s",
        [
            Contender("the node, until all is durable", to_node, lambda: node.delete(stored.pop())),
            Contender("a: bare trio-websocket that drops it", to_peer),
        ],
    )
    return Figure(
        f"upload over a WebSocket, {size // MIB} MiB, data on {place}",
        [own, peer],
        [Line("the node / a", quotients(own, peer), 0.5, stretch=True)],
        ["the sender masks every byte, as WebSockets ask for, on the processors that the server runs on"],
    )


def _download(bench: Bench, node: RunningNode, port: int, place: str) -> Figure:
    content = Content(bench.size(128 * MIB, 16 * MIB))
    size = content.size
    cid = node.upload(list(content.stamped(bench.stamp())), size)

    async def take(client: Client) -> None:
        async with client.retrieve(cid) as dataset:
            assert sum([len(piece) async for piece in dataset]) == size

    async def receive(socket: WebSocketConnection) -> None:
        await socket.send_message(f"give {size}")
        left = size
        while left:
            left -= len(await socket.get_message())

    own, peer = bench.interleave(
        "MB/s",
        [
            Contender("the node", lambda _: rate(size, lambda: trio.run(_on_client, node, take))),
            Contender(
                "a: bare trio-websocket, zeros",
                lambda _: rate(size, lambda: trio.run(_on_socket, _url(port), receive)),
            ),
        ],
    )
    return Figure(
        f"download over a WebSocket, {size // MIB} MiB, data on {place}",
        [own, peer],
        [Line("the node / a", quotients(own, peer), 0.5, stretch=True)],
    )


def _url(port: int) -> str:
    return f"ws://127.0.0.1:{port}{PATH}"


async def _on_socket(url: str, use: Callable[[WebSocketConnection], Awaitable[None]]) -> None:
    async with open_websocket_url(url, receive_buffer_size=RECEIVE) as socket:
        await use(socket)


async def _on_client(node: RunningNode, use: Callable[[Client], Awaitable[None]]) -> None:
    async with open_client(f"http://127.0.0.1:{node.port}") as client:
        await use(client)


async def _all(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            yield piece[start : start + PIECE]
