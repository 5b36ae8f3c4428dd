"""Reading a configuration: command line, then environment, then TOML file, then defaults.

Nothing is touched but the file that was named, and that through the reader that was given. A value that
cannot be used is a ConfigError that names the option, the source, the value and what is accepted.
"""

import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from codex.config import arguments, values
from codex.config.kinds import TEXT_LIMIT
from codex.config.options import BY_NAME, BY_VARIABLE, OPTIONS, PERSISTENCE, PROVER, Option
from codex.errors import ConfigError, InvalidInput

FILE_LIMIT = 1024 * 1024
"""Bytes that a configuration file may have."""


@frozen
class _Given:
    """The value of an option, parsed, and where it came from."""

    option: Option
    value: Any
    source: str


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_LIMIT + 1)


def load(
    args: Sequence[str],
    environ: Mapping[str, str],
    *,
    read: Callable[[Path], bytes] = _read_file,
    platform: str = sys.platform,
) -> values.Config:
    """The configuration that `args` (without the program's name), `environ` and the file they name ask for.

    Raises ConfigError. `platform` is as in `sys.platform`; with `environ` it decides the default data
    directory.
    """
    words = arguments.read(args)
    if words.consumed < len(args):
        raise ConfigError(
            f"{args[words.consumed]!r} is not an option",
            remedy="Options start with --, and persistence and prover may follow; see `codex --help`.",
        )
    given = _from_environment(environ, words.parts)
    for name, texts in words.given.items():
        given[name] = _parsed(BY_NAME[name], texts if BY_NAME[name].many else texts[-1:], "command line")
    if "config-file" in given:
        given = _from_file(_home(given["config-file"].value, environ), read) | given
    return _assemble(given, words.parts, environ, platform)


