"""Which node a command means: where it listens, and the token it wants."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

from codex.cli.exits import NoNode
from codex.config import arguments, load, read_token
from codex.errors import ConfigError
from codex.lock import LOCK_FILE, RunningNode, reachable, running_node


@frozen
class Target:
    """The node that a command talks to."""

    host: str
    """IP address or name to connect to."""
    port: int
    token: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The root of its API, as in `http://127.0.0.1:8080`."""
        return RunningNode(0, self.host, self.port).url


def environment() -> dict[str, str]:
    """The environment, with a home directory also where only the user database knows it (services)."""
    return {"HOME": os.path.expanduser("~"), **os.environ}


def find_node(args: Sequence[str], environ: Mapping[str, str]) -> Target:
    """Where the node is that `args` and `environ` mean. Raises NoNode, ConfigError.

    An address on the command line is taken as it is. Else the data directory says where its node listens,
    which is right even when the node had to take another port than it was told; else a port in the
    environment or the file is tried.
    """
    config = load(args, environ)
    given = arguments.read(args).given
    token = None if config.api.token_file is None else read_token(config.api.token_file)
    if not {"api-port", "api-bindaddr"} & set(given):
        try:
            found = running_node(config.data_dir)
        except ConfigError as error:
            raise ConfigError(
                error.message, remedy="Run this as the user of that node, or name its port with --api-port."
            ) from error
        if found is not None:
            return Target(found.host, found.port, token)
        if not config.api.port_explicit:
            raise _nobody(config.data_dir)
    return Target(reachable(config.api.bind), config.api.port, token)


def _nobody(data_dir: Path) -> NoNode:
    """The error that there is no node on `data_dir`, which may be the wrong directory."""
    start = "Start one with `codex`, or name"
    if not data_dir.is_dir():
        why = ": there is no such directory"
    elif not (data_dir / LOCK_FILE).exists():
        why, start = ": that is not the data directory of a node", "Name"
    else:
        why = ""
    return NoNode(
        f"no node is running on {data_dir}{why}",
        remedy=f"{start} a running one with --data-dir or --api-port.",
    )
