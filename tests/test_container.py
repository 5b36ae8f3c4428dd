"""The container's files: what they say holds together, and their steps, taken one by one in an empty
directory, give a node that starts, is healthy, keeps its data and stops when it is told to.

No engine is needed: a small reader of the Dockerfile stands in for it. What it cannot show is the base image
and the ids that files and processes have there.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server

import pytest
import yaml
from attrs import define, field, frozen

from codex.config import load

ROOT = Path(__file__).parents[1]
IDS = "-o 10001 -g 10001"


# -- a small reader of Dockerfiles


@frozen
class Step:
    """One instruction, its flags (`--from=build`), and the rest of its line."""

    word: str
    flags: Mapping[str, str]
    rest: str

    @property
    def argv(self) -> list[str]:
        """The rest as its exec form has it. Raises ValueError for the shell form."""
        found = json.loads(self.rest)
        assert isinstance(found, list)
        return [str(item) for item in found]


def read_steps(text: str) -> list[Step]:
    """The steps of a Dockerfile, in order. A backslash joins lines; comments are no lines."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", "")
    return [_step(line) for line in lines.splitlines() if line.strip()]


def _step(line: str) -> Step:
    word, rest = line.split(maxsplit=1)
    flags = {}
    while found := re.match(r"--([a-z-]+)=(\S+)\s+", rest):
        flags[found[1]] = found[2]
        rest = rest[found.end() :]
    return Step(word, flags, rest.strip())


STEPS = read_steps((ROOT / "Dockerfile").read_text("utf-8"))


def all_of(word: str) -> list[Step]:
    return [step for step in STEPS if step.word == word]


def only(word: str) -> Step:
    [step] = all_of(word)
    return step


def environment() -> dict[str, str]:
    """What ENV sets, as it stands there."""
    return dict(word.split("=", 1) for step in all_of("ENV") for word in shlex.split(step.rest))


def test_steps_are_read() -> None:
    text = '# one\nFROM a:1 AS b\nRUN x \\\n    && y\nHEALTHCHECK --timeout=5s CMD ["z", "\\\nq w"]\n'
    assert read_steps(text) == [
        Step("FROM", {}, "a:1 AS b"),
        Step("RUN", {}, "x     && y"),
        Step("HEALTHCHECK", {"timeout": "5s"}, 'CMD ["z", "q w"]'),
    ]


# -- what the files say


def test_the_image_runs_as_nobody_in_particular_and_keeps_its_data_in_a_volume() -> None:
    assert only("USER").rest == "10001:10001"
    assert only("VOLUME").rest == environment()["CODEX_DATA_DIR"] == environment()["HOME"] == "/data"
    made = [step.rest for step in all_of("RUN") if step.rest.endswith("/data")]
    assert made == [f"install -d {IDS} -m 0700 /data"]
    words = [step.word for step in STEPS]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word in ("RUN", "COPY"))


def test_it_starts_and_stops_without_a_shell_in_between() -> None:
    assert only("ENTRYPOINT").argv == ["codex"]
    assert not all_of("CMD")
    assert only("STOPSIGNAL").rest == "SIGTERM"


def test_both_stages_have_one_python_that_the_package_supports() -> None:
    bases = {step.rest.split()[0] for step in all_of("FROM")}
    assert len(bases) == 1
    found = re.fullmatch(r"python:3\.(\d+)-slim-\w+", bases.pop())
    assert found
    assert f"Python :: 3.{found[1]}" in (ROOT / "pyproject.toml").read_text("utf-8")


def test_its_environment_is_options_that_the_node_takes_and_ports_that_are_told() -> None:
    options = {name: value for name, value in environment().items() if name.startswith("CODEX_")}
    config = load([], options)
    assert (config.api.bind, config.metrics.address) == ("0.0.0.0", "0.0.0.0")
    assert only("EXPOSE").rest.split() == [str(config.api.port), str(config.metrics.port)]
    assert not config.metrics.enabled


def compose() -> dict[str, dict[str, dict[str, object]]]:
    found = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def test_two_nodes_are_composed_that_share_nothing() -> None:
    alice, bob = compose()["services"].values()
    assert list(compose()["services"]) == list(compose()["volumes"]) == ["alice", "bob"]
    for node in (alice, bob):
        assert (node["build"], node["image"]) == (".", "codex-node")
        assert node["read_only"] is True
        assert node["stop_grace_period"] == "60s"
    assert alice["volumes"] == ["alice:/data"]
    assert bob["volumes"] == ["bob:/data"]


