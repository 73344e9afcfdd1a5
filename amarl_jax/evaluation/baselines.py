"""Rows of the baselines' table: cost, completion and information of each execution policy."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from amarl_jax.evaluation.episodes import EpisodeSummary
from amarl_jax.evaluation.metrics import Evaluation, MetricValue, Scale, evaluate_summaries
from amarl_jax.information.divergence import bootstrap
from amarl_jax.posterior.exact import ExactRow
from amarl_jax.strict_json import finite
from amarl_jax.types import Array

COLUMNS = {  # of a row, and their names in evaluation.metrics
    "shortfall_ticks": "execution/shortfall_ticks",
    "shortfall_units": "execution/shortfall_units",
    "completion": "execution/completion",
    "child_orders": "execution/child_orders",
    "exact_nats": "information/exact_nats",
    "exact_nats_lower": "information/exact_nats_lower",
    "exact_nats_upper": "information/exact_nats_upper",
    "exact_accuracy": "information/exact_accuracy",
    "information_nats": "information/fresh_nats",  # of the fresh detector; the name is older than the exact reader
    "accuracy": "information/fresh_accuracy",  # likewise
    "fresh_efficiency": "information/fresh_efficiency",
    "mine_efficiency": "information/mine_efficiency",
    "belief_efficiency": "information/belief_efficiency",
    "spread_ticks": "market/spread_ticks",
    "maker_pnl_tick_lots": "maker/pnl_tick_lots",
    "maker_adverse_selection_tick_lots": "maker/adverse_selection_tick_lots",
    "arbitrageur_pnl_tick_lots": "arbitrageur/pnl_tick_lots",
}

MISSING = MetricValue(math.nan, math.nan)  # where this table's episodes have no critic or exact reader
Played = tuple[EpisodeSummary, ExactRow | None]


def rows(
    key: Array,
    play: Callable[[Array, int], Played],
    names: Sequence[str],
    scale: Scale,
    done: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, Any]]:
    """One row per policy, from fresh episodes and a detector freshly trained on them.

    All policies play with the same keys, so that rows differ by policy and not by chance.

    Args:
        key: typed key.
        play: from a key and a policy's place in ``names`` to fresh episodes, and their exact reading.
        names: of the policies.
        scale: units.
        done: called after each row.
    """
    key_play, key_detector, key_bootstrap = jax.random.split(key, 3)
    table = {}
    for i, name in enumerate(names):
        summaries, exact = jax.tree.map(np.asarray, play(jax.random.clone(key_play), i))
        evaluation = evaluate_summaries(jax.random.clone(key_detector), summaries, scale, exact)
        table[name] = row(jax.random.clone(key_bootstrap), summaries, evaluation)
        done()
    return table


def row(key: Array, summaries: EpisodeSummary, evaluation: Evaluation) -> dict[str, Any]:
    """One row: means with standard errors, and KL with a 95% interval over episodes of both classes.

    Args:
        key: typed key of the bootstrap.
        summaries: [n] fresh episodes, host arrays.
        evaluation: of the same episodes.
    """
    kl = bootstrap(key, evaluation.detection.log_ratio, summaries.z).kl_nats
    columns = {column: finite(evaluation.metrics.get(name, MISSING)._asdict()) for column, name in COLUMNS.items()}
    interval = {"value": kl.value, "lower": kl.lower, "upper": kl.upper}
    completion = np.quantile(summaries.completion[summaries.z == 1], (0.05, 0.5, 0.95))
    return {
        "n_episodes": evaluation.n_episodes,
        **columns,
        "kl_nats": finite(interval),
        "completion_quantiles_5_50_95": [float(x) for x in completion],
    }
