"""Measure what the lanes of ``lanes.py`` and four scripted policies leak: exactly, and as learned detectors find it.

    python experiments/exact/measure.py --workdir=runs/exact
    python experiments/exact/report.py

Every row plays fresh episodes of the debug market. The first of them are read by whoever knows the policy; all of
them, and the first few, by detectors trained from scratch and cross-fitted; MINE and the maker's belief are those of
the run, as they ended. Rows go to ``experiments/exact/rows.jsonl`` one by one: an interrupted measurement goes on with
the same command.
"""

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amarl_jax import config as configuration
from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.episodes import Batch, EpisodeSummary, fresh_episodes, summarise
from amarl_jax.evaluation.exact_reading import exact_reading
from amarl_jax.evaluation.frozen import play_frozen
from amarl_jax.evaluation.metrics import Scale, claimed_information, evaluate_detected, fresh_detection
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import Trajectory
from amarl_jax.policies.baselines import make_baselines
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.exact import ExactRow, ExactSpec
from amarl_jax.trees import as_arrays

HERE = Path(__file__).parent
SCRIPTED = ("mimic", "mimic_one_sided", "twap", "twap_camouflaged")
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Played:
    """Episodes of one row."""

    about: dict[str, Any]
    summary: EpisodeSummary  # [n] host arrays
    exact: ExactRow  # [m]
    prior: float
    unit_ticks: float
    tick_bps: float
    config: dict[str, Any]
    belief: np.ndarray | None = None  # [T] of the first informed episode, of a run


def scripted(name: str, n_episodes: int, spec: ExactSpec) -> Played:
    """Episodes of a scripted policy against a constant spread and an arbitrageur of one rule."""
    config = configuration.load("configs/fast_debug.py")
    experiment = configuration.resolve(config)
    game, params = experiment.game, as_arrays(experiment.env_params)
    policy = make_baselines(game.market_spec)[name]
    reading = exact_reading(game.market, policy, spec, n_episodes, BATCH)

    def read(episodes: Trajectory, which: Batch) -> tuple[EpisodeSummary, ExactRow | None]:
        return jax.vmap(lambda one: summarise(one, params))(episodes), reading.read(episodes, which, params)

    everyone = Players(policy, ConstantSpread(1.0), ValueRule(1.0))
    play = functools.partial(
        fresh_episodes,
        market=reading.market,
        players=everyone,
        belief=PriorBelief(),
        params=params,
        n_episodes=n_episodes,
        batch=BATCH,
        read=read,
    )
    summary, exact = jax.tree.map(np.asarray, jax.jit(play)(jax.random.key(SCRIPTED.index(name))))
    scale = (float(params.informed_probability), float(params.is_unit_ticks), game.market_spec.tick_bps)
    return Played({"row": name}, summary, reading.only_read(exact), *scale, config.to_dict())


def trained(workdir: Path, source: str, lane: int, n_episodes: int, spec: ExactSpec) -> Played:
    """Episodes of one lane's learned policies."""
    run = runs.load(workdir / source, lane)
    key = jax.random.fold_in(jax.random.key(run.seed), 100 + lane)
    played = play_frozen(key, run.state, run.setup, n_episodes, exact=spec)
    penalty = float(run.setup.weights.leakage_weight)
    about = {
        "row": f"{source}, lambda {penalty:g}, seed {run.seed}",
        "source": source,
        "lambda": penalty,
        "seed": run.seed,
        "updates": run.update,
    }
    params, spec = run.setup.params, run.setup.game.market_spec
    scale = (float(params.informed_probability), float(params.is_unit_ticks), spec.tick_bps)
    summary, exact = jax.tree.map(np.asarray, (played.summary, played.exact))
    return Played(about, summary, exact, *scale, run.config.to_dict(), np.asarray(played.trace.belief[0]))


def measure(played: Played, sizes: list[int]) -> dict[str, Any]:
    """Exact information and what each detector finds, in nats; detectors at several numbers of episodes."""
    found = {}
    for size in sizes:
        started = time.process_time()
        part = jax.tree.map(lambda x, size=size: x[:size], played.summary)
        detection = fresh_detection(jax.random.key(size), part, played.prior)
        found[str(size)] = {
            "nats": float(detection.mi),
            "stderr": float(detection.mi_stderr),
            "accuracy": float(detection.accuracy),
            "cpu_seconds": time.process_time() - started,
        }
    scale = Scale(played.prior, played.unit_ticks, played.tick_bps)
    metrics = evaluate_detected(detection, part, scale, played.exact).metrics
    names = [name for name in metrics if name.startswith(("information/exact", "execution/"))]
    row = {name: metrics[name]._asdict() for name in names} | {"fresh": found}
    for name, posterior in (("mine", played.summary.mine), ("belief", played.summary.belief)):
        if "source" in played.about and posterior is not None:
            row[name] = claimed_information(posterior, played.summary.z, played.prior)._asdict()
    if played.belief is not None:
        first = int(np.argmax(played.summary.z))
        ratio = np.clip(played.exact.log_ratio[first], -50.0, 50.0)
        row["episode"] = {"log_ratio": ratio.round(3).tolist(), "belief": played.belief.round(4).tolist()}
    return played.about | row


def rows(given: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Names of the rows, and how to play each."""
    spec = ExactSpec(given.exact_episodes, given.n_particles, given.n_private)
    n_episodes = max(given.sizes)
    for name in SCRIPTED:
        yield name, functools.partial(scripted, name, n_episodes, spec)
    for source in given.source:
        lanes = json.loads((given.workdir / source / "lanes.json").read_text())
        for lane, about in enumerate(lanes):
            name = f"{source}, lambda {about['weights']['leakage_weight']:g}, seed {about['seed']}"
            yield name, functools.partial(trained, given.workdir, source, lane, n_episodes, spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/exact"))
    parser.add_argument("--source", nargs="*", default=["mine", "exact"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 4096, 16384], help="episodes of fresh detectors")
    parser.add_argument("--exact_episodes", type=int, default=1024)
    parser.add_argument("--n_particles", type=int, default=128)
    parser.add_argument("--n_private", type=int, default=16)
    parser.add_argument("--only", nargs="*", help="names of rows; default all")
    parser.add_argument("--output", type=Path, default=HERE / "rows.jsonl")
    given = parser.parse_args()
    done = set()
    if given.output.exists():
        done = {json.loads(line)["row"] for line in given.output.read_text().splitlines()}
    for name, play in rows(given):
        if name in done or (given.only and name not in given.only):
            continue
        started = time.process_time()
        played = play()
        row = measure(played, given.sizes) | {
            "exact_episodes": len(played.exact.lawless_step),
            "n_particles": given.n_particles,
            "n_private": given.n_private,
            "cpu_seconds": time.process_time() - started,
            "provenance": provenance(played.config, int(played.about.get("seed", 0))),
        }
        with given.output.open("a") as file:
            file.write(json.dumps(row) + "\n")
        exact = row["information/exact_nats"]
        print(f"{name}: {exact['value']:.3f} +- {exact['stderr']:.3f}, {row['cpu_seconds']:.0f} CPU-s", flush=True)


if __name__ == "__main__":
    main()
