"""The cost of hiding, read off a sweep's table: the envelope condition, the frontier and the curve it predicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from amarl_jax.lanes.table import LaneTable
from amarl_jax.transition.envelope import slopes
from amarl_jax.transition.frontier import Policies, frontier

COST = "shortfall_units"  # column of what is paid for hiding: implementation shortfall of informed episodes
N_FINE = 60  # penalties at which a prediction is given, beside those of the grid
FINEST = 0.01  # smallest of them above 0


def trade_off(table: LaneTable, arm: str | None = None, scripted: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Envelope slopes between neighbouring penalties, the measured frontier, and I(lambda) that its hull predicts.

    Information is the exact one where the table has it. Cost is the shortfall alone: a lane that pays for
    predictability too minimises something else, and its envelope shows that.

    Args:
        table: of a sweep.
        arm: default the first; at least one seed and two penalties must be whole.
        scripted: rows of :mod:`amarl_jax.evaluation.baselines` of the same market, which join the frontier; those
            without the same information are left out.
    """
    penalty, information = table.grid(table.information, arm)
    cost = table.grid(COST, arm)[1]
    policies = Policies.learned(penalty, information, cost)
    if scripted is not None:
        policies = policies + scripted_policies(scripted, table.information)
    nats, units = policies.points[: len(penalty)].T
    return {
        "information": table.information,
        "n_seeds": len(information),
        "learned": {"lambda": penalty.tolist(), "nats": nats.tolist(), "units": units.tolist()},
        "seeds": {"nats": information.tolist(), "units": cost.tolist()},
        "envelope": [slope.as_json() for slope in slopes(penalty, information, cost)],
        "frontier": frontier(policies).as_json(_between(penalty)),
    }


def can_trade_off(table: LaneTable, arm: str) -> bool:
    """True if an arm has a whole seed and two penalties."""
    penalty, values = table.grid(table.information, arm)
    return len(penalty) > 1 and len(values) > 0


def scripted_policies(rows: Mapping[str, Any], column: str) -> Policies:
    """Scripted policies from rows with value and standard error of cost and of an information ``column``."""
    whole = {
        name: row
        for name, row in rows.items()
        if all(row.get(part, {}).get("value") is not None for part in (column, COST))
    }
    values, errors = (
        np.array([[row[part][what] or 0.0 for part in (column, COST)] for row in whole.values()]).reshape(-1, 2)
        for what in ("value", "stderr")
    )
    return Policies.scripted(list(whole), values, errors)


def _between(penalty: np.ndarray) -> np.ndarray:
    """The penalties of a grid and geometrically spaced ones between its ends, where jumps are sought finely."""
    return np.union1d(penalty, np.geomspace(max(penalty[0], min(FINEST, penalty[-1])), penalty[-1], N_FINE))