def test_the_composed_nodes_are_reached_from_this_machine_only_and_at_ports_of_their_own() -> None:
    outside: list[str] = []
    exposed = only("EXPOSE").rest.split()
    for node in compose()["services"].values():
        ports = node["ports"]
        assert isinstance(ports, list)
        for published in ports:
            address, port, inside = str(published).split(":")
            assert address == "127.0.0.1"
            assert inside in exposed
            outside.append(port)
    assert len(outside) == len(set(outside)) == 4


def test_the_composed_nodes_environment_is_options_that_the_node_takes() -> None:
    for node in compose()["services"].values():
        options = node["environment"]
        assert isinstance(options, dict)
        config = load([], environment() | options)
        assert config.metrics.enabled
        assert config.data_dir == Path("/data")


# -- its steps


@define
class Image:
    """An image in the making: a directory in the place of its root, and what its steps have set."""

    root: Path
    port: int
    env: dict[str, str] = field(factory=dict)
    workdir: Path = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.workdir = self.root

    def here(self, text: str) -> str:
        """`text` with paths of the image as paths below the directory, and its port as a free one."""
        moved = re.sub(r"(?<![\w./-])/(?=(opt|src|data)\b)", f"{self.root}/", text)
        return re.sub(r"\b8080\b", str(self.port), moved)

    def take(self, step: Step, context: Path, stages: Mapping[str, Path]) -> None:
        """Do what the engine would."""
        match step.word:
            case "WORKDIR":
                self.workdir = Path(self.here(step.rest))
                self.workdir.mkdir(parents=True)
            case "COPY":
                *sources, to = step.rest.split()
                self._copy(sources, to, stages[step.flags["from"]] if "from" in step.flags else context)
            case "RUN":
                mine = step.rest if os.geteuid() == 0 else step.rest.replace(IDS, "")
                self.run(["sh", "-ec", self.here(mine)], cwd=self.workdir)
            case "ENV":
                for word in shlex.split(step.rest):
                    name, value = word.split("=", 1)
                    self.env[name] = self.here(value).replace("$PATH", self.env["PATH"])

    def _copy(self, sources: list[str], to: str, origin: Path) -> None:
        target = self.workdir / self.here(to)
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, target, symlinks=True)
            else:
                shutil.copy(found, target / found.name)

    def run(self, argv: list[str], cwd: Path | None = None) -> str:
        """Run a command to its end inside; its output. Raises CalledProcessError."""
        done = subprocess.run(
            argv, cwd=cwd or self.root, env=self.env, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def healthy(self) -> bool:
        """Whether the image's own check says so."""
        command = only("HEALTHCHECK").rest.removeprefix("CMD ")
        argv = Step("CMD", {}, self.here(command)).argv
        return subprocess.run(argv, env=self.env, stderr=subprocess.DEVNULL, check=False).returncode == 0

    @contextmanager
    def container(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """Run its entry point, from when the API listens until it is stopped as an engine stops it."""
        argv = [*only("ENTRYPOINT").argv, *options]
        stop = signal.Signals[only("STOPSIGNAL").rest]
        with subprocess.Popen(argv, cwd=self.root, env=self.env, stderr=subprocess.PIPE, text=True) as node:
            try:
                assert node.stderr is not None
                assert any("The API listens on" in line for line in node.stderr), node.wait()
                yield node
            finally:
                node.send_signal(stop)
                node.communicate(timeout=60)

    def everything_but_the_volume(self) -> dict[str, tuple[int, int]]:
        """Every file's time and size."""
        volume = Path(self.here(only("VOLUME").rest))
        found = [path for path in self.root.rglob("*") if volume not in (path, *path.parents)]
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in found}


def free_port() -> int:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert isinstance(port, int)
    return port


def start_of(root: Path, tmp_path: Path) -> Image:
    """The base image: an empty directory, and beside it a `python` and the system's commands."""
    bin_dir = tmp_path / "base"
    bin_dir.mkdir(exist_ok=True)
    python = bin_dir / "python"
    python.write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" "$@"\n')
    python.chmod(0o755)
    root.mkdir()
    return Image(root, free_port(), {"PATH": f"{bin_dir}:/usr/bin:/bin", "HOME": str(root)})


def context(tmp_path: Path) -> Path:
    """What the engine gets to see of this directory: .dockerignore applied, as far as it goes here."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    everything, *rules = [line for line in lines if line and not line.startswith("#")]
    assert everything == "*"
    kept = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    dropped = [rule.removeprefix("**/") for rule in rules if not rule.startswith("!")]
    seen = tmp_path / "context"
    seen.mkdir()
    for name in kept:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, seen / name, ignore=shutil.ignore_patterns(*dropped))
        else:
            shutil.copy(ROOT / name, seen)
    return seen


def test_the_engine_sees_what_is_copied_and_no_leftovers(tmp_path: Path) -> None:
    seen = context(tmp_path)
    assert (seen / "codex" / "api" / "mimetypes.txt").exists()
    assert not any(fnmatch(path.name, "__pycache__") for path in seen.rglob("*"))
    for step in all_of("COPY"):
        if "from" not in step.flags:
            *sources, _ = step.rest.split()
            assert all((seen / source).exists() for source in sources), step


def built(tmp_path: Path) -> Image:
    """The image, made step by step. Each stage is made in the same place, since paths in it are absolute."""
    seen, root = context(tmp_path), tmp_path / "root"
    stages: dict[str, Path] = {}
    name = ""
    image: Image | None = None
    for step in STEPS:
        if step.word == "FROM":
            if image is not None:
                stages[name] = root.rename(tmp_path / f"stage-{name}")
            name = step.rest.rpartition(" AS ")[2]
            image = start_of(root, tmp_path)
        else:
            assert image is not None
            image.take(step, seen, stages)
    assert image is not None
    return image


def of_this_environment(tmp_path: Path) -> Image:
    """The image's last steps on top of this environment, instead of one that was installed for it."""
    image = start_of(tmp_path / "root", tmp_path)
    image.env["PATH"] = f"{Path(sys.executable).parent}:{image.env['PATH']}"
    for step in STEPS:
        if step.word == "ENV" or (step.word == "RUN" and "/data" in step.rest):
            image.take(step, tmp_path, {})
    return image


def token_recipe() -> str:
    """The shell command that compose.yaml gives for making a token."""
    text = (ROOT / "compose.yaml").read_text("utf-8")
    assert "# CODEX_API_TOKEN_FILE: /data/api-token" in text
    [recipe] = re.findall(r"'(umask .*)'", text)
    assert isinstance(recipe, str)
    return recipe


def works(image: Image) -> None:
    """Run the image as a container, twice; the second time behind a token."""
    # As published with -p 127.0.0.1:…; that the image itself says 0.0.0.0 is asked for above.
    image.env["CODEX_API_BINDADDR"] = "127.0.0.1"
    (image.root / "hello.txt").write_text("some file contents")
    before = image.everything_but_the_volume()
    assert not image.healthy()
    with image.container("--storage-quota=1GiB") as node:
        assert image.healthy()
        cid = image.run(["codex", "put", "hello.txt"]).strip()
        assert str(1 << 30) in image.run(["codex", "space", "--json"])
    assert node.returncode == 0
    assert not image.healthy()
    image.run(["sh", "-ec", image.here(token_recipe())])
    image.env["CODEX_API_TOKEN_FILE"] = image.here("/data/api-token")
    with image.container() as node:
        assert image.healthy()
        assert image.run(["codex", "get", cid, "-o", "-"]) == "some file contents"
    assert node.returncode == 0
    # The file system of a container may be read-only but for its volume.
    assert image.everything_but_the_volume() == before


def test_its_entry_point_is_a_healthy_node_that_stops_when_told(tmp_path: Path) -> None:
    works(of_this_environment(tmp_path))


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (404, False), (500, False)])
def test_it_is_healthy_when_the_node_says_so_wherever_it_listens(
    tmp_path: Path, status: int, healthy: bool
) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    image = of_this_environment(tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            # As with -e CODEX_API_PORT=…, say.
            image.env["CODEX_API_PORT"] = str(server.server_address[1])
            image.env["HTTP_PROXY"] = image.env["http_proxy"] = "http://127.0.0.1:1"
            assert image.healthy() == healthy
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/api/codex/v1/health"]


@pytest.mark.soak  # it asks the package index, which the other tests do without
def test_its_steps_in_an_empty_root_give_a_healthy_node(tmp_path: Path) -> None:
    image = built(tmp_path)
    assert image.run(["which", "codex"]).strip() == str(image.root / "opt" / "codex" / "bin" / "codex")
    works(image)
