"""The commands about datasets: `codex put`, `get`, `ls`, `rm`, `pin`, `unpin`, `protect`, `verify`.

Each loads what it needs when it is called.
"""

from collections.abc import Callable, Sequence

import click

from codex.cli.exits import Exit, Failed
from codex.cli.finding import Target
from codex.cli.group import A_PATH, about_a_node, codex, each, for_programs, node_of, offering
from codex.cli.output import as_json, as_line, hint, note, tell, terminal_width


@codex.command("put", short_help="Store files, and print their CIDs.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…", type=A_PATH)
@click.option("--name", help="file name to keep with the dataset [that of the file]")
@click.option(
    "--type",
    "mimetype",
    metavar="TYPE",
    help="media type to keep with it [by the name's ending, if well-known]",
)
@for_programs("a line of JSON for each file, for programs")
@about_a_node
@click.pass_context
def _put(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    name: str | None,
    mimetype: str | None,
    json: bool,
    **options: str | None,
) -> int:
    """Store files, and print the CID of each on a line; `-` is standard input.

    The CID names the content together with its name and type: the same file under another name has another
    CID.
    """
    from codex.cli.put import put

    if name is not None and len(files) > 1:
        raise click.UsageError("--name goes with one file only")
    node = node_of(ctx, options)

    def act(file: str) -> None:
        stored = put(node, file, name, mimetype)
        try:
            tell(as_line(stored.as_told()) if json else stored.cid)
        except (Failed, BrokenPipeError):
            # It is stored all the same, and nothing else says under which name.
            note(f"{file} is stored: {stored.cid}")
            raise

    return each(files, act)


@codex.command("get", short_help="Fetch a dataset into a file.")
@click.argument("cid", shell_complete=offering("cids"))
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=A_PATH,
    help="where to: a file, a directory, or - for standard output",
)
@click.option("-c", "--continue", "resume", is_flag=True, help="go on with a download that broke off")
@click.option("--force", is_flag=True, help="replace a file that exists")
@click.option("--local", is_flag=True, help="only what this node has; ask no other")
@for_programs("what was fetched, and into which file, for programs")
@about_a_node
@click.pass_context
def _get(
    ctx: click.Context,
    /,
    cid: str,
    output: str | None,
    resume: bool,
    force: bool,
    local: bool,
    json: bool,
    **options: str | None,
) -> None:
    """Fetch a dataset into a file, named as it was when it was stored, or else by its CID.

    The file is there when all of it has arrived. When a large download breaks off, what has arrived stays
    beside it as CID.part, and the same command with --continue goes on from there.
    """
    from codex.cli.get import STDOUT, Order, get

    if output == STDOUT and (json or resume):
        raise click.UsageError(f"{'--json' if json else '--continue'} needs a file to write to")
    path = get(node_of(ctx, options), Order(cid, output, force=force, local=local, resume=resume))
    if json and path is not None:
        tell(as_line({"cid": cid, "file": str(path), "bytes": path.stat().st_size}))
    elif path is not None and output is None:
        tell(str(path))


@codex.command("ls", short_help="List the datasets on this node.")
@click.option("--pinned", is_flag=True, help="only those that are kept from expiring")
@for_programs("the node's own answer, and for each whether it is pinned, for programs")
@about_a_node
@click.pass_context
def _ls(ctx: click.Context, /, pinned: bool, json: bool, **options: str | None) -> None:
    """List the datasets that the node has. Those marked with * are pinned: they do not expire."""
    from codex.cli import listing

    listed = listing.datasets(node_of(ctx, options), only_pinned=pinned)
    shown = as_json(listed) if json else listing.datasets_table(listed, terminal_width())
    if shown:
        tell(shown)
    else:
        hint(
            "No dataset is pinned; `codex pin CID` pins one."
            if pinned
            else "This node has no dataset yet; `codex put FILE` stores one."
        )


@codex.command("rm", short_help="Delete datasets from this node.")
@click.argument("cids", nargs=-1, required=True, metavar="CID…", shell_complete=offering("cids"))
@for_programs("a line of JSON for each, for programs")
@about_a_node
@click.pass_context
def _rm(ctx: click.Context, /, cids: tuple[str, ...], json: bool, **options: str | None) -> int:
    """Delete datasets from this node; what it does not have is no error. Other nodes keep theirs."""
    from codex.cli.listing import remove

    node = node_of(ctx, options)

    def act(cid: str) -> None:
        remove(node, cid)
        if json:
            tell(as_line({"cid": cid, "deleted": True}))

    return each(cids, act)


