"""The commands about the marketplace: `codex buy`, `sell`, `purchases`, `slots`, `explain`.

Each loads what it needs when it is called. Amounts are in the token's smallest unit.
"""

from collections.abc import Callable

import click

from codex.cli.group import about_a_node, codex, for_programs, node_of, offering
from codex.cli.output import as_json, hint, tell, terminal_width
from codex.errors import InvalidInput
from codex.units import parse_duration, parse_size


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A span of time, `30d` or plain seconds, as whole seconds."""
    return None if value is None else int(_read(parse_duration, ctx, param, value))


def _bytes(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """A size, `50GiB` or plain bytes, as bytes."""
    return int(_read(parse_size, ctx, param, value))


def _read(parse: Callable[[str], float], ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return parse(value)
    except InvalidInput as error:
        raise click.BadParameter(error.message, ctx, param) from error


AMOUNT = click.IntRange(1)


@codex.command("buy", short_help="Buy storage for a dataset from other nodes.")
@click.argument("cid", shell_complete=offering("cids"))
@click.option("--for", "duration", metavar="TIME", callback=_seconds, required=True, help="how long (30d)")
@click.option(
    "--price", metavar="UNITS", type=AMOUNT, required=True, help="units for a byte and second, to each host"
)
@click.option(
    "--collateral", metavar="UNITS", type=AMOUNT, required=True, help="units for a byte, from each host"
)
@click.option("--slots", metavar="N", type=click.IntRange(1), default=3, help="slots, each for a host [3]")
@click.option("--tolerance", metavar="M", type=click.IntRange(1), default=1, help="slots to lose at most [1]")
@click.option(
    "--proofs",
    metavar="P",
    type=AMOUNT,
    default=20,
    help="a proof in one of so many periods [20]",
)
@click.option(
    "--expiry",
    metavar="TIME",
    callback=_seconds,
    help="until when slots must be filled [a tenth, 1h at most]",
)
@click.option("--detach", is_flag=True, help="begin it, print the job's ID, and do not wait")
@for_programs("the job as the node tells of it, for programs")
@about_a_node
@click.pass_context
def _buy(
    ctx: click.Context,
    /,
    cid: str,
    duration: int,
    price: int,
    collateral: int,
    slots: int,
    tolerance: int,
    proofs: int,
    expiry: int | None,
    detach: bool,
    json: bool,
    **options: str | None,
) -> None:
    """Have the node buy storage for a dataset, and print the purchase's id once the chain is to know of it.

    The dataset is cut into N - M rows, M rows of parity are added, and each row is a slot: any N - M of them
    bring it back. The whole price is paid in; what is not used comes back at the end.
    """
    from codex.cli import tasks, trading

    node = node_of(ctx, options)
    terms = {
        "duration": duration,
        "pricePerBytePerSecond": str(price),
        "collateralPerByte": str(collateral),
        "proofProbability": str(proofs),
        "nodes": slots,
        "tolerance": tolerance,
        "expiry": min(max(duration // 10, 1), 3600) if expiry is None else expiry,
    }
    if detach:
        job = trading.buy(node, cid, terms)
        tell(as_json(job.told) if json else job.id)
        return
    job = tasks.carry_out(node, lambda: trading.buy(node, cid, terms))
    tell(as_json(job.told) if json else trading.purchase_of(job))
    hint("`codex purchases` shows how it stands.")


@codex.command("sell", short_help="Offer room to others, for money.")
@click.argument("size", callback=_bytes)
@click.option(
    "--for", "duration", metavar="TIME", callback=_seconds, required=True, help="at most, for one slot"
)
@click.option(
    "--price", metavar="UNITS", type=AMOUNT, required=True, help="units for a byte and second, at least"
)
@click.option(
    "--collateral", metavar="UNITS", type=AMOUNT, required=True, help="units for all slots together, at most"
)
@for_programs("the offer as the node tells of it, for programs")
@about_a_node
@click.pass_context
def _sell(
    ctx: click.Context,
    /,
    size: int,
    duration: int,
    price: int,
    collateral: int,
    json: bool,
    **options: str | None,
) -> None:
    """Have the node offer SIZE (50GiB) to whoever buys storage, and print the offer's id.

    Slots that fit are filled until the room or the collateral is used up. Both come back when a slot ends,
    and are offered again.
    """
    from codex.cli import trading

    made = trading.sell(
        node_of(ctx, options),
        {
            "totalSize": size,
            "duration": duration,
            "minPricePerBytePerSecond": str(price),
            "totalCollateral": str(collateral),
        },
    )
    tell(as_json(made) if json else str(made.get("id")))
    hint("`codex slots` shows what is filled, `codex explain` why something was not.")


@codex.command("purchases", short_help="The storage that the node has bought.")
@for_programs("the node's own answer, for programs")
@about_a_node
@click.pass_context
def _purchases(ctx: click.Context, /, json: bool, **options: str | None) -> None:
    """List the storage that the node has bought, the newest first; what is over, too."""
    from codex.cli import trading

    answer = trading.purchases(node_of(ctx, options))
    shown = as_json(answer) if json else trading.purchases_table(answer, terminal_width())
    if shown:
        tell(shown)
    else:
        hint("This node has bought nothing; `codex buy CID` does.")


@codex.command("slots", short_help="The slots that the node holds for others.")
@for_programs("the node's own answers, for programs")
@about_a_node
@click.pass_context
def _slots(ctx: click.Context, /, json: bool, **options: str | None) -> None:
    """List the slots that the node holds, as the marketplace says, each with what the node does for it."""
    from codex.cli import trading

    held = trading.slots(node_of(ctx, options))
    shown = as_json(held) if json else trading.slots_table(held, terminal_width())
    if shown:
        tell(shown)
    else:
        hint("This node holds no slot; `codex sell SIZE` offers room.")
    hint("`codex explain` lists those that it has looked at, with what became of each.")


@codex.command("explain", short_help="Why a slot was taken, or was not.")
@click.argument("slot", required=False, shell_complete=offering("slots"))
@for_programs("the node's own answer, for programs")
@about_a_node
@click.pass_context
def _explain(ctx: click.Context, /, slot: str | None, json: bool, **options: str | None) -> None:
    """Tell what the node decided about a slot, and why: each check, with what was wanted and offered.

    Without SLOT: list the slots that it has looked at of late, taken or not, each with what became of it.
    """
    from codex.cli import trading

    node = node_of(ctx, options)
    if slot is not None:
        answer = trading.decisions(node, slot)
        tell(as_json(answer) if json else trading.story(answer))
        return
    answer = trading.latest_decisions(node)
    shown = as_json(answer) if json else trading.decisions_table(answer, terminal_width())
    if shown:
        tell(shown)
        hint("`codex explain SLOT` tells all about one of them.")
    else:
        hint("This node has looked at no slot; it does while it has room on offer: `codex sell SIZE`.")