def default_data_dir(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where a node keeps its data unless told otherwise. Raises ConfigError without a home directory."""
    variable = "USERPROFILE" if platform == "win32" else "HOME"
    home = environ.get(variable, "")
    if not home:
        raise ConfigError(
            f"{variable} is not set, so there is no default data directory",
            remedy="Name one with --data-dir, or set CODEX_DATA_DIR.",
        )
    match platform:
        case "win32":
            return Path(home) / "AppData" / "Roaming" / "Codex"
        case "darwin":
            return Path(home) / "Library" / "Application Support" / "Codex"
    return Path(home) / ".cache" / "codex"


def _from_environment(environ: Mapping[str, str], parts: list[str]) -> dict[str, _Given]:
    # A container's environment often carries the options of a part that is not started here; they mean
    # nothing then.
    return {
        option.name: _parsed(option, _listed(environ[variable], option), f"environment, {variable}")
        for variable, option in BY_VARIABLE.items()
        if variable in environ and option.section in parts
    }


def _listed(text: str, option: Option) -> list[str]:
    """The values in one variable: those of a list stand apart by commas or spaces, which none of them
    contains.
    """
    return text.replace(",", " ").split() if option.many else [text]


def _from_file(path: Path, read: Callable[[Path], bytes]) -> dict[str, _Given]:
    try:
        data = read(path)
        if len(data) > FILE_LIMIT:
            raise ConfigError(
                f"the configuration file {path} has more than {FILE_LIMIT} bytes",
                remedy="Name a TOML file with --config-file.",
            )
        table = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read: {error.strerror or error}",
            remedy="Name an existing, readable file with --config-file, or leave the option out.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"the configuration file {path} is not TOML: {error}",
            remedy='Write one option a line, as in: storage-quota = "20GiB"',
        ) from error
    given = {}
    for name, value in table.items():
        option = BY_NAME.get(name)
        if option is None or name == "config-file":
            raise ConfigError(
                f"{path}: there is no option {name!r}",
                remedy="A key is the name of an option without its dashes; `codex --help` lists them.",
            )
        given[name] = _parsed(option, _texts(option, value, path), str(path))
    return given


def _texts(option: Option, value: object, path: Path) -> list[str]:
    """The values of a TOML entry as the texts one would write on the command line."""
    items = value if option.many and isinstance(value, list) else [value]
    if not option.many or isinstance(value, list):
        taken = (str, *option.kind.toml)
        # A bool is an int to isinstance, and is none to a reader.
        if all(isinstance(item, taken) and (type(item) is not bool or bool in taken) for item in items):
            return [str(item).lower() if isinstance(item, bool) else str(item) for item in items]
    names = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}
    accepted = (
        "an array of strings"
        if option.many
        else " or ".join(names[kind] for kind in (str, *option.kind.toml))
    )
    raise ConfigError(
        f"{option.name} = {_brief(value)} ({path}): wrong type",
        remedy=f"Give {accepted} ({option.kind.name}).",
    )


def _parsed(option: Option, texts: Sequence[str], source: str) -> _Given:
    parsed = []
    for text in texts:
        try:
            if len(text) > TEXT_LIMIT:
                raise InvalidInput("too long", remedy=f"Give at most {TEXT_LIMIT} characters.")
            parsed.append(option.kind.parse(text))
        except InvalidInput as error:
            raise ConfigError(
                f"{option.name} = {_brief(text)} ({source}): {error.message}", remedy=error.remedy
            ) from error
    return _Given(option, tuple(parsed) if option.many else parsed[0], source)


def _assemble(
    given: dict[str, _Given], parts: list[str], environ: Mapping[str, str], platform: str
) -> values.Config:
    fields: dict[str, dict[str, Any]] = {}
    warnings = []
    for option in OPTIONS:
        if option.name in given and option.field:
            part, _, name = option.field.rpartition(".")
            value = given[option.name].value
            fields.setdefault(part, {})[name] = _home(value, environ) if isinstance(value, Path) else value
        elif option.name in given and option.name != "config-file":
            warnings.append(f"{option.name} ({given[option.name].source}) is {option.help}")
    warnings += [
        f"the environment variable {name} is set, and there is no such option"
        for name in sorted(environ)
        if name.startswith("CODEX_") and name not in BY_VARIABLE
    ]
    own = fields.get("", {})
    data_dir = own.pop("data_dir", None) or default_data_dir(environ, platform)
    return values.Config(
        data_dir,
        store=values.StoreConfig(**fields.get("store", {})),
        api=values.ApiConfig(port_explicit="api-port" in given, **fields.get("api", {})),
        log=values.LogConfig(**fields.get("log", {})),
        metrics=values.MetricsConfig(**fields.get("metrics", {})),
        p2p=values.P2pConfig(**fields.get("p2p", {})),
        discovery=values.DiscoveryConfig(port_explicit="disc-port" in given, **fields.get("discovery", {})),
        exchange=values.ExchangeConfig(**fields.get("exchange", {})),
        market=_market(fields.get("market", {})) if PERSISTENCE in parts else None,
        prover=_prover(fields.get("prover", {}), data_dir) if PROVER in parts else None,
        warnings=tuple(warnings),
        **own,
    )


def _market(fields: dict[str, Any]) -> values.MarketConfig:
    market = values.MarketConfig(**fields)
    if market.account is None and market.private_key_file is None:
        raise ConfigError(
            "persistence needs an Ethereum account",
            remedy="Give --eth-private-key=FILE, or --eth-account=0xADDRESS when the provider signs for it.",
        )
    if market.validator_group_index >= (market.validator_groups or 1):
        raise ConfigError(
            f"validator-group-index = {market.validator_group_index}: there is no such group",
            remedy="Give an index below --validator-groups; the first group is 0.",
        )
    return market


def _prover(fields: dict[str, Any], data_dir: Path) -> values.ProverConfig:
    folder = fields.setdefault("circuit_dir", data_dir / "circuits")
    for kind in ("r1cs", "wasm", "zkey"):
        fields.setdefault(f"circom_{kind}", folder / f"proof_main.{kind}")
    return values.ProverConfig(**fields)


def _home(path: Path, environ: Mapping[str, str]) -> Path:
    """`path` with a leading `~` replaced: a shell does not do it after `=`, nor in a file."""
    if path.parts[:1] == ("~",) and environ.get("HOME"):
        return Path(environ["HOME"]).joinpath(*path.parts[1:])
    return path


def _brief(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 100 else shown[:100] + "…"
