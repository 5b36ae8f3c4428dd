"""The node inside a program, without HTTP: store and retrieve, from memory to memory."""

import json
from collections.abc import Iterator

import embedded_node as program
from children import HERE, running
from harness import MIB, Bench, Figure, Line, Row, quotients

WANTED = 0.4  # of the hash alone

LIMIT = 600.0  # seconds that all rounds together may take


def figures(bench: Bench) -> Iterator[Figure]:
    """Store and retrieve with the data on each of the places; the wish is for memory."""
    size = bench.size(256 * MIB, 32 * MIB)
    for place in sorted(bench.places, reverse=True):
        with bench.scratch(place) as directory:
            bench.say(f"a node in a program, data on {place}")
            arguments = (str(directory / "node"), str(size), str(bench.rounds))
            with running(str(HERE / "embedded_node.py"), *arguments) as child:
                samples = json.loads(child.line(program.SAYS, LIMIT))
                child.wait()
        rows = [Row(label, "MB/s", tuple(found)) for label, found in samples.items()]
        store, retrieve, hashing = rows
        yield Figure(
            f"a node in a program, {size // MIB} MiB from and to memory, data on {place}",
            rows,
            [
                Line("node.store / a", quotients(store, hashing), WANTED, stretch=place != "tmpfs"),
                Line("node.retrieve / a", quotients(retrieve, hashing), WANTED, stretch=True),
            ],
            ["pieces of 1 MiB, other content each round; the bytes were compared once, before the rounds"],
        )
