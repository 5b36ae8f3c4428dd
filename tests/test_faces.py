"""The face of the package: cheap to import, whole, and of the version that is installed."""

import importlib.metadata
import importlib.resources
import subprocess
import sys

import pytest

import codex
from codex import version


def test_importing_codex_loads_almost_nothing() -> None:
    probe = (
        "import sys; before = set(sys.modules); import codex; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert "codex" in loaded.split()
    heavy = {"trio", "quart", "hypercorn", "attrs", "sqlite3", "click", "rich", "structlog", "cryptography"}
    assert heavy.isdisjoint(loaded.split())


def test_every_name_of_the_face_resolves() -> None:
    assert sorted(codex.__all__) == ["Config", "Node", "__version__", "open_node"]
    for name in codex.__all__:
        assert getattr(codex, name) is not None


def test_names_lead_to_the_things_themselves() -> None:
    from codex.config import Config
    from codex.node import Node, open_node

    assert codex.Config is Config
    assert codex.Node is Node
    assert codex.open_node is open_node


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'attic'"):
        _ = codex.attic  # type: ignore[attr-defined]


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert codex.__version__ == version.VERSION
    assert codex.__version__.removeprefix("v") == importlib.metadata.version("codex-node")


def test_the_package_says_that_it_is_typed() -> None:
    assert importlib.resources.files(codex).joinpath("py.typed").is_file()
