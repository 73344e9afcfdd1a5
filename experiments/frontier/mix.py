"""Measure private mixes of a lane's policy with the whole order at once, against the lane's own maker and arbitrageur.

    python experiments/frontier/mix.py --workdir=runs/main_sweep/exact_quiet_6 --lanes 7
    python experiments/frontier/report.py

A trader with a private coin plays one policy or the other. Its cost is the mean of theirs. What it leaks is less than
the mean of what they leak, since a reader does not know which one is played, and a jump between the two is where it
is no less. Fresh episodes of either policy are read by whoever knows either, which gives the likelihood of any mix of
them, so every share is measured on the same episodes. All values are lower bounds of one filter
(``exact_nats_lower``). Rows go to ``mix.jsonl`` as they are found; those that stand there are passed over.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from frontier import CORNERS, HERE, opponents
from scipy import special

from amarl_jax.evaluation.episodes import Batch, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.host.provenance import provenance
from amarl_jax.lanes.table import read_lanes
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.policies.bursts import AXES, BurstPlan, Bursts
from amarl_jax.policies.protocol import Policy
from amarl_jax.posterior.exact import ExactSpec

LOUD = "all at once"
SHARES = np.linspace(0.0, 1.0, 41)  # of episodes in which the whole order is sent at once
N_BOOTSTRAP = 400


def information(share: float, ratios: dict[str, np.ndarray], prior: float) -> float:
    """What a mix leaks, nats.

    Args:
        share: of informed episodes in which the second policy plays.
        ratios: log likelihood ratio to noise by the readers of the two policies, [2, n]: of episodes of the first
            policy, of the second, and of noise, under "first", "second" and "noise".
        prior: of an informed episode.
    """
    weights = np.array([1.0 - share, share])
    mixed = {
        name: special.logsumexp(both[weights > 0], axis=0, b=weights[weights > 0, None])
        for name, both in ratios.items()
    }
    of_z = np.log(prior), np.log1p(-prior)
    gained = {name: np.mean(-np.logaddexp(of_z[0], of_z[1] - mixed[name])) for name in ("first", "second")}
    informed = sum(weight * gained[name] for weight, name in zip(weights, gained, strict=True) if weight > 0)
    return float(prior * informed - (1.0 - prior) * np.mean(np.logaddexp(of_z[0] + mixed["noise"], of_z[1])))


def curve(costs: dict[str, np.ndarray], ratios: dict[str, np.ndarray], prior: float) -> dict[str, Any]:
    """Cost and information of every share, and how far below the line between the ends its middle lies.

    "penalty" is that at which the ends tie, and "gain" what the best mix saves there, units of reward.
    """
    leaked = np.array([information(share, ratios, prior) for share in SHARES])
    ends = [float(np.mean(costs[name])) for name in ("first", "second")]
    cost = (1.0 - SHARES) * ends[0] + SHARES * ends[1]
    penalty = (ends[0] - ends[1]) / (leaked[-1] - leaked[0])
    below = (1.0 - SHARES) * leaked[0] + SHARES * leaked[-1] - leaked
    best = int(np.argmax(below))
    return {
        "cost_units": cost.tolist(),
        "nats": leaked.tolist(),
        "penalty": float(penalty),
        "best_share": float(SHARES[best]),
        "below_line_nats": float(below[best]),
        "gain_units": float(penalty * below[best]),
    }


def intervals(costs: dict[str, np.ndarray], ratios: dict[str, np.ndarray], prior: float) -> dict[str, list[float]]:
    """95% intervals of three numbers of :func:`curve`, by resampling episodes of each kind."""
    rng, found = np.random.default_rng(0), []
    for _ in range(N_BOOTSTRAP):
        take = {name: rng.integers(both.shape[1], size=both.shape[1]) for name, both in ratios.items()}
        again = curve(
            {name: paid[take[name]] for name, paid in costs.items()},
            {name: both[:, take[name]] for name, both in ratios.items()},
            prior,
        )
        found.append([again[name] for name in ("penalty", "below_line_nats", "gain_units")])
    low, high = np.quantile(found, [0.025, 0.975], axis=0)
    return {name: [low[i], high[i]] for i, name in enumerate(("penalty", "below_line_nats", "gain_units"))}


def play(
    given: argparse.Namespace, keys: Sequence[jax.Array]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Costs of informed episodes by policy, log ratios by whose episodes they are, and the prior."""
    market, params, beside, belief, _ = opponents(given)
    plan = BurstPlan(**{name: np.float32(CORNERS[LOUD][name]) for name in AXES})
    pair: tuple[Policy, Policy] = (beside.execution, Bursts(market.spec, plan, market.noise_law))
    n, exact = given.n_episodes, ExactSpec(given.n_episodes, given.n_particles, given.n_private)
    readings = [exact_reading(market, policy, exact, n, given.side_by_side) for policy in pair]

    def program(policy: Policy) -> Any:
        def read(episodes: Trajectory, which: Batch) -> Any:
            summary = jax.vmap(lambda one: summarise(one, params))(episodes)
            return summary, [reading.read(episodes, which, params) for reading in readings]

        @jax.jit
        def one(key: jax.Array) -> Any:
            everyone = beside._replace(execution=policy)
            summary, rows = fresh_episodes(
                key, readings[0].market, everyone, belief, params, n, given.side_by_side, read
            )
            return summary.z, summary.shortfall_ticks, [row.log_ratio[:, -1] for row in rows]

        return one

    costs, ratios, noise = {}, {}, []
    for name, policy in zip(("first", "second"), pair, strict=True):
        compiled = program(policy)
        parts = [jax.tree.map(np.asarray, compiled(jax.random.clone(key))) for key in keys]
        z, ticks, both = jax.tree.map(lambda *x: np.concatenate(x).astype(np.float64), *parts)
        both = np.stack(both)
        costs[name] = ticks[z == 1] / float(params.is_unit_ticks)
        ratios[name] = both[:, z == 1]
        noise.append(both[:, z == 0])
    return costs, ratios | {"noise": np.concatenate(noise, axis=1)}, float(params.informed_probability)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a finished sweep")
    parser.add_argument("--lanes", type=int, nargs="+", required=True)
    parser.add_argument("--n_episodes", type=int, default=256, help="played at a time")
    parser.add_argument("--n_final", type=int, default=1024)
    parser.add_argument("--n_particles", type=int, default=32)
    parser.add_argument("--n_private", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "mix.jsonl")
    given = parser.parse_args(namespace=argparse.Namespace(config=None))
    given.side_by_side = min(64, given.n_episodes)
    columns = read_lanes(given.workdir / "lanes.csv").columns
    known = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    for lane in given.lanes:
        i = int(np.flatnonzero(columns["lane"] == lane)[0])
        here = {"sweep": given.workdir.name, "lambda": float(columns["lambda"][i]), "seed": int(columns["seed"][i])}
        if here in [{name: row[name] for name in here} for row in known]:
            continue
        given.lane = lane
        keys = list(jax.random.split(jax.random.key(given.seed + 2), -(-given.n_final // given.n_episodes)))
        costs, ratios, prior = play(given, keys)
        row = here | curve(costs, ratios, prior) | {"intervals": intervals(costs, ratios, prior)}
        row["episodes"] = {name: both.shape[1] for name, both in ratios.items()}
        settings = {name: getattr(given, name) for name in ("n_particles", "n_private", "n_final", "seed")}
        row["provenance"] = provenance({"lane": str(lane), **settings}, given.seed)
        with given.output.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{here}: {row['below_line_nats']:.3f} nats below the line at lambda {row['penalty']:.3f}", flush=True)


if __name__ == "__main__":
    main()
