"""Anything may come over the wire: there is always a sensible reply or an end, and the node lives on."""

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from codex.testing.http import Link, NoReply, Reply, head
from codex.testing.nodes import ServedNode, holdings, open_served_node

PREFIX = "/api/codex/v1"
CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
ID = "0x" + "12" * 32

# 500 where the network's nodes say 500 too, 503 for what this node has not.
DOCUMENTED = {
    500: (
        "Request do not have body available",
        "Empty leaves",
        "Please specify one of: trace, debug, info, notice, warn, error or fatal",
        "Directly deleting a block that is part of a dataset is not allowed.",
    ),
    503: ("Persistence is not enabled",),
}

token = st.text(st.sampled_from("abcXYZ019-_.~!$&'*+"), min_size=1, max_size=12)
# What a request line may hold: no spaces and no control characters, but everything else that is one byte.
visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
escaped = st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw))
near_cid = st.builds(
    lambda at, char: CID[:at] + char + CID[at + 1 :],
    st.integers(0, len(CID) - 1),
    st.sampled_from("1zZ0OIl/%?#+ ").map(lambda char: "%20" if char == " " else char),
)
segment = st.one_of(
    st.just(CID), near_cid, token, visible, escaped, st.sampled_from(["", ".", "..", "%00", "%2f", ID, "Qm"])
)
known = st.sampled_from(
    [
        "data",
        "data/{}",
        "data/{}/exists",
        "data/{}/network",
        "data/{}/network/stream",
        "data/{}/network/manifest",
        "data/{}/pin",
        "data/{}/verify",
        "jobs",
        "jobs/{}",
        "scrub",
        "backup",
        "peers",
        "health",
        "ready",
        "openapi.yaml",
        "ws",
        "space",
        "spr",
        "peerid",
        "connect/{}",
        "debug/info",
        "debug/chronicles/loglevel",
        "debug/peer/{}",
        "sales/slots",
        "sales/slots/{}",
        "sales/availability",
        "sales/availability/{}",
        "sales/availability/{}/reservations",
        "storage/request/{}",
        "storage/purchases",
        "storage/purchases/{}",
    ]
)
path = st.one_of(
    st.builds(lambda shape, part: f"{PREFIX}/{shape.replace('{}', part)}", known, segment),
    st.lists(segment, max_size=5).map(lambda parts: PREFIX + "/" + "/".join(parts)),
    visible.map(lambda text: "/" + text),
)
query = st.one_of(
    st.just(""),
    visible.map(lambda text: "?" + text),
    st.builds(lambda level: f"?level={level}", visible),
    st.builds(lambda kind, state: f"?kind={kind}&state={state}", escaped, visible),
    st.builds(lambda one, two: f"?addrs={one}&addrs={two}", escaped, visible),
)
method = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "FOO", "get"])
header_value = st.one_of(
    visible,
    st.text(
        st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=60
    ).map(str.strip),
)
header = st.one_of(
    st.tuples(
        st.sampled_from(
            [
                "Content-Type",
                "Content-Disposition",
                "Origin",
                "Accept",
                "Range",
                "Connection",
                "Upgrade",
                "Cookie",
                "Authorization",
                "If-None-Match",
                "X-Forwarded-For",
                "Accept-Encoding",
                "Content-Encoding",
            ]
        ),
        header_value,
    ),
    st.tuples(
        st.just("Content-Disposition"), header_value.map(lambda value: f'attachment; filename="{value}"')
    ),
    st.tuples(token.filter(lambda name: name.lower() != "expect"), header_value),
)
request = st.tuples(
    method, path, query, st.lists(header, max_size=4), st.one_of(st.just(b""), st.binary(max_size=200))
)
Request = tuple[str, str, str, list[tuple[str, str]], bytes]


def is_sensible(verb: str, reply: Reply) -> bool:
    """Whether a reply is one of those that a caller may get for garbage."""
    if reply.status >= 500:
        if verb == "HEAD":
            return reply.status in DOCUMENTED  # whoever asks so does not get to see the text
        return any(reply.text.startswith(text) for text in DOCUMENTED.get(reply.status, ()))
    return 200 <= reply.status < 500


async def asked(link: Link, request: Request, host: str) -> Reply | None:
    """The reply to a request, None when the server ended the connection instead."""
    verb, target, more, headers, body = request
    await link.send(head(verb, target + more, host, headers, len(body) if body else None) + body)
    try:
        return await link.reply(verb)
    except NoReply:
        return None


