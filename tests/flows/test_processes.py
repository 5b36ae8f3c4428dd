"""Nodes as processes of their own, on real sockets, worked with as people do: by the commands."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import CompletedProcess

from codex.testing.content import noise

# What the fixtures of this directory are; see conftest.py.
Start = Callable[..., Awaitable[object]]
Run = Callable[..., Awaitable[CompletedProcess[bytes]]]

SIZE = 1_000_000


async def said(run: Run, *words: str) -> str:
    """What a command prints; it must succeed."""
    done = await run(*words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


async def bootstrap(run: Run, data_dir: Path) -> str:
    told = json.loads(await said(run, "info", "--json", f"--data-dir={data_dir}"))
    return f"--bootstrap-node={told['info']['spr']}"


async def test_two_nodes_share_a_file(start: Start, run: Run, tmp_path: Path) -> None:
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    content = noise(SIZE)
    (tmp_path / "photo.jpg").write_bytes(content)
    await start(f"--data-dir={alice}", "--api-port=0")
    await start(f"--data-dir={bob}", "--api-port=0", await bootstrap(run, alice))
    cid = (await said(run, "put", "photo.jpg", f"--data-dir={alice}")).strip()
    (tmp_path / "copies").mkdir()
    got = await said(run, "get", cid, "--json", "-o", "copies", f"--data-dir={bob}")
    assert json.loads(got) == {"cid": cid, "file": "copies/photo.jpg", "bytes": SIZE}
    assert (tmp_path / "copies" / "photo.jpg").read_bytes() == content
    told = json.loads(await said(run, "info", "--json", f"--data-dir={alice}"))["info"]
    [peer] = json.loads(await said(run, "peers", "--json", f"--data-dir={bob}"))["peers"]
    assert peer["peerId"] == told["id"]
    assert peer["blockBytesIn"] >= SIZE
    [known] = told["table"]["nodes"]
    assert known["seen"]
    listed = await said(run, "peers", f"--data-dir={alice}")
    assert listed.startswith("PEER")
    assert "from /ip4/127.0.0.1/tcp/" in listed or "to /ip4/127.0.0.1/tcp/" in listed


async def test_a_node_is_connected_to_by_its_address(start: Start, run: Run, tmp_path: Path) -> None:
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    await start(f"--data-dir={alice}", "--api-port=0")
    await start(f"--data-dir={bob}", "--api-port=0")
    told = json.loads(await said(run, "info", "--json", f"--data-dir={alice}"))["info"]
    assert await said(run, "peers", f"--data-dir={bob}") == ""
    address = f"{told['announceAddresses'][0]}/p2p/{told['id']}"
    peer = json.loads(await said(run, "connect", "--json", address, f"--data-dir={bob}"))
    assert (peer["peerId"], peer["dialled"]) == (told["id"], True)
    (tmp_path / "hello.txt").write_text("some file contents")
    cid = (await said(run, "put", "hello.txt", f"--data-dir={alice}")).strip()
    assert await said(run, "get", cid, "-o", "-", f"--data-dir={bob}") == "some file contents"
    nobody = await run("connect", told["id"].replace("16Uiu2HA", "16Uiu2HB"), f"--data-dir={bob}")
    assert nobody.returncode == 1


async def test_ports_that_are_asked_for_and_taken_end_the_start(
    start: Start, run: Run, tmp_path: Path
) -> None:
    await start(f"--data-dir={tmp_path / 'alice'}", "--api-port=0")
    told = json.loads(await said(run, "info", "--json", f"--data-dir={tmp_path / 'alice'}"))["info"]
    tcp = told["addrs"][0].rpartition("/")[2]
    udp = told["table"]["localNode"]["address"].rpartition(":")[2]
    for option, port in ((f"--listen-addrs=/ip4/127.0.0.1/tcp/{tcp}", tcp), (f"--disc-port={udp}", udp)):
        refused = await run(f"--data-dir={tmp_path / 'bob'}", "--api-port=0", option)
        assert refused.returncode == 1
        assert f" {port} " in refused.stderr.decode()
        assert option.partition("=")[0] in refused.stderr.decode()
