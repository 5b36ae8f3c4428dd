"""The options on a command line, and where they end.

Written `--name=value`, `--name:value` or `--name value`; short `-d=value`, `-d:value` or `-d value`. A flag
stands alone or takes `=` or `:`, never the next word. The words `persistence` and, after it, `prover` belong
to the options: they switch on those parts, and the options of a part stand after its word.
"""

from collections.abc import Sequence

from attrs import field, mutable

from codex.config import kinds
from codex.config.options import BY_NAME, BY_SHORT, NODE, OPTIONS, PERSISTENCE, PROVER, Option
from codex.errors import ConfigError

_AFTER = {NODE: PERSISTENCE, PERSISTENCE: PROVER}


@mutable
class Arguments:
    """What was read: the given texts of each option in order, the parts switched on, and how many words that
    took.
    """

    given: dict[str, list[str]] = field(factory=dict)
    parts: list[str] = field(factory=lambda: [NODE])
    consumed: int = 0


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """`argv` cut in two: the node's own options, and the rest from the first word that is none of them.

    The rest starts with a command (`put`), or with an option that asks something (`--help`). Raises
    ConfigError for an option that does not exist, or has no value.
    """
    end = read(argv).consumed
    return list(argv[:end]), list(argv[end:])


def read(argv: Sequence[str]) -> Arguments:
    """Read options from the start of `argv` up to the first word that is none. Raises ConfigError."""
    result = Arguments()
    while result.consumed < len(argv):
        word = argv[result.consumed]
        if word == _AFTER.get(result.parts[-1]):
            result.parts.append(word)
            result.consumed += 1
            continue
        if not word.startswith("-") or word in ("-", "--", "-h", "--help", "--version"):
            break
        option, text = _option(word)
        _check_place(option, result.parts)
        result.consumed += 1
        if text is None and option.kind is kinds.FLAG:
            text = "true"
        elif text is None:
            if result.consumed == len(argv):
                raise ConfigError(
                    f"--{option.name} has no value", remedy=f"Give it as --{option.name}={option.kind.name}."
                )
            text = argv[result.consumed]
            result.consumed += 1
        result.given.setdefault(option.name, []).append(text)
    return result


def _option(word: str) -> tuple[Option, str | None]:
    """The option that `word` names, and the value attached to it, if any."""
    dashes = "--" if word.startswith("--") else "-"
    bare = word[len(dashes) :]
    cut = min((bare.index(mark) for mark in "=:" if mark in bare), default=len(bare))
    name, text = bare[:cut], bare[cut + 1 :] if cut < len(bare) else None
    option = (BY_NAME if dashes == "--" else BY_SHORT).get(name)
    if option is None:
        raise ConfigError(f"there is no option {dashes}{name}", remedy=_closest(name))
    return option, text


def _check_place(option: Option, parts: list[str]) -> None:
    if option.section not in parts:
        words = " ".join([PERSISTENCE, PROVER] if option.section == PROVER else [PERSISTENCE])
        raise ConfigError(
            f"--{option.name} belongs to `codex {words}`",
            remedy=f"Write it after that: codex {words} --{option.name}=…",
        )


def _closest(name: str) -> str:
    import difflib  # only a wrong command line pays for it

    names = difflib.get_close_matches(name, [option.name for option in OPTIONS if not option.hidden], n=1)
    question = f"Did you mean --{names[0]}? " if names else ""
    return f"{question}`codex --help` lists the options."
