"""Find the best scripted execution policy at every penalty: ``min C + lambda I`` over a family, I read exactly.

    python experiments/frontier/frontier.py
    python experiments/frontier/report.py

The family is :class:`amarl_jax.policies.bursts.Bursts`: bursts, cover by noise orders, private coins. A space-filling
first round and named corners are followed by rounds of steps around the best plan of each penalty. All are judged on
the same random numbers, and by ``H(z) - E H(z | G)`` of the reader's own posterior, which is I where the filter is
right and is far less noisy where little leaks. Then the best plans are measured again on fresh, more numerous
episodes, which no choice was made on. Every plan is one call of one compiled program. Plans go to a ``.jsonl`` beside
the output as they are measured, and an interrupted search goes on with the same command. Opponents are a constant
spread and an arbitrageur of one rule in the debug market, or, with ``--workdir``, the learned ones of a run or a
sweep's lane in its own market.
"""

import argparse
import json
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy import special
from scipy.stats import qmc

from amarl_jax import config as configuration
from amarl_jax.evaluation import frozen_run
from amarl_jax.evaluation.episodes import Batch, EpisodeSummary, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.evaluation.metrics import mean_and_error
from amarl_jax.host.provenance import provenance
from amarl_jax.host.workdir import write_json
from amarl_jax.learn.players import Belief, Players, PriorBelief, TransformerBelief, players
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.market.env import Market
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.bursts import AXES, BurstPlan, Bursts, place_of, plan_at
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import ExactRow, ExactSpec, exact_information
from amarl_jax.trees import as_arrays

HERE = Path(__file__).parent
CONFIG = "configs/fast_debug.py"
PENALTIES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.12, 0.18, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
QUIET = {"cover": 0.0, "along": 0.0, "haste": 0.0, "rate": 1.0, "loud": 0.0}
BURST = {
    "start": 0.0,
    "window": 1.0,
    "part": 1.0,
    "clip_lots": 1.0,
    "cover": 0.0,
    "along": 1.0,
    "haste": 0.0,
    "rate": 1.0,
    "loud": 1.0,
}
CORNERS = {  # plans with a name, which every search begins with
    "all at once": BURST,
    "mimic": BURST | QUIET,
    "mimic, one-sided": BURST | QUIET | {"along": 1.0},
    "mimic, half along": BURST | QUIET | {"along": 0.5},
    "mimic, one-sided in haste": BURST | QUIET | {"along": 1.0, "haste": 2.0},
    "twice as many such orders": BURST | QUIET | {"along": 1.0, "haste": 2.0, "rate": 2.0},
    "one such order a step": BURST | QUIET | {"along": 1.0, "haste": 2.0, "rate": 5.0},
    "at once or mimic": BURST | {"loud": 0.5, "along": 0.0},
    "at once or one-sided": BURST | {"loud": 0.5},
    "half at once, then one-sided": BURST | {"part": 0.5, "cover": 0.5},
    "over five steps under cover": BURST | {"window": 5.0, "cover": 0.5},
}
STEP, SHRINK = 0.15, 0.7  # deviation of the first round's steps in the unit cube, and its factor from round to round
KEPT_AXES = 0.5  # share of the axes that a step leaves alone


def opponents(given: argparse.Namespace) -> tuple[Market, EnvParams, Players, Belief, dict[str, Any]]:
    """Who plays beside the searched policy, in which market, and the configuration it comes from."""
    if given.workdir is None:
        config = configuration.load(given.config)
        experiment = configuration.resolve(config)
        params = as_arrays(experiment.env_params)
        beside = Players(None, ConstantSpread(1.0), ValueRule(1.0))  # type: ignore[arg-type]
        return experiment.game.market, params, beside, PriorBelief(), config.to_dict()
    run = frozen_run.load(given.workdir, given.lane)
    game, belief = run.setup.game, TransformerBelief(run.state.belief.params, run.setup)
    return game.market, run.setup.params, players(run.state, game), belief, run.config.to_dict()


def program(
    market: Market,
    params: EnvParams,
    beside: Players,
    belief: Belief,
    exact: ExactSpec,
    side_by_side: int,
    own: bool = False,
) -> Callable[[jax.Array, BurstPlan], tuple[jax.Array, jax.Array, ExactRow]]:
    """The compiled measurement of a plan: classes and shortfalls [n], and what was read of the episodes.

    With ``own`` the execution policy of ``beside`` plays, whatever the plan.
    """
    n = exact.n_episodes

    @jax.jit
    def play(key: jax.Array, plan: BurstPlan) -> tuple[jax.Array, jax.Array, ExactRow]:
        policy = beside.execution if own else Bursts(market.spec, plan, market.noise_law)
        reading = exact_reading(market, policy, exact, n, side_by_side)

        def read(episodes: Trajectory, which: Batch) -> tuple[EpisodeSummary, ExactRow | None]:
            return jax.vmap(lambda one: summarise(one, params))(episodes), reading.read(episodes, which, params)

        everyone = beside._replace(execution=policy)
        summary, rows = fresh_episodes(key, reading.market, everyone, belief, params, n, side_by_side, read)
        rows = reading.only_read(rows)
        assert rows is not None, "the family states its law"
        return summary.z, summary.shortfall_ticks, rows.replace(log_ratio=rows.log_ratio[:, -1:])  # type: ignore[attr-defined]

    return play


