"""The command `codex demo`: the life of a storage contract among whole nodes, all in this process."""

import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from codex.cli.demo_screen import JsonScreen, LiveScreen, PlainScreen, Screen
from codex.cli.exits import Exit, Failed, Interrupted, ending_signals
from codex.cli.group import A_PATH, codex, for_programs
from codex.cli.output import as_line, note, spent, tell, terminal_width
from codex.errors import CodexError

if TYPE_CHECKING:
    from codex.devnet.demo import Content


@codex.command("demo", short_help="Play the life of a storage contract, with seven nodes and a chain.")
@click.argument("file", metavar="[FILE]", required=False, type=A_PATH)
@click.option("--keep", is_flag=True, help="leave it running at the end, and tell where its APIs are")
@for_programs("what happens as lines of JSON, for programs")
def _demo(file: str | None, keep: bool, json: bool) -> Exit:
    """Store FILE (by default a random one of 1 MiB) with five hosts, and check everything that comes of it.

    A development chain, a client, five hosts and a validator run in this process, each node with a directory,
    an identity and TCP of its own. The client buys 3 + 2 slots and deletes the file; the hosts prove; one of
    them is killed, and its slot is repaired by another. The file is fetched back and compared; the contract
    ends, all are paid, and each account is compared with what the marketplace's rules come to. Whatever is
    wrong is told, and the exit code is 1. It takes about half a minute, and nothing stays.

    It is a simulation in two respects: the chain's time runs faster than the clock, and its verifier accepts
    whatever has the form of a proof.
    """
    import trio

    from codex.config import LogConfig
    from codex.devnet.demo import Content
    from codex.logs import configured

    content = Content.random() if file is None else Content(_readable(Path(file)))
    directory = Path(tempfile.mkdtemp(prefix="codex-demo-"))
    logs = directory / "log"
    try:
        with configured(LogConfig(level="info", format="none", file=logs)):
            trio.run(partial(_run, directory, content, keep, json))
    except Interrupted:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    except CodexError as error:
        # What is needed to find out why stays; what the nodes stored does not.
        for part in directory.iterdir():
            if part != logs:
                shutil.rmtree(part, ignore_errors=True)
        remedy = error.remedy or f"What all nodes logged is in {logs}"
        raise Failed(error.message, remedy=remedy, told=error.code) from error
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)
    return Exit.DONE


def _readable(path: Path) -> Path:
    """The file, which can be opened. Raises Failed."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror or error}") from error
    return path


async def _run(directory: Path, content: "Content", keep: bool, json: bool) -> None:
    import trio

    from codex.devnet import demo
    from codex.devnet.cluster import open_cluster
    from codex.runtime import unwrapped

    plan = demo.Plan()
    stopped: int | None = None
    with (
        trio.open_signal_receiver(signal.SIGINT, *ending_signals()) as signals,
        _screen(json) as screen,
        unwrapped(),
    ):
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                nonlocal stopped
                stopped = await anext(aiter(signals))
                nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            began = trio.current_time()
            async with open_cluster(
                directory, config=plan.config, block_time=plan.block_time, pace=plan.pace
            ) as cluster:

                def tell_now(happening: demo.Happening) -> None:
                    screen.show(happening, trio.current_time() - began)

                await demo.perform(cluster, content, plan, tell_now)
                took = trio.current_time() - began
                screen.close()
                _say_done(took, json)
                if keep:
                    _say_where(cluster.addresses(), json)
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    if stopped is None or keep:
        return
    if stopped == signal.SIGINT:
        raise Interrupted("interrupted")
    raise SystemExit(128 + stopped)


def _screen(json: bool) -> Screen:
    if json:
        return JsonScreen()
    return PlainScreen() if terminal_width() is None else LiveScreen()


def _say_done(took: float, json: bool) -> None:
    if json:
        tell(as_line({"event": "done", "seconds": round(took, 1)}))
    else:
        tell(f"\nEvery byte, state and account is as it must be. It took {spent(took)}.")


def _say_where(addresses: dict[str, str], json: bool) -> None:
    if json:
        tell(as_line({"event": "kept", "apis": addresses}))
        return
    tell("\nIt runs on, with these APIs:")
    for name, url in addresses.items():
        tell(f"{name:9}  {url}")
    note("Ctrl-C ends it.")
