import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url, wrap_client_stream

from codex.devnet import server as server_module
from codex.devnet.chain import Chain
from codex.devnet.methods import Methods
from codex.devnet.server import LARGEST, Server, listening
from codex.devnet.transactions import Account
from codex.devnet.values import Message, keccak256
from codex.errors import PortTaken

ALICE = Account.of(keccak256(b"alice"))
SAYING = bytes.fromhex("60ff60005260aa60206000a15f5ff3")
UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
TOPIC = "0x" + "00" * 31 + "aa"


@pytest.fixture
def chain() -> Chain:
    return Chain(lambda: 1_700_000_000.0, accounts=[ALICE], funds=10**24)


def say(chain: Chain) -> None:
    """A transaction that leaves a log."""
    chain.send(chain.sign(Message(ALICE.address, None, SAYING, gas=200_000)))


@define
class Talk:
    """A WebSocket to a server: answers by their ids, and what is told for subscriptions."""

    socket: WebSocketConnection
    told: list[Any] = field(factory=list)
    asked: int = 0

    async def receive(self) -> Any:
        return json.loads(await self.socket.get_message())

    async def forever(self) -> None:
        while True:
            await self.receive()

    async def whole(self, method: str, *params: Any) -> Any:
        self.asked += 1
        request = {"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}
        await self.socket.send_message(json.dumps(request))
        while (message := await self.receive()).get("id") != self.asked:
            self.told.append(message["params"])
        return message

    async def ask(self, method: str, *params: Any) -> Any:
        return (await self.whole(method, *params))["result"]

    async def next(self) -> Any:
        """What is told next: the subscription and the item."""
        params = self.told.pop(0) if self.told else (await self.receive())["params"]
        return params["subscription"], params["result"]


@asynccontextmanager
async def talk(server: Server) -> AsyncIterator[Talk]:
    here, there = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, there)
        socket = await wrap_client_stream(nursery, here, "devnet", "/")
        yield Talk(socket)
        await socket.aclose()


async def post(server: Server, *requests: bytes) -> bytes:
    """What comes for bytes that are sent over a connection, up to its end."""
    here, there = memory_stream_pair()
    received = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, there)
        for request in requests:
            await here.send_all(request)
        await here.send_eof()
        while more := await here.receive_some():
            received += more
    return received


def http(body: bytes, method: bytes = b"POST", headers: bytes = b"") -> bytes:
    return b"%s / HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n%s" % (method, headers, len(body), body)


async def test_a_socket_asks_and_is_answered(chain: Chain) -> None:
    async with talk(Server(Methods(chain))) as alice:
        assert await alice.ask("eth_chainId") == "0x7a69"
        assert await alice.whole("eth_nothing") == {
            "jsonrpc": "2.0",
            "id": 2,
            "error": {"code": -32601, "message": "the method eth_nothing does not exist/is not available"},
        }


async def test_what_a_contract_says_is_data_of_the_error(chain: Chain) -> None:
    async with talk(Server(Methods(chain))) as alice:
        answer = await alice.whole("eth_call", {"data": "0x602a5f5260205ffd"}, "latest")
    assert answer["error"] == {
        "code": 3,
        "message": "execution reverted",
        "data": "0x" + (42).to_bytes(32, "big").hex(),
    }


async def test_new_blocks_and_logs_are_told_to_who_subscribed(chain: Chain) -> None:
    server = Server(Methods(chain))
    async with talk(server) as alice, talk(server) as bob:
        heads = await alice.ask("eth_subscribe", "newHeads")
        logs = await alice.ask("eth_subscribe", "logs", {"topics": [TOPIC]})
        await alice.ask("eth_subscribe", "logs", {"address": "0x" + "00" * 20})
        every = await bob.ask("eth_subscribe", "logs")
        say(chain)
        name, head = await alice.next()
        assert (name, head["number"], head["hash"]) == (heads, "0x1", "0x" + chain.latest.hash.hex())
        assert "transactions" not in head
        name, log = await alice.next()
        assert (name, log["blockNumber"], log["topics"], log["removed"]) == (logs, "0x1", [TOPIC], False)
        assert await bob.next() == (every, log)
        assert await alice.ask("eth_unsubscribe", heads) is True
        assert await alice.ask("eth_unsubscribe", heads) is False
        say(chain)
        assert (await alice.next())[0] == logs
        assert alice.told == []