@codex.command("pin", short_help="Keep datasets from expiring.")
@click.argument("cids", nargs=-1, required=True, metavar="CID…", shell_complete=offering("cids"))
@for_programs("a line of JSON for each, for programs")
@about_a_node
@click.pass_context
def _pin(ctx: click.Context, /, cids: tuple[str, ...], json: bool, **options: str | None) -> int:
    """Keep datasets on this node until they are unpinned or deleted: they do not expire.

    `codex ls --pinned` shows which these are.
    """
    from codex.cli.listing import pin

    return _each_pinned(node_of(ctx, options), cids, pin, json, pinned=True)


@codex.command("unpin", short_help="Let pinned datasets expire again.")
@click.argument("cids", nargs=-1, required=True, metavar="CID…", shell_complete=offering("cids"))
@for_programs("a line of JSON for each, for programs")
@about_a_node
@click.pass_context
def _unpin(ctx: click.Context, /, cids: tuple[str, ...], json: bool, **options: str | None) -> int:
    """Let pinned datasets expire again."""
    from codex.cli.listing import unpin

    return _each_pinned(node_of(ctx, options), cids, unpin, json, pinned=False)


def _each_pinned(
    node: Target, cids: Sequence[str], change: Callable[[Target, str], None], json: bool, *, pinned: bool
) -> Exit:
    def act(cid: str) -> None:
        change(node, cid)
        if json:
            tell(as_line({"cid": cid, "pinned": pinned}))

    return each(cids, act)


@codex.command("protect", short_help="Add rows of parity, so that some may be lost.")
@click.argument("cid", shell_complete=offering("cids"))
@click.option(
    "--data", "k", metavar="K", type=click.IntRange(1), required=True, help="rows that the data are cut into"
)
@click.option(
    "--parity",
    "m",
    metavar="M",
    type=click.IntRange(1),
    required=True,
    help="rows that are added: as many may be lost",
)
@click.option("--detach", is_flag=True, help="begin it, print the job's ID, and do not wait")
@for_programs("the job as the node tells of it, for programs")
@about_a_node
@click.pass_context
def _protect(
    ctx: click.Context, /, cid: str, k: int, m: int, detach: bool, json: bool, **options: str | None
) -> None:
    """Have the node make a dataset durable, and print the CID of the verifiable one.

    Its data are cut into K rows of blocks, and M rows of parity are added: any K of the K + M rows bring the
    dataset back. The verifiable dataset has the same content as the original, and shares its blocks.
    """
    from codex.cli import tasks

    node = node_of(ctx, options)
    if detach:
        job = tasks.protect(node, cid, k, m)
        tell(as_json(job.told) if json else job.id)
        return
    job = tasks.carry_out(node, lambda: tasks.protect(node, cid, k, m))
    tell(as_json(job.told) if json else tasks.verifiable(job))
    hint(f"Any {k} of its {k + m} rows bring it back.")


@codex.command("verify", short_help="Read datasets, and check every block.")
@click.argument("cids", nargs=-1, required=True, metavar="CID…", shell_complete=offering("cids"))
@click.option("--repair", is_flag=True, help="bring back rows of protected datasets that are lost")
@for_programs("a line of JSON for each dataset: the job as the node tells of it, for programs")
@about_a_node
@click.pass_context
def _verify(
    ctx: click.Context, /, cids: tuple[str, ...], repair: bool, json: bool, **options: str | None
) -> Exit:
    """Have the node read datasets and check every block of them.

    Prints what was found, of protected datasets row by row: which are whole, how many more may be lost, and
    what is lost for good. The exit code is 1 when anything is damaged or missing. With --repair lost rows are
    brought back from the others, here or in the network.
    """
    from codex.cli import tasks

    node = node_of(ctx, options)

    def act(cid: str) -> None:
        job = tasks.carry_out(node, lambda: tasks.verify(node, cid, repair=repair))
        tell(as_line(job.told) if json else tasks.verdict(job))
        if not tasks.is_sound(job):
            raise tasks.damaged(job)

    return each(cids, act)
