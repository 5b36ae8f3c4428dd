"""List the datasets of a running node, and delete those whose file name ends in a given way:
`python list_and_delete.py http://127.0.0.1:8080 .tmp`. Needs nothing but Python."""

import json
import sys
from typing import Any
from urllib.request import Request, urlopen


def call(method: str, url: str) -> Any:
    with urlopen(Request(url, method=method)) as reply:
        body = reply.read()
    return json.loads(body) if body else None


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    node, ending = sys.argv[1:]
    api = f"{node}/api/codex/v1"
    for item in call("GET", f"{api}/data")["content"]:
        manifest = item["manifest"]
        name = manifest["filename"] or ""
        goes = name.endswith(ending)
        if goes:
            call("DELETE", f"{api}/data/{item['cid']}")
        print("deleted" if goes else "kept", item["cid"], manifest["datasetSize"], name)
    space = call("GET", f"{api}/space")
    print(space["quotaUsedBytes"], "of", space["quotaMaxBytes"], "bytes used")
