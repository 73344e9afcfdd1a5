"""Measure what limits a learned detector of trained lanes: data, capacity, or what the tape does not show.

    python experiments/exact/limits.py --workdir=runs/exact
    python experiments/exact/report.py

The detector's network is fitted to labels, and to the exact posterior at every prefix, whose mean given the tape is
the tape's own posterior and which has almost no noise: what labels miss of it is data. A network of twice the width,
fitted twice as long, says what capacity misses. The exact reader that is not told which orders leave the book by
themselves says what the record shows and the tape does not. The rest is what no network of this form reads. Rows go to
``experiments/exact/limits.jsonl`` one by one; of a row that is there, only what it lacks is measured.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from amarl_jax.evaluation import frozen_run as runs
from amarl_jax.evaluation.frozen import play_frozen
from amarl_jax.host.provenance import commit, provenance
from amarl_jax.nets.order_flow import OrderFlow
from amarl_jax.posterior.exact import ExactSpec
from amarl_jax.types import Array, PyTree, Tape

HERE = Path(__file__).parent
BATCH = 64
PREFIX_WEIGHT = 0.3  # as of fresh detectors
FITS = {  # target, hidden widths, epochs, share of the fitting episodes
    "labels, an eighth of the episodes": ("labels", (32, 32), 16, 1 / 8),
    "labels": ("labels", (32, 32), 8, 1.0),
    "exact, an eighth of the episodes": ("exact", (32, 32), 16, 1 / 8),
    "exact": ("exact", (32, 32), 8, 1.0),
    "exact, twice the width and time": ("exact", (64, 64), 16, 1.0),
}


def cross_entropy(logits: Array, target: Array) -> Array:
    """Of z with probability ``target`` of being 1, nats."""
    return jax.nn.softplus(logits) - target * logits


def fit(tapes: Tape, target: Array, hidden: tuple[int, ...], epochs: int, key: Array) -> PyTree:
    """Adam on the cross-entropy at every prefix, most of its weight on the whole episode."""
    n, horizon = target.shape
    model = OrderFlow(horizon, hidden)
    n_steps = epochs * n // BATCH
    schedule = optax.cosine_onecycle_schedule(n_steps, 1e-2, 0.15)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.99, weight_decay=1e-2))
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(n) for _ in range(epochs)])[: n_steps * BATCH].reshape(n_steps, BATCH)

    def loss(network: PyTree, at: Array) -> Array:
        losses = cross_entropy(read(model, network, tapes, at), target[at])
        return jnp.mean((1 - PREFIX_WEIGHT) * losses[:, -1] + PREFIX_WEIGHT * jnp.mean(losses, axis=1))

    def step(carry: tuple, at: Array) -> tuple[tuple, None]:
        network, moments = carry
        updates, moments = optimiser.update(jax.grad(loss)(network, at), moments, network)
        return (optax.apply_updates(network, updates), moments), None

    start = model.init(key, jax.tree.map(lambda x: x[0], tapes))
    return jax.jit(lambda rows: jax.lax.scan(step, (start, optimiser.init(start)), rows)[0][0])(jnp.asarray(rows))


def read(model: OrderFlow, network: PyTree, tapes: Tape, at: Array) -> Array:
    """Log-ratios at every prefix of the chosen episodes, [n, T]."""
    return jax.vmap(lambda tape: model.apply(network, tape))(jax.tree.map(lambda x: x[at], tapes))


def held_out(model: OrderFlow, network: PyTree, tapes: Tape, z: Array) -> tuple[float, float]:
    """Nats and standard error on whole episodes."""
    part = jax.jit(lambda at: read(model, network, tapes, at)[:, -1])
    ratio = np.concatenate([part(at) for at in np.array_split(np.arange(len(z)), max(1, len(z) // 512))])
    gain = np.log(2.0) - np.asarray(cross_entropy(jnp.asarray(ratio), z))
    return float(gain.mean()), float(gain.std() / np.sqrt(len(z)))


def measure(workdir: Path, source: str, lane: int, n_episodes: int, n_held: int) -> dict[str, Any]:
    """One lane: its exact information, and what each fit finds on the held-out episodes."""
    run = runs.load(workdir / source, lane)
    key = jax.random.fold_in(jax.random.key(run.seed), 1000 + lane)
    spec = ExactSpec(n_episodes, 64, 8)
    played = play_frozen(key, run.state, run.setup, n_episodes, exact=spec)
    ratio = jnp.clip(jnp.asarray(played.exact.log_ratio), -30.0, 30.0)
    tapes, z = jax.tree.map(jnp.asarray, played.summary.tape), jnp.asarray(played.summary.z, jnp.float32)
    exact = np.log(2.0) - np.asarray(cross_entropy(ratio[:, -1], z))
    row: dict[str, Any] = {
        "row": name_of(run, source),
        "exact": {"nats": float(exact.mean()), "stderr": float(exact.std() / np.sqrt(n_episodes))},
        "episodes": {"fitted": n_episodes - n_held, "held_out": n_held},
        "fits": {},
    }
    fitting, rest = (jax.tree.map(lambda x, i=i: x[i], tapes) for i in (slice(n_held, None), slice(n_held)))
    targets = {"labels": jnp.broadcast_to(z[:, None], ratio.shape), "exact": jax.nn.sigmoid(ratio)}
    for name, (target, hidden, epochs, share) in FITS.items():
        n = int(share * (n_episodes - n_held))
        some = jax.tree.map(lambda x, n=n: x[:n], fitting)
        network = fit(some, targets[target][n_held:][:n], hidden, epochs, jax.random.key(1))
        nats, stderr = held_out(OrderFlow(ratio.shape[1], hidden), network, rest, z[:n_held])
        row["fits"][name] = {"nats": nats, "stderr": stderr}
        print(f"{row['row']}: {name} {nats:.4f} +- {stderr:.4f} of {row['exact']['nats']:.4f}", flush=True)
    return row | {"provenance": provenance(run.config.to_dict(), run.seed)}


def removals(workdir: Path, source: str, lane: int, n_episodes: int) -> dict[str, Any]:
    """What the same episodes tell a reader that does not know which orders left by themselves, nats, and the loss."""
    run = runs.load(workdir / source, lane)
    key = jax.random.fold_in(jax.random.key(run.seed), 2000 + lane)
    gains = []
    for sees in (True, False):
        spec = ExactSpec(n_episodes, 64, 8, sees_removals=sees)
        played = play_frozen(key, run.state, run.setup, n_episodes, exact=spec)
        ratio = jnp.clip(jnp.asarray(played.exact.log_ratio)[:, -1], -30.0, 30.0)
        gains.append(np.log(2.0) - np.asarray(cross_entropy(ratio, jnp.asarray(played.summary.z, jnp.float32))))
    told, untold = gains
    error = float((told - untold).std() / np.sqrt(n_episodes))
    print(f"{source}, lane {lane}: told {told.mean():.4f}, untold {untold.mean():.4f}, +- {error:.4f}", flush=True)
    lost = {"nats": float((told - untold).mean()), "stderr": error}
    found = {"nats": float(untold.mean()), "told": float(told.mean()), "lost": lost, "episodes": n_episodes}
    return found | {"commit": commit()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, default=Path("runs/exact"))
    parser.add_argument("--source", nargs="*", default=["exact"])
    parser.add_argument("--lanes", type=int, nargs="+", default=[0, 2, 4, 6])
    parser.add_argument("--n_episodes", type=int, default=16384)
    parser.add_argument("--n_held", type=int, default=4096)
    parser.add_argument("--removals", action=argparse.BooleanOptionalAction, default=True, help="read them untold too")
    parser.add_argument("--output", type=Path, default=HERE / "limits.jsonl")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []
    for source in given.source:
        for lane in given.lanes:
            started, name = time.process_time(), name_of(runs.load(given.workdir / source, lane), source)
            row = next((row for row in rows if row["row"] == name), None)
            if row is None:
                row = measure(given.workdir, source, lane, given.n_episodes, given.n_held)
                row["cpu_seconds"] = time.process_time() - started
                rows.append(row)
            if given.removals and "untold" not in row:
                row["untold"] = removals(given.workdir, source, lane, given.n_held)
            write_rows(given.output, rows)


def name_of(run: runs.FrozenRun, source: str) -> str:
    """Of the row of a lane."""
    return f"{source}, lambda {float(run.setup.weights.leakage_weight):g}, seed {run.seed}"


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """All rows, one a line, in place of those that were there."""
    beside = path.with_suffix(".tmp")
    beside.write_text("".join(json.dumps(row) + "\n" for row in rows))
    beside.replace(path)


if __name__ == "__main__":
    main()
