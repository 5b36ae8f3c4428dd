"""Measure the node, each figure beside its floor or a peer taken in the same run: `make bench`.

Prints tables, and writes every sample into bench-results/. A line that is missed is shown and does not fail
the run; something that does not work does.
"""

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

import calls
import chain
import commands
import demo
import dht
import download
import embedded
import erasure
import loop
import market
import memory
import network
import p2p
import poseidon
import protect
import serving
import start
import upload
import websocket
from harness import Bench, BenchFailed, Figure, as_data, figure_lines
from machine import facts

FIGURES: Mapping[str, Callable[[Bench], Iterator[Figure]]] = {
    "upload": upload.figures,
    "download": download.figures,
    "embedded": embedded.figures,
    "memory": memory.figures,
    "start": start.figures,
    "calls": calls.figures,
    "serving": serving.figures,
    "websocket": websocket.figures,
    "commands": commands.figures,
    "loop": loop.figures,
    "p2p": p2p.figures,
    "network": network.figures,
    "dht": dht.figures,
    "erasure": erasure.figures,
    "poseidon": poseidon.figures,
    "protect": protect.figures,
    "chain": chain.figures,
    "market": market.figures,
    "demo": demo.figures,
}

RESULTS = Path("bench-results")


def main() -> int:
    """Measure what the command line asks for; the exit code."""
    options = _options()
    _end_in_order()
    places = {"disk": options.disk, "tmpfs": options.tmpfs}
    bench = Bench(places, options.rounds, options.quick, _say)
    known = facts(places)
    for name, value in known.items():
        print(f"{name + ':':<14}{value}")
    if options.quick:
        print("quick: the sizes are too small for the figures to say much")
    started = time.monotonic()
    done: list[Figure] = []
    failed: dict[str, str] = {}
    try:
        for name in options.only or FIGURES:
            try:
                for figure in FIGURES[name](bench):
                    done.append(figure)
                    _say("")
                    print("\n".join(figure_lines(figure)), flush=True)
            except Exception as error:
                # Whatever it is, the other figures may still be had.
                failed[name] = str(error) if isinstance(error, BenchFailed) else traceback.format_exc()
                _say("")
                print(f"\n{name} FAILED: {failed[name]}", flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    finally:
        _say("")
        took = round(time.monotonic() - started)
        if done or failed:
            _keep({"machine": known, "quick": options.quick, "seconds": took}, done, failed)
    print(f"took {took} s")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--only", action="append", choices=FIGURES, help="only this; may be given again")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see whether it works")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that count, after one that does not [5]"
    )
    parser.add_argument(
        "--disk", type=Path, default=Path("build/bench"), help="directory on a disk [build/bench]"
    )
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="directory in memory [/dev/shm]")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("there must be a round at least")
    return options


def _end_in_order() -> None:
    """Let the first SIGINT, SIGTERM or SIGHUP unwind everything, and let nothing disturb that."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        for other in ends:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in ends:
        signal.signal(number, end)


def _say(text: str) -> None:
    """Show on a terminal what is being done, in place of what was; an empty text takes it away."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _keep(about: dict[str, object], done: list[Figure], failed: dict[str, str]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / time.strftime("%Y%m%d-%H%M%SZ.json", time.gmtime())
    path.write_text(json.dumps(about | {"figures": as_data(done), "failed": failed}, indent=1) + "\n")
    print(f"\nevery sample is in {path}")


if __name__ == "__main__":
    sys.exit(main())
