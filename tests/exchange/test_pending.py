"""Wants by their addresses: as a plain table of addresses would have them."""

from hypothesis import given
from hypothesis import strategies as st

from codex.codec import block_cid, root_cid
from codex.data import BLOCK_SIZE, LeafAddress
from codex.exchange.pending import Pending
from codex.exchange.sources import Fetch, Want

FETCH = Fetch(root_cid(bytes(32)), 0, 0)

numbers = st.integers(0, 5)
addresses = st.one_of(
    st.builds(lambda tree, index: LeafAddress(root_cid(bytes([tree]) * 32), index), numbers, numbers),
    st.builds(lambda n: block_cid(bytes([n]) * 32), numbers),
)


@given(st.lists(addresses, max_size=60), st.lists(addresses, max_size=20))
def test_it_is_a_table_by_address(changes, asked):
    pending, table = Pending(), {}
    for address in changes:
        if address in table:
            pending.remove(table.pop(address))
        else:
            table[address] = want = Want(address, BLOCK_SIZE, 0, FETCH)
            pending.add(want)
        assert len(pending) == len(table)
    assert pending.find(asked) == [pending.get(address) for address in asked]
    assert pending.find(asked) == [table.get(address) for address in asked]
    for want in table.values():
        pending.remove(want)
    assert not pending
    assert not pending._leaves