@pytest.mark.parametrize("cors_origin", [None, "*", "https://alice.example"])
@settings(max_examples=25, deadline=None)
@given(requests=st.lists(request, min_size=1, max_size=12))
@example(requests=[("GET", f"{PREFIX}/data/%ff", "", [], b"")])
@example(requests=[("POST", f"{PREFIX}/data", "", [("Content-Disposition", 'filename="')], b"x")])
@example(requests=[("POST", f"{PREFIX}/data", "", [("Content-Type", "\u0100")], b"x")])
@example(requests=[("OPTIONS", "/", "", [("Origin", "x")], b"")])
async def test_any_request_gets_a_sensible_reply(cors_origin: str | None, requests: list[Request]) -> None:
    async with open_served_node(cors_origin=cors_origin) as served:
        cid = await served.node.store(CONTENT)
        for one in requests:
            async with served.client.link() as link:
                reply = await asked(link, one, "a")
            assert reply is not None, f"no reply to {one}"
            assert is_sensible(one[0], reply), f"{one}: {reply}"
            assert b"<html" not in reply.body.lower()
            assert b"Traceback" not in reply.body
        assert (await served.client.get("/space")).status == 200
        if not any(verb == "DELETE" for verb, *_ in requests):
            async with served.node.retrieve(cid) as dataset:
                assert await dataset.read() == CONTENT


@settings(max_examples=15, deadline=None)
@given(requests=st.lists(request, min_size=2, max_size=8))
async def test_any_requests_on_one_connection_are_answered_in_turn(requests: list[Request]) -> None:
    async with open_served_node() as served:
        async with served.client.link() as link:
            for one in requests:
                reply = await asked(link, one, "a")
                assert reply is not None, f"no reply to {one}"
                assert is_sensible(one[0], reply), f"{one}: {reply}"
                if "close" in (reply.header("connection") or "").lower():
                    break
            else:
                await link.send(head("GET", f"{PREFIX}/space", "a"))
                assert (await link.reply()).status == 200
        assert (await served.client.get("/space")).status == 200


@settings(max_examples=40, deadline=None)
@given(data=st.lists(st.binary(max_size=400), min_size=1, max_size=4))
@example(data=[b"\r\n\r\n"])
@example(data=[b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\n"])
@example(
    data=[b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n"]
)
@example(
    data=[b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"-1\r\n"]
)
@example(
    data=[b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"f" * 90]
)
async def test_any_bytes_end_the_connection_and_nothing_else(data: list[bytes]) -> None:
    async with open_served_node() as served:
        before = await holdings(served.node)
        async with served.client.link() as link:
            try:
                for piece in data:
                    await link.send(piece)
                await link.stream.send_eof()
            except trio.BrokenResourceError:
                pass  # it has heard enough
            answer = await link.rest()
        assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), answer
        assert await holdings(served.node) == before
        assert (await served.client.get("/space")).status == 200


@settings(max_examples=40, deadline=None)
@given(header=header_value, name=header_value)
@example(header="attachment", name="a\u0085b")
@example(header="", name="")
@example(header="attachment", name="%0d%0aSet-Cookie: x")
@example(header="attachment", name="\u202egnp.exe")
async def test_whatever_name_is_stored_comes_back_as_one_header(header: str, name: str) -> None:
    disposition = f'{header}; filename="{name}"'
    async with open_served_node() as served:
        reply = await served.client.post("/data", CONTENT, headers=[("Content-Disposition", disposition)])
        assert reply.status in (200, 422)
        if reply.status == 200:
            got = await served.client.get(f"/data/{reply.text}")
            assert got.body == CONTENT
            stored = (await served.client.get("/data")).json()["content"][0]["manifest"]["filename"]
            said = (got.header("content-disposition") or "").encode("latin-1").decode("utf-8")
            assert said == ("attachment" if stored is None else f'attachment; filename="{stored}"')


@pytest.mark.parametrize("count", [100])
async def test_many_connections_that_say_nothing_are_no_matter(served: ServedNode, count: int) -> None:
    async with trio.open_nursery() as nursery:

        async def silent(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with served.client.link() as link:
                await link.send(b"GET")
                task_status.started()
                await trio.sleep_forever()

        for _ in range(count):
            await nursery.start(silent)
        assert (await served.client.post("/data", CONTENT)).text == CID
        nursery.cancel_scope.cancel()
    assert (await served.client.get(f"/data/{CID}")).body == CONTENT
