"""The demo's own content, and the numbers that it is played with."""

from pathlib import Path

from codex.devnet.demo import SIZE, Content, Plan


async def read(content: Content) -> bytes:
    return b"".join([piece async for piece in content.pieces()])


async def test_the_file_that_is_made_up_is_new_each_time() -> None:
    one, other = Content.random(), Content.random()
    assert len(await read(one)) >= SIZE
    assert await read(one) == one.made
    assert one != other


async def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 3000)
    assert await read(Content(path)) == path.read_bytes()


def test_the_plan_keeps_to_what_the_contract_can_judge() -> None:
    plan = Plan()
    proofs = plan.config.proofs
    # All blocks of a period fit between two turns of the pointer, and each proof can be marked in time.
    assert proofs.period / (plan.block_time * plan.pace) < proofs.downtime
    assert proofs.timeout / plan.pace >= 2, "seconds for a validator that is busy"
    assert plan.terms.rows == 3
    assert plan.terms.tolerance == 2
