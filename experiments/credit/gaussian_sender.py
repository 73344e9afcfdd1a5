"""Credit with learned critics: the gradient that training pays for leakage beside the exact one, as the critics learn.

    python experiments/credit/gaussian_sender.py [--redraw]

writes gaussian_sender.json and gaussian_sender.png beside itself. A Gaussian sender with two parameters stays as it is;
the leakage sources, MINE and the belief, are fitted on fresh episodes of it as an update of training fits them. After
some rollouts the policy gradient of the leakage is measured on many others. Networks are those of fast_debug.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from amarl_jax.ground_truth.gaussian_sender import HORIZON, exact_gradient, fit, paid_gradients
from amarl_jax.host.provenance import provenance
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import init_state
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.nets.spec import BeliefSpec, NetworkSpec

HERE = Path(__file__).resolve().parent
CONFIG = {
    "seed": 0,
    "rollouts": [0, 4, 8, 16, 32, 64, 128, 256, 512, 1536],  # of each source fitted; measured after these
    "lr_mine": 5e-3,  # decayed to 0 over the rollouts, as in training
    "lr_belief": 2e-3,
    "n_envs": 256,
    "n_mine_steps": 4,  # per rollout
    "n_belief_steps": 4,
    "statistics_hidden": [64, 64],
    "belief": {"d_model": 32, "n_heads": 2, "n_layers": 2, "d_ff": 64, "max_seq_len": 32},
    "n_measured": 16384,  # z = 1 episodes per gradient
    "n_batches": 4,  # they come in
    # theta: drifts of the two halves, standard deviations of an order; replay_beta: exponent of importance weights
    "runs": {
        "replay_beta 0.4": {"theta": [0.5, 0.2], "fitted": ["belief", "mine"], "replay_beta": 0.4},
        "replay_beta 1": {"theta": [0.5, 0.2], "fitted": ["belief", "mine"], "replay_beta": 1.0},
        "belief untrained": {"theta": [0.5, 0.2], "fitted": ["mine"], "replay_beta": 0.4},
        "equal drifts, replay_beta 1": {"theta": [0.38, 0.38], "fitted": ["belief", "mine"], "replay_beta": 1.0},
    },
}


def game_of(source):
    """The game with that leakage source; its agents are as small as can be, they do not act."""
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
    sizes = {name: CONFIG[name] for name in ("n_envs", "n_mine_steps", "n_belief_steps")}
    learn = LearnSpec(leakage_source=source, belief_microbatch=64, **sizes)
    return Game(MarketSpec(horizon=HORIZON, max_noise_orders=1), network, learn)


def measured(state, theta, setup, key):
    """The paid gradient, its relative error against the exact one, and that of Bayes' belief on the same episodes."""
    n = CONFIG["n_measured"] // CONFIG["n_batches"]
    parts = [paid_gradients(k, state, theta, setup, n) for k in jax.random.split(key, CONFIG["n_batches"])]
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


def curves(run):
    """Rows of every measured source of a run, as the critics are fitted."""
    theta = jnp.asarray(run["theta"])
    rates = {name: CONFIG[name] for name in ("lr_mine", "lr_belief")}
    hypers = Hypers(n_updates=CONFIG["rollouts"][-1], replay_beta=run["replay_beta"], **rates)
    setup = Setup(hypers, RewardWeights(), EnvParams(), game_of("mine")).arrays()
    state = init_state(jax.random.key(CONFIG["seed"]), setup)
    rows, done, started = {source: [] for source in run["fitted"]}, 0, time.time()
    for rollouts in CONFIG["rollouts"]:
        if rollouts > done:
            state = fit(state, theta, setup, tuple(run["fitted"]), jnp.int32(rollouts - done))
        done = rollouts
        for source, of_source in rows.items():
            row = {"rollouts": done, "critic_steps": done * CONFIG[f"n_{source}_steps"]}
            paid = setup.replace(game=game_of(source))
            row |= measured(state, theta, paid, jax.random.key(1000 + CONFIG["seed"]))
            of_source.append(row | {"seconds": round(time.time() - started, 1)})
            print(source, of_source[-1], flush=True)
    return rows


STYLES = {
    ("replay_beta 0.4", "mine"): {"color": "#0072B2", "marker": "o"},
    ("replay_beta 0.4", "belief"): {"color": "#D55E00", "marker": "s"},
    ("replay_beta 1", "mine"): {"color": "#56B4E9", "marker": "o", "ls": "--"},
    ("replay_beta 1", "belief"): {"color": "#E69F00", "marker": "s", "ls": "--"},
    ("belief untrained", "mine"): {"color": "0.4", "marker": "^", "ls": ":"},
    ("equal drifts, replay_beta 1", "mine"): {"color": "#009E73", "marker": "o", "ls": "-."},
    ("equal drifts, replay_beta 1", "belief"): {"color": "#CC79A7", "marker": "s", "ls": "-."},
}


def draw(document):
    """Left the relative error of the paid gradient against critic steps, right its share along the exact one."""
    figure, axes = plt.subplots(1, 2, figsize=(11.0, 4.5), constrained_layout=True)
    for (run, source), style in STYLES.items():
        rows = document["results"][run][source]
        steps = [max(row["critic_steps"], 4) for row in rows]
        axes[0].plot(steps, [row["relative_error"] for row in rows], label=f"{source}, {run}", **style)
        axes[1].plot(steps, [row["bias_along"] for row in rows], **style)
    rows = document["results"]["replay_beta 1"]["belief"]
    axes[0].axhline(rows[-1]["bayes_relative_error"], color="0.6", lw=0.9, ls=":", label="Bayes: sampling error")
    axes[0].axhline(0.05, color="0.2", lw=0.9, label="5%")
    axes[0].set(yscale="log", ylabel="relative error of the leakage gradient")
    axes[1].axhline(0.0, color="0.2", lw=0.9)
    axes[1].set(ylabel="bias along the exact gradient")
    for axis in axes:
        axis.set(xscale="log", xlabel="critic steps (leftmost: untrained)")
    axes[1].legend(*axes[0].get_legend_handles_labels(), loc="lower right", frameon=False, fontsize=8)
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
            "exact_gradients": {name: exact_gradient(run["theta"]).tolist() for name, run in CONFIG["runs"].items()},
            "results": {name: curves(run) for name, run in CONFIG["runs"].items()},
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
    draw(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
