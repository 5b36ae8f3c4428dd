import json

import pytest

from codex.devnet.compiling import NAMES, SOURCES, compiled


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shipped_is_what_the_compiler_makes_of_the_source(name: str) -> None:
    shipped = json.loads((SOURCES / f"{name}.json").read_text("utf-8"))
    assert compiled((SOURCES / f"{name}.vy").read_text("utf-8")) == shipped
