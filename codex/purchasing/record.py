"""A purchase as it is remembered on this disk, also when the chain has long forgotten it. Pure."""

import cbor2
from attrs import frozen

from codex.errors import DecodeError
from codex.market import RequestId, StorageRequest
from codex.purchasing.states import State


@frozen(kw_only=True)
class Purchase:
    """One request for storage of this node, and how it stands. Moments are unix seconds.

    `id` is the request's own. `request` is None only where the chain has lost a request that this node never
    knew. `error` says what went wrong, None when nothing did; `withdrawn` whether what was left of the price
    has come back.
    """

    id: RequestId
    request: StorageRequest | None
    state: State
    error: str | None = None
    made: int
    changed: int
    withdrawn: bool = False

    @property
    def over(self) -> bool:
        """Whether there is nothing more to be done for it."""
        return self.state is State.ERRORED or (
            self.state in (State.FINISHED, State.CANCELLED) and self.withdrawn
        )

    def to_bytes(self) -> bytes:
        """As it is kept."""
        request = None if self.request is None else self.request.as_tuple()
        return cbor2.dumps(
            [self.id.raw, request, self.state.value, self.error, self.made, self.changed, self.withdrawn]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Purchase":
        """The reverse. Raises DecodeError."""
        try:
            id, request, state, error, made, changed, withdrawn = cbor2.loads(data)
            return cls(
                id=RequestId(id),
                request=None if request is None else _request(request),
                state=State(state),
                error=error,
                made=made,
                changed=changed,
                withdrawn=withdrawn,
            )
        except (ValueError, TypeError, AssertionError, cbor2.CBORDecodeError) as error:
            raise DecodeError(f"this is no purchase: {error}") from error


def _request(kept: list[object]) -> StorageRequest:
    client, ask, content, expiry, nonce = kept
    assert isinstance(ask, list)
    assert isinstance(content, list)
    return StorageRequest.from_tuple((client, tuple(ask), tuple(content), expiry, nonce))