async def test_logs_of_another_branch_are_taken_back(chain: Chain) -> None:
    async with talk(Server(Methods(chain))) as alice:
        await alice.ask("eth_subscribe", "logs")
        say(chain)
        (_, before) = await alice.next()
        chain.reorganise(1)
        (_, gone), (_, again) = [await alice.next() for _ in range(2)]
        assert gone == {**before, "removed": True}
        assert (again["blockNumber"], again["removed"]) == ("0x2", False)
        assert again["blockHash"] != gone["blockHash"]


@pytest.mark.parametrize(
    "params", [[], ["syncing"], ["logs", {}, 1], ["newHeads", {}], [["logs"]], ["logs", {"topics": 5}]]
)
async def test_there_is_nothing_else_to_subscribe_to(chain: Chain, params: list[Any]) -> None:
    async with talk(Server(Methods(chain))) as alice:
        assert (await alice.whole("eth_subscribe", *params))["error"]["code"] == -32602


async def test_subscriptions_are_bounded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SUBSCRIPTIONS", 2)
    async with talk(Server(Methods(chain))) as alice:
        first = await alice.ask("eth_subscribe", "newHeads")
        await alice.ask("eth_subscribe", "newHeads")
        assert "error" in await alice.whole("eth_subscribe", "newHeads")
        await alice.ask("eth_unsubscribe", first)
        assert await alice.ask("eth_subscribe", "newHeads") != first


async def test_who_does_not_take_what_it_subscribed_to_is_disconnected(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(server_module, "BEHIND", 10)
    here, there = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Server(Methods(chain)).serve, there)
        socket = await wrap_client_stream(nursery, here, "devnet", "/", message_queue_size=0)
        alice = Talk(socket)
        await alice.ask("eth_subscribe", "newHeads")
        # Nothing is read from here on, and the pipe holds nothing: the first block waits, ten are kept.
        chain.mine(200)
        with pytest.raises(ConnectionClosed):
            await alice.forever()
        await socket.aclose()


async def test_an_empty_batch_and_one_that_is_too_large_are_refused(chain: Chain) -> None:
    server = Server(Methods(chain))
    for batch in ([], [{}] * 1001):
        received = await post(server, http(json.dumps(batch).encode()))
        assert json.loads(received.split(b"\r\n\r\n")[1])["error"]["code"] == -32600


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b'{"id":7,"method":"net_version"}', {"jsonrpc": "2.0", "id": 7, "result": "31337"}),
        (b'{"id":"x","method":"net_version","params":[]}', {"jsonrpc": "2.0", "id": "x", "result": "31337"}),
        (b'{"id":null,"method":"net_version"}', {"jsonrpc": "2.0", "id": None, "result": "31337"}),
        (
            b'[{"id":1,"method":"net_version"},{"method":"evm_mine"},5]',
            [
                {"jsonrpc": "2.0", "id": 1, "result": "31337"},
                {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}},
            ],
        ),
        (b"{", {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}),
        (b"\xff", {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}),
        (b"[" * 100_000, {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "parse error"}}),
        (b"5", {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}}),
        (
            b'{"id":1,"method":5}',
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}},
        ),
        (
            b'{"id":1,"method":"net_version","params":{"a":1}}',
            {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "invalid request"}},
        ),
    ],
)
async def test_http_asks_and_is_answered(chain: Chain, body: bytes, wanted: Any) -> None:
    head, answer = (await post(Server(Methods(chain)), http(body))).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: application/json" in head.lower()
    assert json.loads(answer) == wanted


