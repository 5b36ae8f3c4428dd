"""The marketplace's calls on a node without one: each says so before it looks at its input."""

import pytest

from codex.testing.http import Client

ID = "0x" + "12" * 32
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/sales/slots"),
        ("GET", f"/sales/slots/{ID}"),
        ("GET", "/sales/slots/garbage"),
        ("GET", "/sales/availability"),
        ("POST", "/sales/availability"),
        ("PATCH", f"/sales/availability/{ID}"),
        ("PATCH", "/sales/availability/garbage"),
        ("GET", f"/sales/availability/{ID}/reservations"),
        ("POST", f"/storage/request/{CID}"),
        ("POST", "/storage/request/garbage"),
        ("GET", "/storage/purchases"),
        ("DELETE", f"/sales/availability/{ID}"),
        ("GET", "/sales/decisions"),
        ("GET", "/sales/decisions?slot=garbage&limit=0"),
        ("GET", "/sales/history"),
        ("GET", "/storage/history"),
        ("GET", "/market/balances"),
        ("GET", f"/storage/purchases/{ID}"),
        ("GET", "/storage/purchases/garbage"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"\xff" * 1000])
async def test_without_a_marketplace_each_call_says_so(
    client: Client, method: str, path: str, body: bytes
) -> None:
    if body and method == "GET":
        body = b""
    reply = await client.ask(method, path, body=body, headers=[("Content-Type", "application/json")])
    assert (reply.status, reply.text) == (503, "Persistence is not enabled")
    assert (reply.header("content-type") or "").startswith("text/plain")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/sales/availability/{ID}"),
        ("GET", f"/storage/request/{CID}"),
        ("POST", "/storage/purchases"),
    ],
)
async def test_what_the_network_has_no_call_for_is_not_found(client: Client, method: str, path: str) -> None:
    reply = await client.ask(method, path)
    assert (reply.status, reply.body) == (404, b"")


@pytest.mark.parametrize("path", ["/sales/availability", f"/storage/request/{CID}"])
async def test_a_foreign_page_spends_nothing(client: Client, path: str) -> None:
    headers = [("Origin", "https://elsewhere.example"), ("Content-Type", "text/plain")]
    reply = await client.ask("POST", path, body=b"{}", headers=headers)
    assert (reply.status, reply.text) == (403, "This page may not do that")
