"""Contracts from their source: `python -m codex.devnet.compiling` renews what is shipped, after a change.

What is shipped is one JSON file for each contract beside its source: the bytecode that creates it, and its
interface, with the errors that the compiler does not list.
"""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

NAMES = ("token", "verifier", "marketplace")
SOURCES = files("codex.devnet") / "contracts"

_ERROR = re.compile(r'method_id\("(\w+)\(([\w,]*)\)"\)')


def compiled(source: str) -> dict[str, Any]:
    """The bytecode and the interface of a contract in Vyper. Needs the compiler."""
    from vyper.compiler import compile_code

    made = compile_code(source, output_formats=["bytecode", "abi"])
    # Functions with an argument that may be left out have as many selectors as forms; one form is refused.
    interface = [entry for entry in made["abi"] if not _is_refused(entry)]
    return {"abi": [*interface, *_errors(source)], "bytecode": made["bytecode"]}


def _is_refused(entry: dict[str, Any]) -> bool:
    return entry.get("name") == "freeSlot" and len(entry["inputs"]) == 2


def _errors(source: str) -> list[dict[str, Any]]:
    found = sorted(set(_ERROR.findall(source)))
    return [
        {
            "type": "error",
            "name": name,
            "inputs": [{"name": "", "type": kind} for kind in kinds.split(",") if kind],
        }
        for name, kinds in found
    ]


def main() -> None:
    """Compile every contract and write what came of it beside its source."""
    folder = Path(str(SOURCES))
    for name in NAMES:
        artefact = compiled((folder / f"{name}.vy").read_text("utf-8"))
        (folder / f"{name}.json").write_text(json.dumps(artefact, indent=1) + "\n", "utf-8")
        print(f"{name}: {len(artefact['bytecode']) // 2 - 1} bytes")


if __name__ == "__main__":
    main()
