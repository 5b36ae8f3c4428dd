"""The command `codex devnet`: a development chain with the marketplace's contracts, in this process."""

import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from codex.cli.exits import Exit, Failed, ending_signals
from codex.cli.group import A_PATH, codex, for_programs
from codex.cli.output import as_line, tell

if TYPE_CHECKING:
    from codex.devnet import Devnet

PORT = 8545
"""Where nodes look for a chain unless they are told."""


@codex.command("devnet", short_help="Run a development chain with the marketplace on it.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, help=f"port; 0 is any [{PORT}]")
@click.option(
    "--block-time",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600),
    default=1.0,
    help="seconds between blocks; 0 is a block for each transaction and no others [1]",
)
@click.option("--keys", metavar="DIRECTORY", type=A_PATH, help="write each account's key to a file there")
@click.option(
    "--state",
    metavar="FILE",
    type=A_PATH,
    help="go on with the chain in that file, and write it there at the end",
)
@for_programs("addresses and keys as one line of JSON, for programs")
def _devnet(port: int, block_time: float, keys: str | None, state: str | None, json: bool) -> Exit:
    """Run a development chain with the marketplace's contracts on it, until it is stopped.

    It needs no node and no installation, and has accounts with money to play with. Nodes reach it by the URL
    that it prints. Nothing of it is kept without --state. What has the form of a proof
    passes for one.
    """
    import trio

    from codex.config import LogConfig
    from codex.logs import configured

    with configured(LogConfig(level="warn")):
        trio.run(partial(_run, port, block_time, keys, state, json))
    return Exit.DONE


async def _run(port: int, block_time: float, keys: str | None, state: str | None, json: bool) -> None:
    import trio

    from codex.devnet import open_devnet

    with trio.open_signal_receiver(signal.SIGINT, *ending_signals()) as signals:
        file = None if state is None else Path(state)
        async with open_devnet(port=port, block_time=block_time or None, state=file) as devnet:
            if keys is not None:
                _write_keys(devnet, Path(keys))
            tell(as_line(_told(devnet, block_time)) if json else _shown(devnet, block_time))
            await anext(aiter(signals))


def _told(devnet: "Devnet", block_time: float) -> dict[str, Any]:
    return {
        "url": devnet.url,
        "httpUrl": devnet.http_url,
        "chainId": devnet.chain_id,
        "blockTime": block_time,
        "marketplace": devnet.marketplace,
        "token": devnet.token,
        "verifier": devnet.verifier,
        "accounts": [{"address": account.address, "key": account.key} for account in devnet.accounts],
    }


def _shown(devnet: "Devnet", block_time: float) -> str:
    from codex.devnet.opening import FUNDS, TOKENS

    pace = f"a block every {block_time:g} s" if block_time else "a block for each transaction"
    unit = 10**18
    return "\n".join(
        [
            f"The development chain is at {devnet.url} and {devnet.http_url}",
            f"Chain id {devnet.chain_id}, {pace}.",
            "",
            f"marketplace  {devnet.marketplace}",
            f"token        {devnet.token}",
            f"verifier     {devnet.verifier}",
            "",
            f"Accounts, each with {FUNDS // unit} ETH and {TOKENS // unit} tokens. All know the keys.",
            *(f"{account.address}  {account.key}" for account in devnet.accounts),
            "",
            "Ctrl-C ends it.",
        ]
    )


def _write_keys(devnet: "Devnet", folder: Path) -> None:
    """One file for each account, `0.key` and so on, that only this user reads. Raises Failed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number, account in enumerate(devnet.accounts):
            path = folder / f"{number}.key"
            with suppress(FileNotFoundError):
                path.unlink()
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(account.key + "\n")
    except OSError as error:
        raise Failed(f"the keys cannot be written to {folder}: {error.strerror or error}") from error
