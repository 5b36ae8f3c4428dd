"""Store a file on a running node through its REST interface, and fetch it into another file:
`python upload_with_http.py http://127.0.0.1:8080 FILE COPY`. Needs nothing but Python."""

import shutil
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def upload(api: str, path: Path) -> str:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{path.name}"',
        "Content-Length": str(path.stat().st_size),
    }
    with path.open("rb") as file, urlopen(Request(f"{api}/data", file, headers)) as reply:
        return str(reply.read(), "ascii")


def download(api: str, cid: str, path: Path) -> None:
    with urlopen(f"{api}/data/{cid}/network/stream") as reply, path.open("wb") as file:
        shutil.copyfileobj(reply, file)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    node, source, copy = sys.argv[1:]
    api = f"{node}/api/codex/v1"
    cid = upload(api, Path(source))
    print(cid)
    download(api, cid, Path(copy))
