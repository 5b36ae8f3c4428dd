"""The commands of `codex`, their options and help."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, TypeVar

import click

from codex.cli.exits import MEANINGS, Exit, Failed, exit_code
from codex.cli.output import complain
from codex.config import OPTIONS, load, split
from codex.config.options import NODE, PERSISTENCE, PROVER
from codex.errors import CodexError, NotEnabled
from codex.lock import RunningNode
from codex.version import VERSION

Command = TypeVar("Command", bound=Callable[..., Any])


def main(argv: Sequence[str] | None = None) -> int:
    """Run `codex` with `argv` (by default the process's own) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # The node's options have a syntax of their own, so they are taken off before click sees the rest.
        own, rest = split(arguments)
        with _swept() if rest else nullcontext():
            code = codex.main(args=rest, prog_name="codex", standalone_mode=False, obj=own)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except CodexError as error:
        complain(error)
        return exit_code(error)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.DONE


class _Codex(click.Group):
    """The group's help also lists the node's options and the exit codes."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        for section, title in (
            (NODE, "Options of the node"),
            (PERSISTENCE, "Options after the word persistence"),
            (PROVER, "Options after the words persistence … prover"),
        ):
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (
                            (f"-{option.short}, " if option.short else "")
                            + f"--{option.name}={option.kind.name}",
                            option.help + (f" [{option.default}]" if option.default else ""),
                        )
                        for option in OPTIONS
                        if option.section == section and not option.hidden
                    ]
                )
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), meaning) for code, meaning in MEANINGS.items()])


@click.group(
    cls=_Codex,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    subcommand_metavar="[persistence … [prover …]] | COMMAND …",
)
@click.version_option(VERSION, message="codex %(version)s")
@click.pass_context
def codex(ctx: click.Context) -> int | None:
    """A node of the Codex network. Without a COMMAND it runs until it is stopped.

    Options are written --name=value, --name:value or --name value, before the command. Each can also be set
    in the environment (CODEX_STORAGE_QUOTA=50GiB) or in the TOML file that --config-file names (storage-quota
    = "50GiB"); the command line wins over the environment, the environment over the file.
    """
    if ctx.invoked_subcommand is None:
        return _run(ctx.obj)
    return None


def _run(args: list[str]) -> int:
    config = load(args, _environment())
    if config.market is not None:
        raise NotEnabled(
            "this version has no marketplace yet, so `codex persistence` cannot start",
            remedy="Start the node without `persistence` and what follows it: it stores and serves datasets.",
        )
    from codex.cli.running import run

    return run(config)


def _environment() -> dict[str, str]:
    """The environment, with a home directory also where only the user database knows it (services)."""
    return {"HOME": os.path.expanduser("~"), **os.environ}


def _about_a_node(command: Command) -> Command:
    """Add the options that say which node is meant."""
    for name, metavar, help in (
        ("--config-file", "PATH", "TOML file with the node's options"),
        ("--api-bindaddr", "ADDRESS", "address of the node's REST interface"),
        ("--api-port", "PORT", "port of the node's REST interface"),
        ("--data-dir", "PATH", "data directory of the node that is meant"),
    ):
        command = click.option(name, metavar=metavar, help=help)(command)
    return command


def _node(ctx: click.Context, options: dict[str, str | None]) -> RunningNode:
    from codex.cli.connection import find_node

    own = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    return find_node([*ctx.obj, *own], _environment())


@codex.command("put")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--name", help="file name to keep with the dataset [that of the file]")
@click.option(
    "--type",
    "mimetype",
    metavar="TYPE",
    help="media type to keep with it [by the name's ending, if well-known]",
)
@_about_a_node
@click.pass_context
def _put(
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    name: str | None,
    mimetype: str | None,
    **options: str | None,
) -> int:
    """Store files, and print the CID of each on a line; `-` is standard input.

    The CID names the content together with its name and type: the same file under another name has another
    CID.
    """
    from codex.cli.put import put

    if name is not None and len(files) > 1:
        raise click.UsageError("--name goes with one file only")
    node = _node(ctx, options)
    return _each(files, lambda file: click.echo(put(node, file, name, mimetype)))


@codex.command("get")
@click.argument("cid")
@click.option(
    "-o", "--output", metavar="FILE", help="where to: a file, a directory, or - for standard output"
)
@click.option("--force", is_flag=True, help="replace a file that exists")
@click.option("--local", is_flag=True, help="only what this node has; ask no other")
@_about_a_node
@click.pass_context
def _get(
    ctx: click.Context, /, cid: str, output: str | None, force: bool, local: bool, **options: str | None
) -> None:
    """Fetch a dataset into a file, named as it was when it was stored, or else by its CID."""
    from codex.cli.get import get

    path = get(_node(ctx, options), cid, output, force=force, local=local)
    if path is not None and output is None:
        click.echo(path)


@codex.command("ls")
@click.option("--json", "for_programs", is_flag=True, help="the node's own answer, for programs")
@_about_a_node
@click.pass_context
def _ls(ctx: click.Context, /, for_programs: bool, **options: str | None) -> None:
    """List the datasets that the node has."""
    from codex.cli import listing

    listed = listing.datasets(_node(ctx, options))
    shown = listing.as_json(listed) if for_programs else listing.datasets_table(listed)
    if shown:
        click.echo(shown)


@codex.command("rm")
@click.argument("cids", nargs=-1, required=True, metavar="CID…")
@_about_a_node
@click.pass_context
def _rm(ctx: click.Context, /, cids: tuple[str, ...], **options: str | None) -> int:
    """Delete datasets from this node; what it does not have is no error. Other nodes keep theirs."""
    from codex.cli.listing import remove

    node = _node(ctx, options)
    return _each(cids, lambda cid: remove(node, cid))


@codex.command("space")
@click.option("--json", "for_programs", is_flag=True, help="the node's own answer, in bytes, for programs")
@_about_a_node
@click.pass_context
def _space(ctx: click.Context, /, for_programs: bool, **options: str | None) -> None:
    """Show the node's room: quota, used, reserved and free."""
    from codex.cli import listing

    room = listing.space(_node(ctx, options))
    click.echo(listing.as_json(room) if for_programs else listing.space_table(room))


def _each(words: Sequence[str], act: Callable[[str], None]) -> Exit:
    """Act on each, going on where one is refused. The exit code tells whether all went well."""
    code = Exit.DONE
    for word in words:
        try:
            act(word)
        except Failed as error:
            complain(error)
            code = Exit.FAILED
    return code


@contextmanager
def _swept() -> Iterator[None]:
    """Let files in the making be removed when the command is told to stop."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