def measure(compiled: Any, keys: Sequence[jax.Array], plan: dict[str, float], params: EnvParams) -> dict[str, Any]:
    """C and I of a plan, exact and by the reader's posterior, with standard errors over the episodes of all keys."""
    prior, unit = float(params.informed_probability), float(params.is_unit_ticks)
    leaves = BurstPlan(**{name: np.float32(plan[name]) for name in AXES})
    parts = [jax.tree.map(np.asarray, compiled(jax.random.clone(key), leaves)) for key in keys]
    z, shortfall, rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    paid = shortfall[z == 1].astype(np.float64) / unit
    read = exact_information(rows, z, prior)
    log_odds = rows.log_ratio[:, -1].astype(np.float64) + special.logit(prior)
    by_posterior = special.rel_entr(special.expit(log_odds), prior) + special.rel_entr(
        special.expit(-log_odds), 1.0 - prior
    )
    return {
        "plan": plan,
        "n_episodes": len(z),
        "shortfall_units": mean_and_error(paid)._asdict(),
        "posterior_nats": mean_and_error(by_posterior)._asdict(),
        "exact_nats": {"value": read.nats, "stderr": read.stderr},
        "exact_nats_lower": {"value": read.lower, "stderr": None},
        "exact_nats_upper": {"value": read.upper, "stderr": None},
    }


def objective(row: dict[str, Any], penalty: float) -> float:
    """``C + lambda I`` with I by the reader's posterior, reward units."""
    return row["shortfall_units"]["value"] + penalty * row["posterior_nats"]["value"]


def as_plan(place: np.ndarray, spec: MarketSpec) -> dict[str, float]:
    """The plan at a place of the unit cube, as numbers of a file."""
    plan = plan_at(place, spec)
    return {name: float(getattr(plan, name)) for name in AXES}


def proposals(
    number: int, done: list[dict[str, Any]], given: argparse.Namespace, spec: MarketSpec
) -> list[dict[str, float]]:
    """The plans of a round, the same whenever asked for: round 0 fills the cube, later ones step from the best."""
    if number == 0:
        places = qmc.Halton(len(AXES), rng=np.random.default_rng([given.seed, 0])).random(given.n_first)
        return [*CORNERS.values(), *given.begin, *(as_plan(place, spec) for place in places)]
    rng = np.random.default_rng([given.seed, number])
    plans = []
    for penalty in given.penalties:
        best = min(done, key=lambda row: objective(row, penalty))["plan"]
        for _ in range(given.n_steps):
            moved = rng.random(len(AXES)) > KEPT_AXES
            plans.append(
                as_plan(place_of(best, spec) + STEP * SHRINK ** (number - 1) * moved * rng.normal(size=len(AXES)), spec)
            )
    return plans


def search(
    compiled: Any, given: argparse.Namespace, spec: MarketSpec, params: EnvParams, log: Path
) -> list[dict[str, Any]]:
    """All plans of all rounds, measured; those that the log holds are not measured again."""
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    rows: list[dict[str, Any]] = []
    for number in range(1 + given.n_rounds):
        plans = proposals(number, rows, given, spec)
        known = done[len(rows) : len(rows) + len(plans)]
        rows = rows + known
        for plan in plans[len(known) :]:
            row = measure(compiled, [jax.random.key(given.seed)], plan, params)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            rows = [*rows, row]
        print(f"round {number}: {len(plans)} plans, {time.process_time():.0f} CPU-s", flush=True)
    return rows


def name_of(plan: dict[str, float]) -> str:
    """A corner's name, or the plan's numbers."""
    corner = next((name for name, other in CORNERS.items() if other == plan), None)
    return corner or ", ".join(f"{name} {value:.3g}" for name, value in plan.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument(
        "--workdir", type=Path, help="of a run or sweep whose maker and arbitrageur play; default scripted"
    )
    parser.add_argument("--lane", type=int, help="of that sweep")
    parser.add_argument("--penalties", type=float, nargs="+", default=PENALTIES, help="at which the best is sought")
    parser.add_argument("--n_first", type=int, default=118, help="plans that fill the cube")
    parser.add_argument("--n_rounds", type=int, default=5)
    parser.add_argument("--n_steps", type=int, default=3, help="plans around the best of each penalty in a round")
    parser.add_argument("--n_episodes", type=int, default=256, help="of each plan in the search")
    parser.add_argument("--n_final", type=int, default=1024, help="fresh episodes of the best plans")
    parser.add_argument("--n_particles", type=int, default=32)
    parser.add_argument("--n_private", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE / "frontier.json")
    given = parser.parse_args(namespace=argparse.Namespace(begin=[]))
    market, params, beside, belief, config = opponents(given)
    exact = ExactSpec(given.n_episodes, given.n_particles, given.n_private)
    compiled = program(market, params, beside, belief, exact, min(64, given.n_episodes))
    settings = {name: str(value) for name, value in vars(given).items() if name not in ("output", "n_final")}
    number = zlib.crc32(json.dumps([settings, AXES], sort_keys=True).encode())  # tells logs of different searches apart
    rows = search(compiled, given, market.spec, params, given.output.with_suffix(f".{number:08x}.jsonl"))
    best = {penalty: min(rows, key=lambda row: objective(row, penalty))["plan"] for penalty in given.penalties}
    chosen = list({name_of(plan): plan for plan in (*best.values(), CORNERS["all at once"], CORNERS["mimic"])}.values())
    keys = list(jax.random.split(jax.random.key(given.seed + 1), -(-given.n_final // given.n_episodes)))
    again = [measure(compiled, keys, plan, params) for plan in chosen]
    document = {
        "provenance": provenance({"market": config, "search": settings | {"n_final": given.n_final}}, given.seed),
        "cpu_seconds": round(time.process_time(), 1),
        "rows": {name_of(row["plan"]): row for row in again},
        "best": [{"lambda": penalty, "row": name_of(plan)} for penalty, plan in best.items()],
        "searched": rows,
    }
    write_json(given.output, document)


if __name__ == "__main__":
    main()
