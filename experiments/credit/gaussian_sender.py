"""Credit with learned critics: the gradient that training pays for leakage beside the exact one, as the critics learn.

    python experiments/credit/gaussian_sender.py [--redraw]

writes gaussian_sender.json and gaussian_sender.png beside itself. A Gaussian sender with two parameters stays as it is;
each leakage source, MINE and the belief, is fitted on fresh episodes of it as an update of training fits it, with the
networks' default sizes. After some rollouts the policy gradient of the leakage is measured on many fresh episodes.
"""

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # the sender of the tests

from amarl_jax.evaluation.provenance import provenance  # noqa: E402
from amarl_jax.learn.game import Game  # noqa: E402
from amarl_jax.learn.hypers import Hypers, LearnSpec  # noqa: E402
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays  # noqa: E402
from amarl_jax.learn.state import init_state  # noqa: E402
from amarl_jax.market.params import EnvParams, MarketSpec  # noqa: E402
from amarl_jax.market.params import as_arrays as params_as_arrays  # noqa: E402
from amarl_jax.nets.spec import BeliefSpec, NetworkSpec  # noqa: E402
from tests.information.gaussian_sender import HORIZON, exact_gradient, fit, paid_gradients  # noqa: E402

CONFIG = {
    "theta": [0.5, 0.2],  # drifts, standard deviations of an order
    "seed": 0,
    "n_envs": 128,
    "sources": {
        "mine": {"lr": 1e-3, "steps_per_rollout": 16, "rollouts": [0, 2, 4, 8, 16, 32, 64, 128, 256]},
        "belief": {"lr": 3e-4, "steps_per_rollout": 4, "rollouts": [0, 8, 16, 32, 64, 128, 256]},
    },
    "statistics_hidden": [256, 256],
    "belief": dataclasses.asdict(BeliefSpec()),
    "n_measured": 16384,  # z = 1 episodes per gradient
    "n_batches": 8,  # they come in
}


def game_of(source, steps):
    """The game whose leakage source that is; agents are as small as can be, they do not act."""
    network = NetworkSpec(
        execution_hidden=(8,),
        maker_hidden=(8,),
        arbitrageur_hidden=(8,),
        critic_hidden=(8,),
        critic_head_hidden=4,
        predictor_hidden=4,
        statistics_hidden=tuple(CONFIG["statistics_hidden"]),
        belief=BeliefSpec(**CONFIG["belief"]),
    )
    market = MarketSpec(horizon=HORIZON, max_noise_orders=1)
    learn = LearnSpec(n_envs=CONFIG["n_envs"], leakage_source=source, n_mine_steps=steps, n_belief_steps=steps)
    return Game(market, network, learn)


def measured(state, theta, game, hypers, params, key):
    """The paid gradient, its relative error against the exact one, and that of Bayes' belief on the same episodes."""
    n = CONFIG["n_measured"] // CONFIG["n_batches"]
    parts = [
        paid_gradients(k, state, theta, game, hypers, params, n) for k in jax.random.split(key, CONFIG["n_batches"])
    ]
    learned, bayes = (np.concatenate([np.asarray(part[i]) for part in parts]) for i in (0, 1))
    exact = exact_gradient(theta)
    size = np.linalg.norm(exact)
    along = learned @ exact / size**2
    return {
        "gradient": learned.mean(axis=0).tolist(),
        "gradient_stderr": (learned.std(axis=0) / np.sqrt(len(learned))).tolist(),
        "relative_error": float(np.linalg.norm(learned.mean(axis=0) - exact) / size),
        "bias_along": float(along.mean() - 1.0),
        "bias_along_stderr": float(along.std() / np.sqrt(len(along))),
        "error_against_bayes": float(np.linalg.norm((learned - bayes).mean(axis=0)) / size),
        "bayes_relative_error": float(np.linalg.norm(bayes.mean(axis=0) - exact) / size),
    }


def curve(source):
    """Rows of one source, as it is fitted."""
    setting = CONFIG["sources"][source]
    theta, params = jnp.asarray(CONFIG["theta"]), params_as_arrays(EnvParams())
    hypers = hypers_as_arrays(Hypers(n_updates=setting["rollouts"][-1], lr_mine=setting["lr"], lr_belief=setting["lr"]))
    game = game_of(source, setting["steps_per_rollout"])
    state = init_state(jax.random.key(CONFIG["seed"]), game, hypers, params)
    rows, done, started = [], 0, time.time()
    for rollouts in setting["rollouts"]:
        if rollouts > done:
            state = fit(state, theta, game, hypers, params, rollouts - done)
        done = rollouts
        row = {"rollouts": done, "critic_steps": done * setting["steps_per_rollout"]}
        row |= measured(state, theta, game, hypers, params, jax.random.key(1000 + CONFIG["seed"]))
        rows.append(row | {"seconds": round(time.time() - started, 1)})
        print(source, rows[-1], flush=True)
    return rows


def draw(document):
    """Relative error of the paid gradient against critic steps, logarithmic; the untrained critic at the left edge."""
    figure, axis = plt.subplots(figsize=(7.0, 4.5), constrained_layout=True)
    for (source, rows), style in zip(document["results"].items(), (("#0072B2", "o"), ("#D55E00", "s")), strict=True):
        steps = np.maximum([row["critic_steps"] for row in rows], 8)
        axis.plot(steps, [row["relative_error"] for row in rows], color=style[0], marker=style[1], label=source)
    floor = max(row["bayes_relative_error"] for rows in document["results"].values() for row in rows)
    axis.axhline(floor, color="0.5", lw=0.9, ls=":", label="Bayes' belief: sampling error")
    axis.axhline(0.05, color="0.2", lw=0.9, ls="--", label="5%")
    axis.set(xscale="log", yscale="log", xlabel="critic steps (leftmost: none)")
    axis.set_ylabel("relative error of the leakage gradient")
    axis.legend(frameon=False)
    figure.savefig(HERE / "gaussian_sender.png", dpi=150)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redraw", action="store_true", help="draw from the JSON that is there")
    path = HERE / "gaussian_sender.json"
    if not parser.parse_args().redraw:
        started_from = provenance(CONFIG, CONFIG["seed"])
        document = {
            "provenance": started_from,
            "exact_gradient": exact_gradient(CONFIG["theta"]).tolist(),
            "results": {source: curve(source) for source in CONFIG["sources"]},
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
    draw(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