async def test_a_notification_is_done_and_not_answered(chain: Chain) -> None:
    received = await post(Server(Methods(chain)), http(b'{"method":"evm_mine"}'))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"\r\n\r\n")
    assert chain.latest.number == 1


async def test_a_connection_serves_request_after_request(chain: Chain) -> None:
    request = http(b'{"id":1,"method":"evm_mine"}', headers=b"expect: 100-continue\r\n")
    half = len(request) // 2
    received = await post(Server(Methods(chain)), request, request[:half], request[half:], request)
    assert received.count(b'"result": "0x0"') == 3
    assert chain.latest.number == 3


async def test_subscriptions_are_not_for_http(chain: Chain) -> None:
    received = await post(
        Server(Methods(chain)), http(b'{"id":1,"method":"eth_subscribe","params":["newHeads"]}')
    )
    assert b"-32601" in received


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (http(b"", b"GET"), b"405"),
        (http(b"x" * (LARGEST + 1)), b"413"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nhost: x\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"200"),
    ],
)
async def test_other_requests_get_a_status(chain: Chain, request_: bytes, status: bytes) -> None:
    received = await post(Server(Methods(chain)), request_)
    assert received.split()[1] == status


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"what is this\r\n\r\n",
        b"x" * 20_000,
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n\r\n",
        UPGRADE + b"\xff\xff\xff\xff",
    ],
)
async def test_what_makes_no_sense_ends_the_connection_and_nothing_else(
    chain: Chain, sent: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    server = Server(Methods(chain))
    with trio.fail_after(60):
        await post(server, sent)
    assert b"31337" in await post(server, http(b'{"id":1,"method":"net_version"}'))


async def test_who_says_nothing_is_not_waited_for(
    chain: Chain, autojump_clock: trio.testing.MockClock
) -> None:
    here, there = memory_stream_pair()
    await Server(Methods(chain)).serve(there)
    assert await here.receive_some() == b""
    assert trio.current_time() == pytest.approx(server_module.PATIENCE)


async def test_a_bug_is_an_answer_and_a_line_of_the_log(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = Methods(chain)

    async def broken(method: str, params: list[Any]) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(methods, "answer", broken)
    received = await post(Server(methods), http(b'{"id":1,"method":"eth_chainId"}'))
    assert b"-32603" in received


async def test_both_are_on_one_port(chain: Chain) -> None:
    async with listening(Server(Methods(chain)), "127.0.0.1", 0) as port:
        async with open_websocket_url(f"ws://127.0.0.1:{port}") as socket:
            assert await Talk(socket).ask("net_version") == "31337"
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        async with stream:
            await stream.send_all(http(b'{"id":1,"method":"net_version"}'))
            assert b"31337" in await stream.receive_some(10_000)
        with pytest.raises(PortTaken):
            async with listening(Server(Methods(chain)), "127.0.0.1", port):
                pass
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", port)


async def test_who_leaves_without_a_word_is_let_go(chain: Chain) -> None:
    """In the middle of what is told, of a question, and of an answer."""
    server = Server(Methods(chain))
    for told in (True, False):
        here, there = memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve, there)
            async with trio.open_nursery() as client:
                socket = await wrap_client_stream(client, here, "devnet", "/")
                if told:
                    await Talk(socket).ask("eth_subscribe", "newHeads")
                else:
                    await socket.send_message('{"id":1,"method":"evm_mine"}')
                await here.aclose()
                client.cancel_scope.cancel()
            chain.mine(3)


async def test_a_connection_that_breaks_breaks_no_other(chain: Chain) -> None:
    async with listening(Server(Methods(chain)), "127.0.0.1", 0) as port:
        for sent in (
            b"",
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{",
            http(b"{}") * 50,
            UPGRADE,
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(sent)
            # Closed like this the other side is told that it was reset.
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
            chain.mine()
        async with open_websocket_url(f"ws://127.0.0.1:{port}") as socket:
            assert await Talk(socket).ask("eth_blockNumber") == "0x4"
