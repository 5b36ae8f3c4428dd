"""Cross-origin headers: none unless an origin is configured, and then the reference's."""

import pytest

from codex.api.cors import PREFIX, Cors

DATA = PREFIX + "/data"


def test_without_an_origin_nothing_is_said() -> None:
    cors = Cors(None)
    assert cors.reply(["https://alice.example"]) == []
    assert cors.reply([], error_method="GET") == []
    assert not cors.refuses(["a", "b"])


@pytest.mark.parametrize("path", [DATA, DATA + "/zabc", PREFIX + "/sales/availability/0x12"])
def test_without_an_origin_three_paths_know_options(path: str) -> None:
    answer = Cors(None).preflight(path)
    assert answer is not None
    assert (answer.status, answer.headers) == (204, [])


def test_without_an_origin_other_paths_do_not() -> None:
    assert Cors(None).preflight(PREFIX + "/space") is None


def test_preflight_of_an_upload() -> None:
    answer = Cors("*").preflight(DATA)
    assert answer is not None
    assert answer.status == 204
    assert dict(answer.headers) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "content-type, content-disposition",
        "Access-Control-Max-Age": "86400",
    }


def test_preflight_of_a_download_names_its_methods() -> None:
    answer = Cors("*").preflight(DATA + "/zabc")
    assert answer is not None
    assert dict(answer.headers)["Access-Control-Allow-Methods"] == "GET,DELETE, OPTIONS"


def test_preflight_elsewhere_lets_a_page_make_any_call() -> None:
    answer = Cors("https://alice.example").preflight(PREFIX + "/space")
    assert answer is not None
    assert answer.status == 200
    headers = dict(answer.headers)
    assert headers["Access-Control-Allow-Origin"] == "https://alice.example"
    assert {"GET", "PUT", "DELETE"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
    assert "authorization" in headers["Access-Control-Allow-Headers"]
    assert Cors("*").preflight("/elsewhere") is None


def test_a_page_may_send_the_token_where_one_is_asked_for() -> None:
    for path in (DATA, DATA + "/zabc", PREFIX + "/sales/availability/0x12", PREFIX + "/jobs/1"):
        answer = Cors("*", guarded=True).preflight(path)
        assert answer is not None
        assert "authorization" in dict(answer.headers)["Access-Control-Allow-Headers"]


def test_a_matching_origin_is_let_in_and_another_is_not() -> None:
    cors = Cors("https://alice.example")
    assert cors.reply(["https://alice.example"]) == [
        ("Access-Control-Allow-Origin", "https://alice.example"),
        ("Vary", "Origin"),
    ]
    assert cors.reply(["https://bob.example"]) == []
    assert cors.reply([]) == []
    assert Cors("*").reply(["https://bob.example"]) == [("Access-Control-Allow-Origin", "*")]


def test_errors_carry_them_always() -> None:
    assert dict(Cors("*").reply([], error_method="GET"))["Access-Control-Allow-Methods"] == "GET, OPTIONS"


@pytest.mark.parametrize(
    ("origin", "origins", "hosts", "refused"),
    [
        (None, [], ["127.0.0.1:8080"], False),
        (None, ["http://127.0.0.1:8080"], ["127.0.0.1:8080"], False),
        (None, ["http://localhost:8080"], ["localhost:8080"], False),
        (None, ["http://LocalHost:8080"], ["localhost:8080"], False),
        (None, ["https://192.0.2.7"], ["192.0.2.7"], False),
        (None, ["http://[::1]:8080"], ["[::1]:8080"], False),
        (None, ["http://127.0.0.1:3000"], ["127.0.0.1:8080"], True),
        (None, ["http://localhost:8080"], ["127.0.0.1:8080"], True),
        (None, ["http://mallory.example:8080"], ["mallory.example:8080"], True),
        (None, ["file://127.0.0.1:8080"], ["127.0.0.1:8080"], True),
        (None, ["null"], ["127.0.0.1:8080"], True),
        (None, [""], [""], True),
        (None, ["http://[::1"], ["[::1"], True),
        (None, ["http://127.0.0.1"], [], True),
        (None, ["http://127.0.0.1"] * 2, ["127.0.0.1"], True),
        ("*", ["https://bob.example"], ["127.0.0.1:8080"], False),
        ("https://alice.example", ["https://alice.example"], ["127.0.0.1:8080"], False),
        ("https://alice.example", ["https://bob.example"], ["127.0.0.1:8080"], True),
        ("https://alice.example", ["https://alice.example"] * 2, ["127.0.0.1:8080"], True),
    ],
)
def test_what_pages_must_be_asked_about_is_for_those_that_may(
    origin: str | None, origins: list[str], hosts: list[str], refused: bool
) -> None:
    said = Cors(origin).refuses_page(origins, hosts)
    assert (said is not None) is refused
    assert said is None or said.status == 403


def test_two_origins_are_refused() -> None:
    assert Cors("*").refuses(["a", "b"])
    assert not Cors("*").refuses(["a"])
