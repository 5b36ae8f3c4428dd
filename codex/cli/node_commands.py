"""The commands about the node: `codex info`, `space`, `peers`, `connect`, `jobs`, `watch`, `scrub`, `backup`,
and `completion` for the shell.

Each loads what it needs when it is called.
"""

import sys

import click

from codex.cli.exits import Exit
from codex.cli.finding import Target
from codex.cli.group import A_PATH, about_a_node, codex, each, for_programs, node_of, offering
from codex.cli.output import as_json, as_line, complain, complaint, hint, tell, terminal_width

KINDS = ("upload", "download", "fetch", "verify", "scrub", "backup", "protect", "request")
STATES = ("running", "done", "failed", "cancelled")
LISTED = 20
"""Jobs in a list for reading, unless all are wanted."""


@codex.command("info", short_help="Who the node is, and how its parts are.")
@for_programs("the node's own answers, for programs")
@about_a_node
@click.pass_context
def _info(ctx: click.Context, /, json: bool, **options: str | None) -> None:
    """Show who the node is, where it listens, how its parts are, and what it holds."""
    from codex.cli import about

    node = node_of(ctx, options)
    told = about.info(node)
    tell(as_json(told) if json else about.info_table(node, told, terminal_width()))


@codex.command("space", short_help="Quota, used, reserved and free bytes.")
@for_programs("the node's own answer, in bytes, for programs")
@about_a_node
@click.pass_context
def _space(ctx: click.Context, /, json: bool, **options: str | None) -> None:
    """Show the node's room: quota, used, reserved and free."""
    from codex.cli import listing

    room = listing.space(node_of(ctx, options))
    tell(as_json(room) if json else listing.space_table(room))


@codex.command("peers", short_help="The nodes that this one is connected to.")
@for_programs("the node's own answer, for programs")
@about_a_node
@click.pass_context
def _peers(ctx: click.Context, /, json: bool, **options: str | None) -> None:
    """List the nodes that this one is connected to."""
    from codex.cli import about

    told = about.peers(node_of(ctx, options))
    shown = as_json(told) if json else about.peers_table(told, terminal_width())
    if shown:
        tell(shown)
    else:
        hint("This node is connected to no other; `codex connect` connects it.")


@codex.command("connect", short_help="Connect to another node.")
@click.argument("peer")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]…")
@for_programs("the peer as `codex peers --json` tells of it, for programs")
@about_a_node
@click.pass_context
def _connect(
    ctx: click.Context, /, peer: str, addresses: tuple[str, ...], json: bool, **options: str | None
) -> None:
    """Have the node connect to another: to its peer id, at its addresses (/ip4/203.0.113.7/tcp/8070).

    Without an address the network is asked for one. An address that ends in /p2p/ID says both at once.
    """
    from codex.cli import about

    node = node_of(ctx, options)
    peer = about.connect(node, peer, addresses)
    if json:
        tell(as_line(next((one for one in about.peers(node)["peers"] if one["peerId"] == peer), {})))
    else:
        hint(f"Connected to {peer}.")


@codex.command("jobs", short_help="The work in hand: list, follow, cancel.")
@click.argument("ids", nargs=-1, metavar="[ID]…", shell_complete=offering("jobs"))
@click.option("-f", "--follow", is_flag=True, help="wait until they have ended; without ID, until none runs")
@click.option("--cancel", is_flag=True, help="cancel them")
@click.option("--kind", type=click.Choice(KINDS), help="list those of a kind")
@click.option("--state", type=click.Choice(STATES), help="list those in a state")
@click.option("--all", "every", is_flag=True, help=f"list more than the newest {LISTED}")
@for_programs("the node's own answers, for programs; a line each with --follow")
@about_a_node
@click.pass_context
def _jobs(
    ctx: click.Context,
    /,
    ids: tuple[str, ...],
    follow: bool,
    cancel: bool,
    kind: str | None,
    state: str | None,
    every: bool,
    json: bool,
    **options: str | None,
) -> Exit:
    """List the work that the node has in hand, and what ended in the last hour; or show some of it.

    With --follow the exit code is 1 unless all that was followed is done.
    """
    from codex.cli import jobs

    if cancel and not ids:
        raise click.UsageError("--cancel needs the ID of a job; `codex jobs` lists them")
    if cancel and follow:
        raise click.UsageError("--cancel and --follow do not go together")
    if (ids or follow) and (kind or state or every):
        raise click.UsageError("--kind, --state and --all are for the list")
    node = node_of(ctx, options)
    if cancel:

        def end(id: str) -> None:
            jobs.cancel(node, id)
            if json:
                tell(as_line({"id": id, "cancelled": True}))

        return each(ids, end)
    if follow:
        return _follow(node, ids, json)
    if ids:

        def show(id: str) -> None:
            job = jobs.fetch(node, id)
            tell(as_json(job.told) if json else jobs.job_table(job))

        return each(ids, show)
    answer = jobs.fetch_all(node, kind, state)
    if json:
        tell(as_json(answer))
        return Exit.DONE
    found = jobs.listed(answer)
    shown = found if every else found[:LISTED]
    if shown:
        tell(jobs.jobs_table(shown, terminal_width()))
    else:
        hint("There is no such job." if kind or state else "The node has no job in hand.")
    if len(shown) < len(found):
        hint(f"And {len(found) - len(shown)} older: --all shows them.")
    return Exit.DONE


