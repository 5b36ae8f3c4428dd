"""A purchase as it is kept."""

import pytest

from codex.errors import DecodeError
from codex.purchasing import Purchase, State
from codex.testing.hosts import a_request


@pytest.mark.parametrize("error", [None, "no"])
def test_a_purchase_is_kept_as_it_is(error: str | None) -> None:
    request = a_request(price=2**200, nonce=7)
    purchase = Purchase(
        id=request.id, request=request, state=State.FAILED, error=error, made=5, changed=6, withdrawn=True
    )
    again = Purchase.from_bytes(purchase.to_bytes())
    assert again == purchase
    assert again.request is not None
    assert again.request.id == request.id


def test_one_whose_request_nobody_knows() -> None:
    purchase = Purchase(id=a_request().id, request=None, state=State.UNKNOWN, made=1, changed=1)
    assert Purchase.from_bytes(purchase.to_bytes()) == purchase
    assert not purchase.over


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x80", b"\x87\x01\x02\x03\x04\x05\x06\x07", b"a purchase"])
def test_what_is_no_purchase(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Purchase.from_bytes(data)
