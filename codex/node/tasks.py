"""The long looks at the store, each as the work of a job: verify a dataset, scrub everything, back it up.

Their results are what JSON can say, in the API's spelling. A list in them ends after 1,000 items; the count
beside it does not.
"""

import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import InvalidInput
from codex.node.fetching import Rows
from codex.node.job import JobKind, JobState, Json
from codex.node.jobs import Job, Jobs
from codex.node.rows import Survey, has_rows, survey, without_padding
from codex.store import BlockStore, Progress, try_target

LISTED = 1000


async def verify(
    store: BlockStore, cid: Cid, manifest: Manifest, mended_by: Rows | None, job: Job
) -> Mapping[str, Json]:
    """Read a dataset and check that it is whole.

    Result: `blocks` it has, `bytes` of them that were read and sound, whether it is `sound` altogether; the
    CIDs of `corrupt` blocks and the indices of `missing` leaves, with the counts `corruptBlocks` and
    `missingBlocks`. Of a protected dataset there are also its `rows`, see `_surveyed`. Raises CorruptData
    when all are sound and yet make up another dataset, NotADataset when a protected one is not made of the
    original that its manifest names.

    With `mended_by`, what is found missing or damaged is brought back: `repaired` tells how many blocks were,
    and `repairedCorrupt` how many of those had been damaged. All else but the `bytes` is as of then: the
    dataset is `sound`, or NotADataset is raised. Raises BlockNotFound, which names a column and its rows,
    when too few rows are to be had, and what the store raises.
    """
    job.phase = "verifying"
    found = await _last(job, store.verify(cid))
    missing: Sequence[int] = without_padding(manifest, found.missing)
    corrupt: Sequence[Cid] = found.corrupt
    repaired: dict[str, Json] = {}
    if mended_by is not None:
        job.phase = "repairing"
        before = await store.missing(manifest.tree_cid, 0, manifest.block_count)
        await mended_by.mend(0, manifest.block_count)
        await store.check_original(manifest)
        repaired = {"repaired": before, "repairedCorrupt": len(corrupt)}
        missing, corrupt = (), ()
    result: dict[str, Json] = {
        "blocks": manifest.block_count,
        "bytes": found.bytes_done,
        "sound": not corrupt and not missing,
        "corruptBlocks": len(corrupt),
        "corrupt": [str(block) for block in corrupt[:LISTED]],
        "missingBlocks": len(missing),
        "missing": list(missing[:LISTED]),
    }
    result |= repaired
    if has_rows(manifest):
        result |= _surveyed(await survey(store, manifest, missing, store))
    return result


def _surveyed(found: Survey) -> Mapping[str, Json]:
    """What is told of rows: K as `data`, M as `parity`; of each of the `rows` its number (`row`), whether it
    is data or parity (`kind`), and how many of its blocks are `present`, `missing` and `corrupt`; how many
    more rows may go before anything is lost (`spare`); and the parts of the content that cannot be recovered
    from what is here, as `offset` and `size` in bytes, with all their bytes in `lostBytes`.
    """
    return {
        "data": found.k,
        "parity": found.m,
        "rows": [
            {
                "row": row.number,
                "kind": row.kind,
                "present": row.present,
                "missing": row.missing,
                "corrupt": row.corrupt,
            }
            for row in found.rows[:LISTED]
        ],
        "spare": found.spare,
        "lostBytes": sum(map(len, found.lost)),
        "lost": [{"offset": part.start, "size": len(part)} for part in found.lost[:LISTED]],
    }


async def scrub(store: BlockStore, job: Job) -> Json:
    """Read everything on this node and check it.

    Result: `bytes` that were looked at, whether all is `sound`; the CIDs of `corrupt` blocks and manifests
    that could not be mended, and of the manifests that were `mended`, with the counts `corruptBlocks` and
    `mendedManifests`.
    """
    job.phase = "scrubbing"
    found = await _last(job, store.scrub())
    return {
        "bytes": found.bytes_done,
        "sound": not found.corrupt,
        "corruptBlocks": len(found.corrupt),
        "corrupt": [str(block) for block in found.corrupt[:LISTED]],
        "mendedManifests": len(found.mended),
        "mended": [str(manifest) for manifest in found.mended[:LISTED]],
    }


async def _last(job: Job, steps: AsyncIterator[Progress]) -> Progress:
    """Take all steps, showing them as the job's progress; the last one, which holds all that was found."""
    step = Progress(0, 0)
    async for step in steps:
        _show(job, step)
    return step


async def back_up(store: BlockStore, target: Path, job: Job) -> Json:
    """Copy the store into the new directory `target`.

    Result: its `path` and how many `bytes` it has; the CIDs of `unreadable` blocks, which the disk did not
    give, so that they are damaged in the copy, with the counts `unreadableBlocks` and `unreadableBytes`.
    """
    job.phase = "copying"
    steps = [Progress(0, 0)]

    def progress(step: Progress) -> None:
        steps[0] = step
        _show(job, step)

    await store.backup(target, progress)
    last = steps[0]
    return {
        "path": str(target),
        "bytes": last.bytes_done,
        "unreadableBytes": last.unreadable_bytes,
        "unreadableBlocks": len(last.unreadable),
        "unreadable": [str(block) for block in last.unreadable[:LISTED]],
    }


def _show(job: Job, step: Progress) -> None:
    job.bytes_done, job.bytes_total = step.bytes_done, step.bytes_total


def backup_target(path: Path, data_dir: Path) -> Path:
    """The place that `path` names, absolute and without links, after trying that a backup can be made there.

    Works on the file system, so not on the loop. Raises InvalidInput: something stands there already, it is
    inside the data directory, there is no directory to make it in, this user may not write there, the name is
    too long, or something stands where it would be gathered.
    """
    try:
        target = path.resolve()
        if target.is_relative_to(data_dir.resolve()):
            raise InvalidInput(
                f"{target} is inside the data directory",
                remedy="name a directory elsewhere, best on another disk",
            )
        if target.exists():
            raise InvalidInput(f"{target} exists", remedy="name a directory that does not exist yet")
        if not target.parent.is_dir():
            raise InvalidInput(
                f"there is no directory {target.parent}",
                remedy="make it first, or name a directory elsewhere",
            )
        try_target(target)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"no backup can be made at {str(path)!r}: {_reason(error)}",
            remedy="name a directory, not existing yet, where this user may write",
        ) from error
    return target


def refuse_second(jobs: Jobs, target: Path) -> None:
    """Raise InvalidInput when a backup to that place is being made."""
    for job in jobs.list(JobKind.BACKUP, JobState.RUNNING):
        if job.subject == str(target):
            raise InvalidInput(
                f"a backup to {target} is being made", remedy=f"wait for job {job.id}, or cancel it"
            )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return "no permission" if error.errno in (errno.EACCES, errno.EPERM) else error.strerror or str(error)
    return str(error)
