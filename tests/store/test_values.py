"""The small values of the store."""

from codex.codec import block_cid
from codex.store import Progress, Space
from codex.store.values import Recount


def test_what_is_available_is_never_less_than_nothing() -> None:
    assert Space(1, 100, 30, 20).available == 50
    assert Space(1, 100, 90, 20).available == 0


def test_progress_adds_up() -> None:
    one, two = block_cid(bytes(32)), block_cid(bytes([1]) * 32)
    progress = (
        Progress(0, 100).further(10, corrupt=[one]).further(5, corrupt=[two], missing=[7], mended=(one,))
    )
    assert progress == Progress(15, 100, (one, two), (7,), (one,))
    assert repr(progress) == "Progress(bytes_done=15, bytes_total=100, corrupt=<2>, missing=<1>, mended=<1>)"


def test_a_recount_is_right_when_nothing_differs() -> None:
    assert Recount().right
    assert not Recount(refs=((1, 1),)).right
