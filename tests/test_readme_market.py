"""The README's three nodes on a development chain: its commands, as they stand, lead to a contract's end."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
PATIENCE = 120.0

pytestmark = pytest.mark.embedded_chain


@pytest.mark.soak
def test_three_nodes_by_hand_trade_storage(tmp_path: Path) -> None:
    chain, nodes, trade = re.findall(r"^```bash\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    # Told from outside is only where things listen: ports may be taken, and no other node is to be found.
    environ = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "CODEX_LISTEN_ADDRS": "/ip4/127.0.0.1/tcp/0",
        "CODEX_DISC_PORT": "0",
        "CODEX_LOG_LEVEL": "warn",
    }

    def show(words: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ExitStack() as stack:

        def begin(words: str) -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    ["bash", "-c", f"exec {words}"],
                    cwd=tmp_path,
                    env=environ,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.terminate)
            return process

        devnet = begin(f"{chain.strip()} --port=0 --json")
        assert devnet.stdout is not None
        told = json.loads(devnet.stdout.readline())
        apis: list[str] = []
        variable, *commands = nodes.strip().splitlines()
        assert variable == f"export CODEX_MARKETPLACE_ADDRESS={told['marketplace']}"
        environ["CODEX_MARKETPLACE_ADDRESS"] = told["marketplace"]
        environ["CODEX_ETH_PROVIDER"] = told["url"]
        for command in commands:
            process = begin(command)
            assert process.stderr is not None
            apis.append(next(line.split()[-1] for line in process.stderr if "The API listens on" in line))
            if "CODEX_BOOTSTRAP_NODE" not in environ:
                first = json.loads(show("codex info --json --data-dir=alice"))
                environ["CODEX_BOOTSTRAP_NODE"] = first["info"]["spr"]

        def state() -> str:
            (purchase,) = json.loads(show("codex purchases --json --data-dir=alice"))["purchases"]
            return str(purchase["state"])

        def tokens() -> list[int]:
            return [int(asked(f"{api}/api/codex/v1/market/balances")["tokens"]) for api in apis]

        before = tokens()
        assert "0x" in show(trade)
        comes_to(state, "started")
        held = [json.loads(show(f"codex slots --json --data-dir={name}")) for name in ("bob", "carol")]
        assert sorted(slot["slotIndex"] for slots in held for slot in slots) == [0, 1, 2]
        slot = next(slot["id"] for slots in held for slot in slots)
        owner = "bob" if held[0] else "carol"
        assert "room and collateral were set aside for it" in show(f"codex explain {slot} --data-dir={owner}")
        assert slot in show(f"codex explain --data-dir={owner}")
        leap = {"jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [600]}
        asked(told["url"].replace("ws://", "http://"), leap)
        comes_to(state, "finished")
        # To the unit: what alice has paid is what bob and carol have earned, and all else is back.
        comes_to(lambda: sum(tokens()), sum(before))
        assert tokens()[0] < before[0]


def asked(url: str, body: Any = None) -> Any:
    """What a node or the chain answers."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def comes_to(now: Callable[[], object], wanted: object) -> None:
    """Wait until it is so: of other processes no event tells."""
    until = monotonic() + PATIENCE
    while (found := now()) != wanted:
        assert monotonic() < until, f"it is {found}, and not {wanted}"
        sleep(0.5)