def _follow(node: Target, ids: tuple[str, ...], json: bool) -> Exit:
    """Follow the named jobs, one after the other, or all that run, and tell how each has ended."""
    from codex.cli import jobs
    from codex.cli.progress import bars

    named = [jobs.fetch(node, id) for id in ids]
    code = Exit.DONE
    with bars() as shown:
        each_end = (jobs.follow_to_end(node, job, shown) for job in named)
        for job in each_end if named else jobs.follow_all(node, shown):
            shown.say(as_line(job.told) if json else jobs.end_line(job, terminal_width()), sys.stdout)
            failure = job.failure()
            if failure is not None:
                shown.say(complaint(failure, json), sys.stderr)
                code = Exit.FAILED
    return code


@codex.command("watch", short_help="What happens on the node, as it happens.")
@for_programs("a line of JSON for each event, for programs")
@about_a_node
@click.pass_context
def _watch(ctx: click.Context, /, json: bool, **options: str | None) -> None:
    """Show what happens on the node as it happens, until interrupted."""
    from codex.cli.watch import watch

    watch(node_of(ctx, options), json)


@codex.command("scrub", short_help="Read and check everything on the node.")
@click.option("--detach", is_flag=True, help="begin it, print the job's ID, and do not wait")
@for_programs("the job as the node tells of it, for programs")
@about_a_node
@click.pass_context
def _scrub(ctx: click.Context, /, detach: bool, json: bool, **options: str | None) -> Exit:
    """Have the node read and check everything it has, and mend what it can.

    Prints what was found; the exit code is 1 when anything is damaged.
    """
    from codex.cli import tasks

    node = node_of(ctx, options)
    if detach:
        job = tasks.scrub(node)
        tell(as_json(job.told) if json else job.id)
        return Exit.DONE
    job = tasks.carry_out(node, lambda: tasks.scrub(node))
    tell(as_json(job.told) if json else tasks.verdict(job))
    if not tasks.is_sound(job):
        complain(tasks.damaged(job), json)
        return Exit.FAILED
    return Exit.DONE


@codex.command("backup", short_help="Copy all that the node holds.")
@click.argument("path", type=A_PATH)
@click.option("--detach", is_flag=True, help="begin it, print the job's ID, and do not wait")
@for_programs("the job as the node tells of it, for programs")
@about_a_node
@click.pass_context
def _backup(ctx: click.Context, /, path: str, detach: bool, json: bool, **options: str | None) -> Exit:
    """Have the node copy all that it holds, as of one moment, into the new directory PATH.

    Everything goes on meanwhile. The directory is one on the node's machine. A node that finds it as `repo`
    in its data directory when it starts goes on with it.

    What the node's disk does not give is damaged in the copy as well; that is said, and the exit code is 1.
    """
    from codex.cli import tasks

    node = node_of(ctx, options)
    if detach:
        job = tasks.backup(node, path)
        tell(as_json(job.told) if json else job.id)
        return Exit.DONE
    job = tasks.carry_out(node, lambda: tasks.backup(node, path))
    tell(as_json(job.told) if json else tasks.copied(job))
    lacking = tasks.incomplete(job)
    if lacking is not None:
        complain(lacking, json)
        return Exit.FAILED
    return Exit.DONE


@codex.command("completion", short_help="The script that completes words in a shell.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def _completion(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and CIDs.

    \b
    bash:  eval "$(codex completion bash)"      in ~/.bashrc
    zsh:   eval "$(codex completion zsh)"       in ~/.zshrc, after compinit
    fish:  codex completion fish | source       in ~/.config/fish/config.fish
    """
    from codex.cli.completion import script

    tell(script(shell))
