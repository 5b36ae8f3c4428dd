"""`codex completion`: what a shell may offer after the words that stand there already.

A shell runs `codex` with `_CODEX_COMPLETE` set and the words in `COMP_WORDS`; the scripts that make it do so
are click's. The node's options, which click does not know, are completed here.
"""

import sys
from collections.abc import Iterator

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from codex.cli.group import VARIABLE
from codex.cli.group import codex as group
from codex.config import OPTIONS, Option, split
from codex.config.kinds import FLAG, PATH
from codex.config.options import BY_NAME, BY_SHORT, NODE
from codex.errors import ConfigError

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
Item = CompletionItem[str]


def script(shell: str) -> str:
    """The script that makes `shell` (bash, zsh or fish) ask."""
    return SHELLS[shell](group, {}, "codex", VARIABLE).source().rstrip("\n")


def answer(instruction: str) -> int:
    """Print what may stand next, as a shell asks for it by `instruction` (`bash_complete`); the exit code."""
    shell, _, what = instruction.partition("_")
    if shell not in SHELLS or what != "complete":
        print(f"error: {VARIABLE} is set to {instruction!r}, which asks nothing", file=sys.stderr)
        return 1
    asked = SHELLS[shell](group, {}, "codex", VARIABLE)
    found = offers(*asked.get_completion_args())
    if shell == "fish":
        # Its script cuts an explanation off at the first comma.
        found = [CompletionItem(one.value, one.type, (one.help or "").replace(",", ";")) for one in found]
    click.echo("\n".join(asked.format_completion(item) for item in found))
    return 0


def offers(words: list[str], incomplete: str) -> list[Item]:
    """What may stand after `words`, in place of the `incomplete` one."""
    if incomplete in ("=", ":"):
        words, incomplete = [*words, incomplete], ""
    words = list(_whole(words))
    option = _awaited(words)
    if option is not None:
        return _values(option, incomplete)
    name, mark, value = incomplete.partition("=")
    try:
        own, rest = split(words)
    except ConfigError:
        return []  # what stands there already cannot be meant
    if not rest and incomplete.startswith("-"):
        if mark:
            named = BY_NAME.get(name.removeprefix("--"))
            found = [] if named is None else _values(named, value)
            return [CompletionItem(f"{name}={item.value}", item.type, item.help) for item in found]
        listed = [
            CompletionItem(f"--{one.name}", help=one.help)
            for one in OPTIONS
            if one.section == NODE and not one.hidden
        ]
        listed += [CompletionItem("--help", help="show the help"), CompletionItem("--version")]
        return [item for item in listed if item.value.startswith(incomplete)]
    return ShellComplete(group, {"obj": own}, "codex", VARIABLE).get_completions(rest, incomplete)


def _whole(words: list[str]) -> Iterator[str]:
    """The words as they were written: bash takes them apart at `=` and `:`."""
    word = ""
    for place, part in enumerate(words):
        follows = place > 0 and (part in ("=", ":") or words[place - 1] in ("=", ":"))
        if not follows and place > 0:
            yield word
            word = ""
        word += part
    if words:
        yield word


def _awaited(words: list[str]) -> Option | None:
    """The node's option that the last of `words` names without its value."""
    if not words:
        return None
    *before, last = words
    last = last[:-1] if last[-1:] in ("=", ":") else last
    try:
        if split(before)[1]:
            return None
    except ConfigError:
        return None
    option = BY_NAME.get(last[2:]) if last.startswith("--") else BY_SHORT.get(last[1:])
    wants = option is not None and last.startswith("-") and (option.kind is not FLAG or last != words[-1])
    return option if wants else None


def _values(option: Option, incomplete: str) -> list[Item]:
    """What may be the value of a node's option: a file, or one of some words."""
    if option.kind is PATH:
        return [CompletionItem(incomplete, "dir" if option.name == "data-dir" else "file")]
    words = ["true", "false"] if option.kind is FLAG else option.kind.name.split("|")
    return [CompletionItem(word) for word in words if word.islower() and word.startswith(incomplete)]
