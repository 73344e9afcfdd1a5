"""The messages of a step against the book in one kernel, for a GPU: message by message, with the book on the chip.

What :func:`amarl_jax.lob.table.clear` does in a loop when :func:`amarl_jax.market.events.process` sends it a table, on
the same numbers, all of them int32; see there for what they are. Written in Pallas and compiled by Triton, in which an
array has a power of two of numbers, and an entry is read off one by a sum.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from amarl_jax.kernels import iota, padded, whole_block
from amarl_jax.lob.table import Outcome, Row
from amarl_jax.types import Array

FIELDS = (
    *("owner", "taker", "asked", "is_order", "is_limit", "cancels"),
    *("opposite", "reach", "side", "entry", "target_lots"),
)  # of a message, as columns
OUTCOMES = ("quantity", "filled", "notional", "rested", "cancelled", "target_filled", "marked", "marketable")


def match_in_one_kernel(
    running: Array,
    inventory: Array,
    rows: Row,
    marks: Array,
    key_drop: Array,
    limits: Array,
    interpret: bool = False,
) -> tuple[Array, Outcome]:
    """The running size [2, L + 1] after a table of messages [M], and what each did.

    Args:
        running: [2, L + 1] before the table, beginning with 0.
        inventory: [O] lots of each owner before the table.
        rows: [M].
        marks: [2] entry of the marked order on either side, L for none.
        key_drop: [2, L + 1] by how much the key falls behind each entry.
        limits: [O] lots, the largest absolute position of each owner.
        interpret: True where there is no GPU.
    """
    message = rows.message
    columns = {"owner": message.owner, "taker": message.side, "asked": message.quantity}
    columns |= {name: getattr(rows, name).astype(jnp.int32) for name in FIELDS[len(columns) :]}
    table = jnp.stack([columns[name] for name in FIELDS], axis=-1)
    operands = (running, key_drop, inventory, limits, marks, table)
    done = jax.ShapeDtypeStruct((table.shape[0], len(OUTCOMES)), jnp.int32)
    after, outcomes = pl.pallas_call(
        _match,
        grid=(1,),
        in_specs=[whole_block(x) for x in operands],
        out_specs=[whole_block(running), whole_block(done)],
        out_shape=[jax.ShapeDtypeStruct(running.shape, jnp.int32), done],
        compiler_params=plgpu.CompilerParams(num_warps=1),
        interpret=interpret,
        name="match_table",
    )(*operands)
    found = dict(zip(OUTCOMES, outcomes.T, strict=True))
    return after, Outcome(**found | {"marketable": found["marketable"] > 0})


def _match(
    running_ref: Any,
    drop_ref: Any,
    inventory_ref: Any,
    limits_ref: Any,
    marks_ref: Any,
    table_ref: Any,
    after_ref: Any,
    outcomes_ref: Any,
) -> None:
    n_columns, n_owners = running_ref.shape[1], limits_ref.shape[0]
    width = padded(n_columns)
    place = iota(2 * width)
    side = jnp.where(place < width, 0, 1)
    column = place - width * side
    is_column, owner = column < n_columns, iota(padded(n_owners))
    field = iota(len(OUTCOMES))

    def read(ref: Any) -> Array:
        return plgpu.load(ref.at[side, column], mask=is_column, other=0)

    def of_owners(ref: Any) -> Array:
        return plgpu.load(ref.at[owner], mask=owner < n_owners, other=0)

    drop, limits, marks = read(drop_ref), of_owners(limits_ref), (marks_ref[0], marks_ref[1])

    def step(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        running, inventory = carry
        row = {name: table_ref[i, index] for index, name in enumerate(FIELDS)}
        on = functools.partial(_entry, running, side, column)
        opposite, own = row["opposite"], owner == row["owner"]
        room = _sum(jnp.where(own, limits - row["taker"] * inventory, 0))
        allowed = jnp.minimum(jnp.maximum(row["asked"], 0), jnp.maximum(room, 0))
        wanted = jnp.where(row["is_order"] > 0, allowed, 0)
        available = on(opposite, row["reach"])
        filled = jnp.minimum(wanted, available)
        rested = jnp.where(row["is_limit"] > 0, wanted - filled, 0)
        here = on(row["side"], row["entry"] + 1) - on(row["side"], row["entry"])
        taken = jnp.where(row["asked"] == 0, here, jnp.minimum(row["asked"], here))
        cancelled = jnp.where(row["cancels"] > 0, taken, 0)
        target_filled = jnp.where(row["target_lots"] > 0, row["target_lots"] - here, 0)
        removed = jnp.where(side == opposite, filled, 0)
        mark = jnp.where(opposite == 0, marks[0], marks[1])
        before, after = on(opposite, mark), on(opposite, jnp.minimum(mark + 1, n_columns - 1))
        outcome = (
            allowed,
            filled,
            row["taker"] * _sum(jnp.minimum(running, removed) * drop),
            rested,
            cancelled,
            target_filled,
            jnp.minimum(after, filled) - jnp.minimum(before, filled),
            jnp.minimum(jnp.minimum(wanted, available), 1),
        )
        told = functools.reduce(jnp.add, (jnp.where(field == k, x, 0) for k, x in enumerate(outcome)))
        plgpu.store(outcomes_ref.at[i, field], told)
        moved = (side == row["side"]) & (column > row["entry"])
        running = jnp.maximum(running - removed, 0) + jnp.where(moved, rested - cancelled, 0)
        passive = jnp.where(row["side"] == 0, target_filled, -target_filled)
        return running, inventory + jnp.where(own, row["taker"] * filled + passive, 0)

    start = read(running_ref), of_owners(inventory_ref)
    running, _ = jax.lax.fori_loop(0, table_ref.shape[0], step, start)
    plgpu.store(after_ref.at[side, column], running, mask=is_column)


def _entry(running: Array, side: Array, column: Array, at_side: Array, at: Array) -> Array:
    """The number of ``running`` in one place, []."""
    return _sum(jnp.where((side == at_side) & (column == at), running, 0))


def _sum(x: Array) -> Array:
    return jnp.sum(x, dtype=jnp.int32)
