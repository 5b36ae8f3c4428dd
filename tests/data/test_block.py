"""Blocks: bytes and the CID that names them."""

import hashlib
from collections.abc import Callable
from typing import Any

from codex.codec.cid import CODEX_BLOCK, EMPTY_BLOCK, SHA2_512, Cid, block_cid, root_cid
from codex.data import BLOCK_SIZE, Block, hash_blocks

Vectors = Callable[[str], Any]


def test_a_block_is_named_by_the_hash_of_its_data() -> None:
    data = b"some file contents".ljust(BLOCK_SIZE, b"\0")
    block = Block.of(data)
    assert str(block.cid) == "zDxWB8ED98hxJ51XwYaoQAwMdskCcmTaPR6Ce2wq88bjvjXRYuR9"
    assert block.cid.codec == CODEX_BLOCK
    assert block.data is data
    assert block.verify()


def test_no_data_is_the_empty_block() -> None:
    assert Block.of(b"").cid == EMPTY_BLOCK
    assert Block(EMPTY_BLOCK, b"").verify()


def test_a_block_whose_data_is_not_that_of_its_cid_does_not_verify() -> None:
    data = bytes(1000)
    cid = block_cid(hashlib.sha256(data).digest())
    assert Block(cid, data).verify()
    assert not Block(cid, data + b"\0").verify()
    assert not Block(cid, b"").verify()
    assert not Block(block_cid(bytes(32)), data).verify()
    # Other kinds of content, and the other hash, verify just as well.
    assert Block(root_cid(cid.digest), data).verify()
    sha512 = Cid(bytes.fromhex("01829a03") + bytes((SHA2_512, 64)) + hashlib.sha512(data).digest())
    assert Block(sha512, data).verify()


def test_blocks_are_equal_by_cid_and_data() -> None:
    view = memoryview(b"abcabc")
    assert Block.of(view[:3]) == Block.of(b"abc")
    assert len({Block.of(view[:3]), Block.of(view[3:]), Block.of(b"abc")}) == 1
    assert Block.of(b"abc") != Block(Block.of(b"abc").cid, b"abd")


def test_it_does_not_show_its_data() -> None:
    assert repr(Block.of(bytes(9))) == f"Block(cid={Block.of(bytes(9)).cid!r}, data=9 bytes)"


def test_many_are_hashed_in_order() -> None:
    whole = memoryview(bytes(range(256)) * 12)
    views = [whole[at : at + 1024] for at in range(0, len(whole), 1024)]
    blocks = hash_blocks(views)
    assert [block.data for block in blocks] == views
    assert [block.cid.digest for block in blocks] == [hashlib.sha256(view).digest() for view in views]
    assert hash_blocks([]) == []
