"""`codex ls`, `codex rm`, `codex pin`, `codex unpin`, `codex space` against a stand-in."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from codex.cli import listing
from codex.cli.exits import Failed

Run = Callable[..., subprocess.CompletedProcess[bytes]]

ROOM = {"totalBlocks": 3, "quotaMaxBytes": 21474836480, "quotaUsedBytes": 196608, "quotaReservedBytes": 0}


def manifest(name: str | None, kind: str | None, size: int) -> dict[str, object]:
    return {"datasetSize": size, "filename": name, "mimetype": kind, "treeCid": "z", "protected": False}


def test_datasets_are_listed_in_columns(codex: Run, node: Any) -> None:
    content = [
        {"cid": "zDv1", "manifest": manifest("photo.jpg", "image/jpeg", 1536)},
        {"cid": "zDvLonger", "manifest": manifest(None, None, 18)},
    ]
    node.json("GET /data", {"content": content})
    done = codex("ls", port=node.port)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines() == [
        "CID            SIZE  NAME       TYPE",
        "zDv1       1.50 KiB  photo.jpg  image/jpeg",
        "zDvLonger      18 B  -          -",
    ]


def test_nothing_is_listed_as_nothing(codex: Run, node: Any) -> None:
    node.json("GET /data", {"content": []})
    assert codex("ls", port=node.port).stdout == b""
    assert json.loads(codex("ls", "--json", port=node.port).stdout) == {"content": []}


def test_json_is_the_nodes_own_answer(codex: Run, node: Any) -> None:
    answer = {"content": [{"cid": "zDv1", "manifest": manifest("\N{SNOWMAN}\x1b", None, 1)}]}
    node.json("GET /data", answer)
    node.json("GET /space", ROOM)
    done = codex("ls", "--json", port=node.port)
    assert json.loads(done.stdout) == answer
    assert b"\x1b" not in done.stdout
    assert json.loads(codex("space", "--json", port=node.port).stdout) == ROOM


def test_names_from_elsewhere_cannot_move_the_terminal(codex: Run, node: Any) -> None:
    node.json("GET /data", {"content": [{"cid": "zDv1", "manifest": manifest("a\x1b[2J\nb\u202e", None, 1)}]})
    done = codex("ls", port=node.port)
    assert len(done.stdout.decode().splitlines()) == 2
    assert "\x1b" not in done.stdout.decode()
    assert "\u202e" not in done.stdout.decode()


def test_the_room_is_shown_for_reading(codex: Run, node: Any) -> None:
    node.json("GET /space", ROOM)
    done = codex("space", port=node.port)
    assert done.stdout.decode().splitlines() == [
        "quota     20.0 GiB  100.0 %",
        "used       192 KiB    0.0 %",
        "reserved       0 B    0.0 %",
        "free      20.0 GiB  100.0 %",
        "blocks           3",
    ]


def test_datasets_are_removed_one_after_the_other(codex: Run, node: Any) -> None:
    node.replies["DELETE /data/zDv1"] = (204, {}, b"")
    node.replies["DELETE /data/zDv2"] = (
        500,
        {},
        b"Directly deleting a block that is part of a dataset is not allowed.",
    )
    node.replies["DELETE /data/zDv3"] = (204, {}, b"")
    assert codex("rm", "zDv1", port=node.port).returncode == 0
    done = codex("rm", "zDv1", "zDv2", "zDv3", port=node.port)
    assert done.returncode == 1
    assert (
        done.stderr == b"error: zDv2: Directly deleting a block that is part of a dataset is not allowed.\n"
    )
    assert node.asked[1:] == [f"DELETE /data/{cid}" for cid in ("zDv1", "zDv2", "zDv3")]


def test_datasets_are_pinned_and_unpinned(codex: Run, node: Any) -> None:
    for method in ("PUT", "DELETE"):
        node.replies[f"{method} /data/zDv1/pin"] = (204, {}, b"")
    assert codex("pin", "zDv1", port=node.port).returncode == 0
    done = codex("unpin", "zDv0", "zDv1", port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"zDv0" in done.stderr
    assert b"zDv1" not in done.stderr
    assert b"`codex ls`" in done.stderr
    assert node.asked == ["PUT /data/zDv1/pin", "DELETE /data/zDv0/pin", "DELETE /data/zDv1/pin"]


def test_on_a_narrow_terminal_cids_stay_whole(cid: str) -> None:
    name = "holiday in the mountains, third day.jpg"
    listed = {"content": [{"cid": cid, "manifest": manifest(name, "image/jpeg", 1 << 30)}]}
    title, line = listing.datasets_table(listed, 80).splitlines()
    assert title.split() == ["CID", "SIZE", "NAME"]
    assert line == f"{cid}  1.00 GiB  holiday… day.jpg"
    assert len(line) <= 80
    wide = listing.datasets_table(listed, 140).splitlines()[1]
    assert wide == f"{cid}  1.00 GiB  {name}  image/jpeg"
    assert listing.datasets_table(listed).splitlines()[1] == wide
    assert cid in listing.datasets_table(listed, 20)


@pytest.mark.parametrize("cid", ["../space", "a/b", "a?b", "a#b", "a b", "%2e%2e", "é", "-", "."])
def test_a_cid_cannot_change_the_path(codex: Run, node: Any, cid: str) -> None:
    codex("rm", "--", cid, port=node.port)
    (asked,) = node.asked
    path = asked.removeprefix("DELETE /data/")
    assert path
    assert not set("/?# ") & set(path)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"content": None},
        {"content": [{}]},
        {"content": [{"cid": 1, "manifest": manifest(None, None, 1)}]},
    ],
)
def test_a_list_of_another_shape_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"):
        listing.datasets_table(answer)


@pytest.mark.parametrize("answer", [{}, ROOM | {"quotaUsedBytes": "x"}, ROOM | {"totalBlocks": None}])
def test_a_room_of_another_shape_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(Failed, match="not that of a Codex node"):
        listing.space_table(answer)


def test_a_quota_of_zero_is_shown() -> None:
    assert "0.0 %" in listing.space_table(ROOM | {"quotaMaxBytes": 0, "quotaUsedBytes": 0})


PINNABLE = [
    {"cid": "zDv1", "manifest": manifest("photo.jpg", "image/jpeg", 1536)},
    {"cid": "zDvLonger", "manifest": manifest(None, None, 18)},
]


def test_pinned_datasets_are_marked(here: Callable[..., tuple[int, str, str]], node: Any) -> None:
    node.json("GET /data", {"content": PINNABLE})
    node.json("GET /pins", {"cids": ["zDvLonger"]})
    port = f"--api-port={node.port}"
    assert here(port, "ls")[1].splitlines() == [
        "CID               SIZE  NAME       TYPE",
        "zDv1          1.50 KiB  photo.jpg  image/jpeg",
        "zDvLonger  *      18 B  -          -",
    ]
    assert here(port, "ls", "--pinned")[1].splitlines() == [
        "CID           SIZE  NAME  TYPE",
        "zDvLonger  *  18 B  -     -",
    ]
    told = json.loads(here(port, "ls", "--json")[1])
    assert told == {"content": [{**one, "pinned": one["cid"] == "zDvLonger"} for one in PINNABLE]}
    assert json.loads(here(port, "ls", "--pinned", "--json")[1]) == {"content": told["content"][1:]}
    node.json("GET /pins", {"cids": []})
    assert here(port, "ls", "--pinned") == (0, "", "")


def test_a_node_that_does_not_tell_of_pins_is_listed_all_the_same(
    here: Callable[..., tuple[int, str, str]], node: Any
) -> None:
    node.json("GET /data", {"content": PINNABLE})
    port = f"--api-port={node.port}"
    assert json.loads(here(port, "ls", "--json")[1]) == {"content": PINNABLE}
    code, _, said = here(port, "ls", "--pinned")
    assert (code, "does not tell" in said) == (1, True)


def test_what_was_changed_is_told_to_programs(here: Callable[..., tuple[int, str, str]], node: Any) -> None:
    for request in ("DELETE /data/zDv1", "PUT /data/zDv1/pin", "DELETE /data/zDv1/pin", "DELETE /jobs/a1"):
        node.replies[request] = (204, {}, b"")
    port = f"--api-port={node.port}"
    for words, told in (
        (["rm", "zDv1"], {"cid": "zDv1", "deleted": True}),
        (["pin", "zDv1"], {"cid": "zDv1", "pinned": True}),
        (["unpin", "zDv1"], {"cid": "zDv1", "pinned": False}),
        (["jobs", "--cancel", "a1"], {"id": "a1", "cancelled": True}),
    ):
        code, out, _ = here(port, *words, "--json")
        assert (code, json.loads(out)) == (0, told)
        assert here(port, *words) == (0, "", "")
