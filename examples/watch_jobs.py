"""Store a file on a running node over its WebSocket, and watch the node's jobs meanwhile:
`python watch_jobs.py http://127.0.0.1:8080 FILE`."""

import sys
from collections.abc import AsyncIterator

import trio

from codex.client import Client, Job, JobEnded, JobProgressed, JobStarted, open_client
from codex.errors import CodexError

PIECE = 256 * 1024  # bytes read at once; any size will do


async def pieces(path: trio.Path) -> AsyncIterator[bytes]:
    async with await path.open("rb") as file:
        while piece := await file.read(PIECE):
            yield piece


def show(job: Job) -> None:
    done = f"{job.bytes_done / job.bytes_total:4.0%}" if job.bytes_total else f"{job.bytes_done} bytes"
    print(job.kind, job.subject, job.state, done, f"{job.bytes_per_second / 1e6:.0f} MB/s", flush=True)


async def watch(client: Client, subject: str, *, task_status: trio.TaskStatus[None]) -> None:
    async with client.subscribe("jobs") as events:
        task_status.started()
        async for event in events:
            if isinstance(event, JobStarted | JobProgressed | JobEnded):
                show(event.job)
            if isinstance(event, JobEnded) and event.job.subject == subject:
                return


async def main(url: str, file: str) -> None:
    path = trio.Path(file)
    size = (await path.stat()).st_size
    async with open_client(url) as client:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch, client, path.name)
            cid = await client.store(pieces(path), filename=path.name, size=size)
        print(cid)


if len(sys.argv) != 3:
    sys.exit(__doc__)
try:
    trio.run(main, *sys.argv[1:])
except CodexError as error:
    sys.exit(f"{error}. {error.remedy}")
