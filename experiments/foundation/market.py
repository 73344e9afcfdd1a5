"""Is the market fit for the question? Scripted agents, no learning.

For each calibration: what haste costs and gives away (shortfall, completion, a fresh detector's information and
accuracy) for the mimic, TWAP over the day and over windows down to an impatient sweep; the spread of an episode's
shortfall against lambda ln 2; resting orders and messages per step, and what bounds cut off.

    python experiments/foundation/market.py --output=experiments/foundation/market.json
"""

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amarl_jax import config as configuration
from amarl_jax.evaluation.episodes import EpisodeSummary, fresh_summaries
from amarl_jax.evaluation.metrics import fresh_detection, mean_and_error
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.market.env import Market
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Policy
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.trees import as_arrays

LEAN = {  # the middle column of the design's calibration table
    "agents.execution.inventory_lots": 50,
    "environment.noise_trader_arrival_rate": 5.0,
    "environment.max_noise_orders": 12,
    "environment.slot_rate": 0.05,
    "environment.book_capacity": 64,
    "agents.market_maker.max_spread_ticks": 5,
}
CALIBRATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("configs/default.py", {}),
    "lean": ("configs/default.py", LEAN),
    "fast_debug": ("configs/fast_debug.py", {}),
}


def policies(spec: MarketSpec) -> dict[str, Policy]:
    """The mimic, and TWAP from patient to impatient: in clips of a typical order's 5 lots, and once lot by lot."""
    quarter, fortieth = (max(1, round(spec.horizon / parts)) for parts in (4, 40))
    return {
        "mimic": Mimic(spec),
        f"twap_{spec.horizon}_steps_clips_of_5": Twap(spec, None, 5),
        f"twap_{spec.horizon}_steps_lot_by_lot": Twap(spec, None, 1),
        f"twap_{quarter}_steps_clips_of_5": Twap(spec, quarter, 5),
        f"twap_{fortieth}_steps_clips_of_5": Twap(spec, fortieth, 5),
        "sweep_1_step": Twap(spec, 1),
    }


def play(key: jax.Array, policy: Policy, spec: MarketSpec, params: EnvParams, n_episodes: int) -> EpisodeSummary:
    """Episodes of one execution policy against a constant spread and the value rule."""
    players = Players(policy, ConstantSpread(), ValueRule())
    run = jax.jit(lambda k, p: fresh_summaries(k, Market(spec), players, PriorBelief(), p, n_episodes, 256))
    return jax.tree.map(np.asarray, run(key, params))


def measure(key: jax.Array, policy: Policy, spec: MarketSpec, params: EnvParams, n_episodes: int) -> dict[str, Any]:
    """One row of the table."""
    key_play, key_detector = jax.random.split(key)
    rows = play(key_play, policy, spec, params, n_episodes)
    informed = rows.z == 1
    detection = fresh_detection(key_detector, rows, float(params.informed_probability))
    unit = float(params.is_unit_ticks)
    deviation = float(rows.shortfall_ticks[informed].std(ddof=1)) / unit
    return {
        "n_episodes": int(rows.z.size),
        "shortfall_ticks": mean_and_error(rows.shortfall_ticks[informed])._asdict(),
        "completion": mean_and_error(rows.completion[informed])._asdict(),
        "child_orders": mean_and_error(rows.child_orders[informed])._asdict(),
        "information_nats": {"value": float(detection.mi), "stderr": float(detection.mi_stderr)},
        "accuracy": {"value": float(detection.accuracy), "stderr": float(detection.accuracy_stderr)},
        "kl_nats": float(detection.kl_nats),
        "shortfall_deviation_units": deviation,
        "deviation_over_lambda_ln2_at_lambda_1": deviation / math.log(2),
        "episodes_to_see_0.05_units_at_3_stderr": math.ceil((3 * deviation / 0.05) ** 2),
        "spread_ticks": mean_and_error(rows.spread_ticks)._asdict(),
        "traded_lots": mean_and_error(rows.traded_lots)._asdict(),
        "maker_pnl_tick_lots": mean_and_error(rows.maker_pnl)._asdict(),
        "arbitrageur_pnl_tick_lots": mean_and_error(rows.arbitrageur_pnl)._asdict(),
        "snipe_lots": mean_and_error(rows.snipe_lots)._asdict(),
        "resting_orders_per_side": percentiles(rows.resting),
        "messages_per_step": percentiles(rows.messages),
        "noise_orders_cut_per_episode": float(rows.noise_cut.mean()),
        "orders_refused_or_evicted_per_episode": float(rows.refused.mean()),
    }


def percentiles(peaks: np.ndarray) -> dict[str, float]:
    """Of each episode's largest value: median, 99.9th percentile and maximum."""
    return {
        "median_of_peaks": float(np.median(peaks)),
        "p99.9_of_peaks": float(np.percentile(peaks, 99.9)),
        "largest": int(peaks.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/foundation/market.json"))
    parser.add_argument("--n_episodes", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=sorted(CALIBRATIONS), choices=sorted(CALIBRATIONS))
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in args.only:
        path, overrides = CALIBRATIONS[name]
        experiment = configuration.resolve(configuration.load(path, overrides))
        spec, params = experiment.market_spec, as_arrays(experiment.env_params)
        market = {
            "spec": dataclasses.asdict(spec),
            "params": {k: float(v) for k, v in vars(params).items() if v is not None},
        }
        results[name] = {"market": market, "policies": {}}
        for i, (title, policy) in enumerate(policies(spec).items()):
            key = jax.random.fold_in(jax.random.key(args.seed), i)
            row = measure(key, policy, spec, params, args.n_episodes)
            results[name]["policies"][title] = row
            print(
                name,
                title,
                {k: row[k] for k in ("shortfall_ticks", "completion", "information_nats", "accuracy")},
                flush=True,
            )
            config = {"n_episodes": args.n_episodes, "calibrations": {k: CALIBRATIONS[k] for k in args.only}}
            document = {"provenance": provenance(config, args.seed), "results": results}
            args.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
