"""Messages as bytes: the quick way gives what the general one does. Reading them is for test_messages."""

from hypothesis import given
from hypothesis import strategies as st

from codex.codec import block_cid
from codex.codec.cid import root_cid
from codex.data import Block, LeafAddress, MerkleProof
from codex.exchange.messages import Delivery, Entry, Message
from codex.exchange.writing import encode, encode_blocks, encode_wants

digests = st.binary(min_size=32, max_size=32)
blocks = st.sampled_from([0, 1, 127, 128, 300, 65536]).map(lambda size: Block.of(bytes(size)))
# Where a number takes one byte more.
numbers = st.sampled_from([0, 1, 127, 128, 2**14 - 1, 2**14, 2**21, 2**61])
leaves = st.builds(LeafAddress, st.sampled_from([root_cid(bytes(32)), root_cid(b"1" * 32)]), numbers)
proofs = st.builds(MerkleProof.of, numbers, numbers, st.lists(digests, min_size=1, max_size=40))
deliveries = st.one_of(
    st.builds(Delivery, digests.map(block_cid), blocks),
    st.builds(Delivery, leaves, blocks, st.none() | proofs),
)


addresses = st.one_of(digests.map(block_cid), leaves)


@given(st.lists(addresses, max_size=8), st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_wants_alone_are_written_as_a_message_with_nothing_else(addresses, have, cancel, deny, full):
    parts = encode_wants(addresses, have=have, cancel=cancel, send_dont_have=deny, full=full)
    entries = tuple(Entry(address, have, cancel, deny) for address in addresses)
    assert b"".join(parts) == b"".join(encode(Message(entries, full)))


@given(st.lists(deliveries, max_size=8).map(tuple))
def test_blocks_alone_are_written_as_a_message_with_nothing_else(deliveries):
    blocks = [(one.block, one.proof and one.proof.to_bytes()) for one in deliveries]
    parts = encode_blocks([one.address for one in deliveries], blocks)
    assert b"".join(parts) == b"".join(encode(Message(deliveries=deliveries)))
    # The data are the blocks' own.
    data = [one.block.data for one in deliveries]
    assert [part for part in parts if any(part is one for one in data)] == data
