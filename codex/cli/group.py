"""The command `codex` itself, its help, and what its commands have in common."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import click

from codex.cli.exits import MEANINGS, Exit, Failed
from codex.cli.finding import Target, environment, find_node
from codex.cli.output import complain
from codex.config import OPTIONS, load
from codex.config.options import NODE, PERSISTENCE, PROVER
from codex.errors import CodexError
from codex.version import VERSION

Command = TypeVar("Command", bound=Callable[..., Any])

VARIABLE = "_CODEX_COMPLETE"
"""The variable by which a shell asks what may stand next, instead of running a command."""
CHAPTERS = {
    "Datasets": ("put", "get", "ls", "rm", "pin", "unpin", "protect", "verify"),
    "The node": ("info", "space", "peers", "connect", "jobs", "watch", "scrub", "backup"),
    "The marketplace": ("buy", "sell", "purchases", "slots", "explain", "demo", "devnet"),
    "The shell": ("completion",),
}
"""The commands, as the help groups them."""


class _Codex(click.Group):
    """The group's help has chapters, and also lists the node's options and the exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for names in CHAPTERS.values() for name in names]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in CHAPTERS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(80)) for name in names])
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
    config = load(args, environment())
    from codex.cli.running import run

    return run(config)


A_PATH = click.Path(readable=False)
"""Completed as a path by a shell; whether it can be used is found out, and said better, where it is used."""
_ABOUT_A_NODE = (
    ("--config-file", "PATH", "TOML file with the node's options"),
    ("--api-token-file", "PATH", "file with the token that the node wants"),
    ("--api-bindaddr", "ADDRESS", "address of the node's REST interface"),
    ("--api-port", "PORT", "port of the node's REST interface"),
    ("--data-dir", "PATH", "data directory of the node that is meant"),
)


def about_a_node(command: Command) -> Command:
    """Add the options that say which node is meant; `node_of` takes them."""
    for name, metavar, help in _ABOUT_A_NODE:
        kind = A_PATH if metavar == "PATH" else None
        command = click.option(name, metavar=metavar, help=help, type=kind)(command)
    return command


def for_programs(help: str) -> Callable[[Command], Command]:
    """Add the option `--json`, which the command gets as `json`. What goes wrong is then told as JSON too."""
    return click.option("--json", is_flag=True, help=help)


def node_of(ctx: click.Context, options: dict[str, str | None]) -> Target:
    """The node that the options before and after the command mean. Raises NoNode, ConfigError."""
    own = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    return find_node([*ctx.obj, *own], environment())


Offer = Callable[[click.Context, click.Parameter, str], list[Any]]


def offering(what: Literal["cids", "jobs", "slots"]) -> Offer:
    """Let a shell complete a word by what the node that is meant knows; nothing when it does not answer."""

    def offer(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from codex.cli import known

        names = [name.removeprefix("--").replace("-", "_") for name, _, _ in _ABOUT_A_NODE]
        try:
            node = node_of(ctx, {name: ctx.params.get(name) for name in names})
            found = {"cids": known.cids, "jobs": known.jobs, "slots": known.slots}[what](node)
        except CodexError:
            return []
        # A word is expanded by the shell, so it must be nothing but a word.
        fitting = [pair for pair in found if pair[0].isalnum() and pair[0].startswith(incomplete)]
        return [CompletionItem(word, help=help or None) for word, help in fitting]

    return offer


def each(words: Sequence[str], act: Callable[[str], None]) -> Exit:
    """Act on each, going on where one is refused. The exit code tells whether all went well."""
    code = Exit.DONE
    for word in words:
        try:
            act(word)
        except Failed as error:
            complain(error, is_for_programs())
            code = Exit.FAILED
    return code


def is_for_programs() -> bool:
    """Whether the command that runs was given `--json`."""
    return bool(click.get_current_context().params.get("json"))
