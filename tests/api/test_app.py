"""Routing, cross-origin headers and errors over the wire: what is not a call is a bare 404."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from attrs import evolve

from codex.api.app import BODY_TIMEOUT, MAX_JSON
from codex.api.cors import PREFIX
from codex.testing.http import Client, Reply
from codex.testing.nodes import open_served_node

ALICE = "https://alice.example"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"

GETS = [
    "/data",
    f"/data/{CID}/exists",
    "/space",
    "/spr",
    "/peerid",
    "/debug/info",
    "/sales/slots",
    "/storage/purchases",
]
POSTS = ["/debug/chronicles/loglevel", f"/data/{CID}/network", "/sales/availability"]


def cross_origin(reply: Reply) -> dict[str, str]:
    """The headers of a reply that browsers look at."""
    names = ("access-control-", "vary")
    return {name: value for name, value in reply.headers if name.startswith(names)}


def is_bare_404(reply: Reply) -> bool:
    """Whether a reply says nothing but 404."""
    return (reply.status, reply.body) == (404, b"")


# -- routing


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/data/",
        "/space/",
        "/Space",
        "/data//",
        f"//data/{CID}",
        f"/data/{CID}/",
        f"/data/{CID}/network/stream/",
        f"/data/{CID}/network/manifest/",
        f"/data/{CID}/nothing",
        f"/data/{CID}/network",
        f"/data/{CID}/network/stream/more",
        "/debug/chronicles/loglevel",
        "/sales/slots/1/2",
        "/debug/info/../../space",
        "/%2e%2e/space",
        "/space%2f",
        "/space;x=y",
    ],
)
async def test_what_is_no_call_is_a_bare_404(client: Client, path: str) -> None:
    reply = await client.get(path)
    if path == "/data/":
        assert (reply.status, reply.text) == (400, "Incorrect Cid")  # the reference takes it for an empty CID
    else:
        assert is_bare_404(reply)


@pytest.mark.parametrize(
    "target", ["/", "/api", "/api/codex", "/api/codex/v1", "/api/codex/v2/space", "/space"]
)
async def test_outside_the_api_there_is_nothing(client: Client, target: str) -> None:
    async with client.link() as link:
        assert is_bare_404(await link.ask("GET", target))


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "FOO"])
async def test_a_wrong_method_is_a_bare_404(client: Client, method: str, path: str) -> None:
    assert is_bare_404(await client.ask(method, path))


@pytest.mark.parametrize("path", [*POSTS, "/data"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_wrong_method_instead_of_post_is_a_bare_404(client: Client, method: str, path: str) -> None:
    assert is_bare_404(await client.ask(method, path))


@pytest.mark.parametrize("path", GETS)
async def test_head_tells_what_get_would(client: Client, path: str) -> None:
    looked, got = await client.ask("HEAD", path), await client.get(path)
    assert (looked.status, looked.body) == (got.status, b"")
    for name in ("content-type", "content-length"):
        assert looked.header(name) == got.header(name)


@pytest.mark.parametrize("path", ["/data/", f"/data/{CID}x", "/data/%00"])
async def test_deleting_what_is_no_cid_is_refused(client: Client, path: str) -> None:
    reply = await client.delete(path)
    assert (reply.status, reply.text) == (400, "Incorrect Cid")


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_a_wrong_method_on_a_dataset_is_a_bare_404(client: Client, method: str) -> None:
    assert is_bare_404(await client.ask(method, f"/data/{CID}"))
    assert is_bare_404(await client.ask(method, f"/data/{CID}/network/stream"))


async def test_a_wrong_method_with_a_body_does_not_spoil_the_connection(client: Client) -> None:
    async with client.link() as link:
        assert is_bare_404(await link.ask("PUT", f"{PREFIX}/data/{CID}", body=b"x" * 1000))
        assert (await link.ask("GET", f"{PREFIX}/space")).status == 200


async def test_a_query_changes_no_route(client: Client) -> None:
    assert (await client.get("/space?x=y&z")).status == 200
    assert (await client.get("/space?")).status == 200


async def test_a_target_may_be_a_whole_url(client: Client) -> None:
    async with client.link() as link:
        reply = await link.ask("GET", f"http://{client.host}:{client.port}{PREFIX}/space")
        assert reply.status in (200, 404)  # a proxy's way to ask; no harm either way


async def test_no_reply_names_the_software_behind_it(client: Client) -> None:
    for path in ("/space", "/nothing", f"/data/{CID}", "/data/zDv"):
        assert (await client.get(path)).header("server") is None


# -- errors


@pytest.mark.parametrize(
    "path",
    [
        "/data/<script>alert(1)<%2Fscript>",
        "/data/<script>alert(1)<%2Fscript>/exists",
        "/data/<script>/network/manifest",
        "/data/<script>/network/stream",
        "/connect/<script>alert(1)<%2Fscript>",
        "/<script>alert(1)<%2Fscript>",
    ],
)
async def test_an_error_echoes_no_markup(client: Client, path: str) -> None:
    reply = await client.get(path)
    assert 400 <= reply.status < 500
    assert (reply.header("content-type") or "text/plain").startswith("text/plain")
    assert b"<script" not in reply.body
    assert b"<html" not in reply.body.lower()


async def test_an_error_that_repeats_its_cause_is_plain_text(client: Client) -> None:
    reply = await client.post(
        "/data", b"x", headers=[("Content-Type", "no/such; a=<script>alert(1)</script>")]
    )
    assert reply.status == 422
    assert (reply.header("content-type") or "").startswith("text/plain")


async def test_a_body_that_is_not_asked_for_is_bounded(client: Client) -> None:
    async with client.link() as link:
        head = f"POST {PREFIX}/debug/chronicles/loglevel?level=INFO HTTP/1.1\r\nHost: a\r\n"
        await link.send(f"{head}Content-Length: 100000000\r\n\r\n".encode())
        reply = await link.reply("POST")
        assert reply.status in (200, 413)


@pytest.mark.parametrize("accept", ["*/*", "application/problem+json"])
async def test_a_body_that_is_too_long_is_refused_with_a_reason(client: Client, accept: str) -> None:
    head = f"POST {PREFIX}/backup HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n"
    async with client.link() as link:
        await link.send(f"{head}Content-Length: {MAX_JSON + 1}\r\n\r\n".encode())
        reply = await link.reply("POST")
    assert reply.status == 413
    assert "The body of a call has at most 1048576 bytes" in reply.text
    assert ("too-large" in reply.text) == (accept != "*/*")


async def test_a_body_that_does_not_come_is_not_waited_for(
    client: Client, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.05  # for the loopback interface to deliver
    async with evolve(client, patience=10_000.0).link() as link:
        await link.send(f"POST {PREFIX}/backup HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{{".encode())
        begun = trio.current_time()
        reply = await link.reply("POST")
        assert (reply.status, reply.text) == (408, "Request Timeout")
        assert trio.current_time() - begun == pytest.approx(BODY_TIMEOUT, abs=1)


async def test_a_websocket_that_is_asked_for_as_a_page_wants_an_upgrade(client: Client) -> None:
    reply = await client.get("/ws")
    assert (reply.status, reply.text) == (426, "This is a WebSocket")
    assert reply.header("upgrade") == "websocket"
    assert is_bare_404(await client.ask("PUT", "/ws"))


# -- errors as problem details

PROBLEM = [("Accept", "application/problem+json")]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "no-such-call"),
        ("GET", f"/data/{CID}", 404, "block-not-found"),
        ("GET", f"/data/{CID}/network/manifest", 404, "block-not-found"),
        ("GET", "/data/zDv", 400, "incorrect-cid"),
        ("GET", "/data/zDv/exists", 400, "incorrect-cid"),
        ("POST", "/data", 500, "empty-dataset"),
        ("GET", "/sales/slots", 503, "not-enabled"),
        ("GET", "/connect/x", 400, "incorrect-peer-id"),
        ("GET", "/jobs/x", 404, "not-found"),
        ("POST", "/backup", 400, "decode"),
        ("POST", "/debug/chronicles/loglevel", 400, "missing-level"),
    ],
)
async def test_who_prefers_details_gets_them(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    reply = await client.ask(method, path, headers=PROBLEM)
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    details = reply.json()
    assert (details["status"], details["code"]) == (status, code)
    assert details["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/space", "GET, HEAD"),
        ("GET", "/scrub", "POST"),
        ("POST", "/jobs/1", "DELETE, GET, HEAD"),
        ("PATCH", "/data", "GET, HEAD, POST"),
        ("PUT", f"/data/{CID}", "DELETE, GET, HEAD"),
        ("DELETE", f"/data/{CID}/network/stream", "GET, HEAD"),
        ("GET", f"/data/{CID}/network", "POST"),
        ("POST", f"/data/{CID}/pin", "DELETE, GET, HEAD, PUT"),
        ("PUT", "/sales/availability/0x12", "DELETE, PATCH"),
    ],
)
async def test_who_prefers_details_learns_which_methods_there_are(
    client: Client, method: str, path: str, allowed: str
) -> None:
    reply = await client.ask(method, path, headers=PROBLEM)
    assert reply.status == 405
    assert reply.header("allow") == allowed
    assert reply.json()["code"] == "wrong-method"
    assert is_bare_404(await client.ask(method, path))


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/plain", "text/html,*/*;q=0.8", "x"])
async def test_others_get_what_the_reference_says(client: Client, accept: str) -> None:
    reply = await client.get("/data/zDv", headers=[("Accept", accept)])
    assert (reply.status, reply.text) == (400, "Incorrect Cid")
    assert reply.header("vary") is None
    assert is_bare_404(await client.ask("PUT", "/space", headers=[("Accept", accept)]))


# -- cross-origin: switched off


@pytest.mark.parametrize("path", ["/space", "/data", f"/data/{CID}", "/nothing", "/data/zDv", "/sales/slots"])
async def test_without_an_origin_no_reply_speaks_of_origins(client: Client, path: str) -> None:
    await client.post("/data", b"some file contents")
    assert cross_origin(await client.get(path, headers=[("Origin", ALICE)])) == {}


async def test_without_an_origin_two_origins_are_no_matter(client: Client) -> None:
    for path in ("/space", "/data"):
        reply = await client.get(path, headers=[("Origin", ALICE), ("Origin", ALICE)])
        assert reply.status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/data", 204),
        (f"/data/{CID}", 204),
        ("/data/anything", 204),
        ("/sales/availability/0x12", 204),
        ("/space", 404),
        ("/sales/availability", 404),
        (f"/data/{CID}/network/stream", 404),
        ("/nothing", 404),
    ],
)
async def test_without_an_origin_options_are_known_in_three_places(
    client: Client, path: str, status: int
) -> None:
    reply = await client.ask("OPTIONS", path)
    assert (reply.status, reply.body) == (status, b"")
    assert cross_origin(reply) == {}
    assert reply.header("allow") is None


# -- cross-origin: switched on


@pytest.fixture(params=["*", ALICE])
def origin(request: pytest.FixtureRequest) -> str:
    """The origin that is let in."""
    return str(request.param)


@pytest.fixture
async def open_client(tmp_path: Path, origin: str) -> AsyncIterator[Client]:
    """A client of a node that lets pages of `origin` in."""
    async with open_served_node(tmp_path / "open", cors_origin=origin) as served:
        yield served.client


def let_in(origin: str) -> dict[str, str]:
    """What a reply says to a page of `origin` when all is well."""
    vary = {} if origin == "*" else {"vary": "Origin"}
    return {"access-control-allow-origin": origin, **vary}


@pytest.mark.parametrize(
    ("path", "methods", "names"),
    [
        ("/data", "POST, OPTIONS", "content-type, content-disposition"),
        (f"/data/{CID}", "GET,DELETE, OPTIONS", None),
        ("/data/anything", "GET,DELETE, OPTIONS", None),
        ("/sales/availability/0x12", "PATCH, OPTIONS", None),
    ],
)
async def test_a_preflight_is_answered(
    open_client: Client, origin: str, path: str, methods: str, names: str | None
) -> None:
    reply = await open_client.ask("OPTIONS", path, headers=[("Origin", ALICE)])
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header("access-control-allow-origin") == origin
    assert reply.header("access-control-allow-methods") == methods
    assert reply.header("access-control-allow-headers") == names
    assert reply.header("access-control-max-age") == "86400"


@pytest.mark.parametrize("path", ["/space", "/sales/availability", "/spr", "/nothing"])
async def test_a_preflight_elsewhere_is_empty(open_client: Client, path: str) -> None:
    reply = await open_client.ask("OPTIONS", path, headers=[("Origin", ALICE)])
    assert (reply.status, reply.body) == (200, b"")


async def test_a_page_that_may_reads_every_reply(open_client: Client, origin: str) -> None:
    headers = [("Origin", ALICE)]
    stored = await open_client.post("/data", b"some file contents", headers=headers)
    assert stored.text == CID
    assert cross_origin(stored) == {**let_in(origin), "access-control-expose-headers": "X-Job-Id"}
    for path in ("/space", "/data", "/peerid", "/spr", "/debug/info", f"/data/{CID}/exists"):
        reply = await open_client.get(path, headers=headers)
        assert reply.status == 200
        assert cross_origin(reply) == let_in(origin), path


@pytest.mark.parametrize("path", [f"/data/{CID}", f"/data/{CID}/network/stream"])
@pytest.mark.parametrize("asks", [[], [("Origin", ALICE)], [("Origin", "https://bob.example")]])
async def test_a_download_always_says_who_may_read_it(
    open_client: Client, origin: str, path: str, asks: list[tuple[str, str]]
) -> None:
    await open_client.post("/data", b"some file contents")
    said = cross_origin(await open_client.get(path, headers=asks))
    said.pop("access-control-expose-headers", None)
    assert said == {
        **let_in(origin),
        "access-control-allow-methods": "GET, OPTIONS",
        "access-control-max-age": "86400",
    }


@pytest.mark.parametrize("path", ["/data/zDv", f"/data/{CID}", "/data/zDv/exists", "/sales/slots"])
async def test_an_error_can_be_read_too(open_client: Client, origin: str, path: str) -> None:
    reply = await open_client.get(path, headers=[("Origin", ALICE)])
    assert reply.status >= 400
    assert reply.header("access-control-allow-origin") == origin
    assert reply.header("access-control-allow-methods") == "GET, OPTIONS"


async def test_another_page_may_not(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, cors_origin=ALICE) as served:
        reply = await served.client.get("/space", headers=[("Origin", "https://bob.example")])
        assert reply.status == 200
        assert reply.header("access-control-allow-origin") is None


@pytest.mark.parametrize("path", ["/space", "/data", f"/data/{CID}", f"/data/{CID}/network/stream"])
async def test_two_origins_are_refused(open_client: Client, path: str) -> None:
    reply = await open_client.get(path, headers=[("Origin", ALICE), ("Origin", ALICE)])
    assert (reply.status, reply.text) == (400, "Only a single Origin header must be specified")


async def test_an_upload_with_two_origins_stores_nothing(open_client: Client) -> None:
    headers = [("Origin", ALICE), ("Origin", ALICE)]
    with trio.fail_after(10):
        reply = await open_client.post("/data", b"some file contents", headers=headers)
    assert reply.status == 400
    assert (await open_client.get("/data")).json() == {"content": []}
