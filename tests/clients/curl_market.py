"""The README's lines with curl, as they stand there, lead to a contract.

`python curl_market.py ALICE BOB CAROL CHAIN`: the three nodes, and the JSON-RPC of the development chain that
they are on.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from processes import PREFIX

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
DURATION = 600  # seconds, as the README's request has it
PATIENCE = 90.0  # seconds until the contract has come to where it is waited for


def main(alice: str, bob: str, carol: str, chain: str) -> int:
    (block,) = re.findall(r"^```shell\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as directory:
        # Everything as a reader has it, but for what curl prints besides, and that what is refused ends it.
        (Path(directory) / ".curlrc").write_text("silent\nshow-error\nfail\n")
        (Path(directory) / "numbers.txt").write_text("".join(f"{number}\n" for number in range(1, 200_001)))
        nodes = {"ALICE": alice, "BOB": bob, "CAROL": carol}
        environ = {
            "PATH": os.environ["PATH"],
            "CURL_HOME": directory,
            **{name: f"{url}/{PREFIX}" for name, url in nodes.items()},
        }

        def shell(words: str) -> str:
            done = subprocess.run(
                ["bash", "-ec", words], cwd=directory, env=environ, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
            return done.stdout

        *_, environ["ID"] = shell(f'{block}\necho " $ID"').split()
        watch = next(line for line in block.splitlines() if "storage/purchases/" in line)

        def purchase() -> dict[str, Any]:
            told: dict[str, Any] = json.loads(shell(watch))
            return told

        _wait(purchase, "started")
        leap = {"jsonrpc": "2.0", "id": 1, "method": "evm_increaseTime", "params": [DURATION]}
        with urllib.request.urlopen(urllib.request.Request(chain, json.dumps(leap).encode()), timeout=10):
            pass
        _wait(purchase, "finished")
    print("passed  the README's lines, and the purchase watched to its end")
    return 0


def _wait(purchase: Any, state: str) -> None:
    end = time.monotonic() + PATIENCE
    while (now := purchase()["state"]) != state:
        assert time.monotonic() < end, f"after {PATIENCE:.0f} s the purchase is {now}, and not {state}"
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
